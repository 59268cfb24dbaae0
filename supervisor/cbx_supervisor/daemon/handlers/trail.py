"""The audit trail over HTTP."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from cbx_supervisor.daemon.handlers.answers import json_answer, numeric, require, service_of
from cbx_supervisor.model.roles import Right
from cbx_supervisor.store import audit

MOST_ENTRIES = 1000


async def index(request: Request) -> Response:
    """GET /v1/audit?before=&limit=: the newest entries first, older than the entry ``before``."""
    await require(request, Right.AUDIT, "read the audit trail")
    limit = min(int(numeric(request, "limit", 100)), MOST_ENTRIES)
    before = int(numeric(request, "before", 0)) or None
    entries = await asyncio.to_thread(
        service_of(request).database.read, lambda connection: audit.listed(connection, before=before, limit=limit)
    )
    return json_answer({"entries": entries})
