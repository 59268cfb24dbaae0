"""Incidents over HTTP: what the audit trail has of them, and what was kept of running jobs."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from cbx_supervisor.daemon.handlers.answers import (
    NotFoundError,
    json_answer,
    number_of,
    numeric,
    require,
    service_of,
)
from cbx_supervisor.execution import incidents
from cbx_supervisor.model.roles import Right
from cbx_supervisor.store import audit

MOST = 1000


async def index(request: Request) -> Response:
    """GET /v1/incidents?limit=: the newest first."""
    await require(request, Right.AUDIT, "read the incidents")
    limit = min(int(numeric(request, "limit", 100)), MOST)
    database = service_of(request).database
    found = await asyncio.to_thread(database.read, lambda connection: audit.of_action(connection, "incident", limit))
    return json_answer({"incidents": found})


async def show(request: Request) -> Response:
    """GET /v1/incidents/{number}: what was to see of a job when it had one."""
    await require(request, Right.AUDIT, "read the incidents")
    job = number_of(request)
    kept = await asyncio.to_thread(incidents.read, service_of(request).paths.incidents, job)
    if kept is None:
        raise NotFoundError(f"nothing was kept of an incident of job {job}", hint="`cbx-sandbox incidents` lists them")
    return json_answer(kept)
