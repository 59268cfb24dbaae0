"""The daemon itself."""

from __future__ import annotations

import asyncio
import os
from importlib import metadata

from starlette.requests import Request
from starlette.responses import Response

from cbx_sandbox import placement
from cbx_sandbox.runner import Places
from cbx_supervisor.daemon.handlers.answers import json_answer, owner_filter, service_of
from cbx_supervisor.execution.outcome import iso
from cbx_supervisor.store import attention


async def show(request: Request) -> Response:
    """GET /v1/status."""
    service = service_of(request)
    running, waiting = service.executor.counts()
    used = service.executor.admission.engine.utilisation
    return json_answer(
        {
            "supervisor": {
                "pid": os.getpid(),
                "version": metadata.version("cbx"),
                "started": iso(service.started),
                "idle_exit_seconds": service.idle_exit,
                "runtime": service.paths.runtime,
                "missing": dict(service.executor.report.missing),
            },
            "places": _places(service.executor.report.places),
            "jobs": {"running": running, "waiting": waiting},
            "health": service.executor.health.describe(),
            "utilisation": {
                "busy": round(used.busy, 3),
                "idle": round(used.idle, 3),
                "backlogged": round(used.backlogged, 3),
                "share": round(used.share, 6),
            },
            "attention": [
                {"job": row.job, "uid": row.uid, "since": iso(row.since), "why": row.why}
                for row in await asyncio.to_thread(
                    service.database.read, lambda connection: attention.waiting(connection, owner_filter(request))
                )
            ],
            "settings": service.configuration.describe(),
            "rules": service.rulebook.describe(),
            "redaction": service.redaction.describe(),
            "limits": {"total_capacity_max": service.settings.instances.total_capacity_max},
        }
    )


def _places(found: Places | None) -> dict[str, object] | None:
    """Where jobs can be placed, by what they are held there, and why weights count for nothing; None: nowhere."""
    if found is None:
        return None
    return {
        "cpus": placement.text_of(found.cpus or ()),
        "memory_nodes": placement.text_of(found.nodes or ()),
        "by": found.by,
        "missing": dict(found.missing),
    }
