"""The audit trail over HTTP."""

from __future__ import annotations

import asyncio
import sqlite3

from starlette.requests import Request
from starlette.responses import Response

from cbx_supervisor.daemon.handlers.answers import json_answer, numeric, require, service_of
from cbx_supervisor.model.roles import Right
from cbx_supervisor.store import audit

MOST_ENTRIES = 1000


async def index(request: Request) -> Response:
    """GET /v1/audit?before=&after=&limit=: the newest first, or, with ``after``, the oldest first."""
    await require(request, Right.AUDIT, "read the audit trail")
    limit = min(int(numeric(request, "limit", 100)), MOST_ENTRIES)
    before = int(numeric(request, "before", 0)) or None
    after = int(numeric(request, "after", 0)) if "after" in request.query_params else None

    def read(connection: sqlite3.Connection) -> dict[str, object]:
        # Counted first: what is written meanwhile must not look as if it was missing.
        last = audit.last_number(connection)
        if after is None:
            entries = audit.listed(connection, before=before, limit=limit)
        else:
            entries = audit.following(connection, after=after, limit=limit)
            if after == 0:
                entries = audit.misnumbered(connection) + entries
        return {"entries": entries, "last": last}

    return json_answer(await asyncio.to_thread(service_of(request).database.read, read))
