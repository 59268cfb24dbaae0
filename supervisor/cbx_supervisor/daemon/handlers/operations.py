"""The log of what was done to the live tree through checkpoints, over HTTP."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from cbx_sandbox.checkpoint import listing, select
from cbx_sandbox.checkpoint.changes import absolute
from cbx_sandbox.errors import UsageError
from cbx_supervisor.daemon.handlers.answers import json_answer, numeric, owner_filter, service_of
from cbx_supervisor.execution.outcome import iso, printable
from cbx_supervisor.model.checkpoint import CheckpointState
from cbx_supervisor.store import checkpoints, jobs
from cbx_supervisor.store.checkpoints import Operation
from cbx_supervisor.store.database import Database

MOST_ROWS = 1000
SHOWN = 20  # paths of one operation


async def index(request: Request) -> Response:
    """GET /v1/checkpoints/log?checkpoint=&path=&limit=."""
    service, uid = service_of(request), owner_filter(request)
    number = int(numeric(request, "checkpoint", 0)) or None
    limit = min(int(numeric(request, "limit", 100)), MOST_ROWS)
    paths = [_absolute(path) for path in request.query_params.getlist("path")]
    since = time.time() - service.settings.history.undo_hours * 3600

    def read() -> list[dict[str, object]]:
        found = service.database.read(lambda connection: checkpoints.log(connection, uid=uid, limit=limit))
        entries = [entry for entry in shown(found, paths, since) if number in {None, entry["checkpoint"]}]
        return [{**entry, "command": _command(service.database, int(str(entry["job"])))} for entry in entries]

    return json_answer({"operations": await asyncio.to_thread(read)})


def _command(database: Database, job: int) -> str | None:
    row = database.read(lambda connection: jobs.find(connection, job))
    return None if row is None else row.job.command


def _absolute(path: str) -> bytes:
    if not path.startswith("/"):
        raise UsageError(f"cannot look for {path[:100]!r}: it is not an absolute path")
    return os.path.normpath(os.fsencode(path))


def shown(found: Sequence[Operation], wanted: Sequence[bytes], since: float) -> list[dict[str, object]]:
    """The operations that touched one of ``wanted`` (none: all of them), the newest first, as plain values."""
    answer: list[dict[str, object]] = []
    later: dict[int, set[bytes]] = {}  # what is committed now, of the checkpoints that were met before
    for entry in found:
        checkpoint = entry.checkpoint
        every, more = _paths(entry, ())
        under = []
        if last := checkpoint.id not in later:
            under = sorted(number for number, changed in later.items() if _meet(set(every), changed))
            later[checkpoint.id] = set(every) if checkpoint.state is CheckpointState.COMMITTED else set()
        paths = _paths(entry, wanted)[0] if wanted else every
        if wanted and not paths:
            continue
        answer.append(
            {
                "id": entry.id,
                "at": iso(entry.at),
                "kind": entry.kind,
                "uid": entry.uid,
                "checkpoint": checkpoint.id,
                "state": checkpoint.state.value,
                "job": checkpoint.job,
                "changes": entry.changes,
                "paths": [printable(os.fsdecode(path)) for path in paths[:SHOWN]],
                "more": more + max(0, len(paths) - SHOWN),
                "undoable": last and entry.kind != "undo" and checkpoint.undoable(since),
                "under": under,
            }
        )
    return answer


def _paths(entry: Operation, wanted: Sequence[bytes]) -> tuple[list[bytes], int]:
    if entry.listing is None:
        return [], 0
    changes, targets, more = listing.load(entry.listing)
    return [absolute(change.path, targets[change.layer]) for change in select.at(changes, targets, wanted)], more


def _meet(one: set[bytes], other: set[bytes]) -> bool:
    """Whether a path of one is in the other, or beneath one of it."""
    return bool(one & other) or _beneath(one, other) or _beneath(other, one)


def _beneath(paths: Iterable[bytes], roots: set[bytes]) -> bool:
    for path in paths:
        above = os.path.dirname(path)
        while len(above) > 1:
            if above in roots:
                return True
            above = os.path.dirname(above)
    return False
