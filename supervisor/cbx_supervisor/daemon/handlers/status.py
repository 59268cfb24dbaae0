"""The daemon itself."""

from __future__ import annotations

import asyncio
import os
from importlib import metadata

from starlette.requests import Request
from starlette.responses import Response

from cbx_supervisor.daemon.handlers.answers import json_answer, owner_filter, service_of
from cbx_supervisor.execution.outcome import iso
from cbx_supervisor.model.job import Queued, Running
from cbx_supervisor.store import attention


async def show(request: Request) -> Response:
    """GET /v1/status."""
    service = service_of(request)
    live = service.executor.live.values()
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
            "jobs": {
                "running": sum(1 for job in live if isinstance(job.state, Running)),
                "waiting": sum(1 for job in live if isinstance(job.state, Queued)),
            },
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
