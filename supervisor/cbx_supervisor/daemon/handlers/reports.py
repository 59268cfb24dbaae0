"""Reports over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from cbx_sandbox.errors import UsageError
from cbx_supervisor.daemon.handlers.answers import json_answer, owner_filter, service_of
from cbx_supervisor.execution.outcome import iso
from cbx_supervisor.model.accuracy import Accuracy
from cbx_supervisor.model.operations import Operations
from cbx_supervisor.store import jobs, predictions
from cbx_supervisor.store.database import Database

Row = TypeVar("Row")
_Row_contra = TypeVar("_Row_contra", contravariant=True)


class _Report(Protocol[_Row_contra]):
    def add(self, row: _Row_contra) -> None: ...
    def describe(self) -> dict[str, Any]: ...


_Rows = Callable[[Database, int | None, float], Iterable[Row]]
LATEST = 1e11  # s, of the Unix clock: what is above was meant as milliseconds


async def accuracy(request: Request) -> Response:
    """GET /v1/reports/accuracy?since=: the classifier's record; ``since`` in seconds of the Unix clock.

    Of everybody's jobs for who may see them, of one's own for others.
    """
    return await _report(request, Accuracy, predictions.rows)


async def operations(request: Request) -> Response:
    """GET /v1/reports/operations?since=: how jobs went; ``since`` in seconds of the Unix clock, of their end.

    Of everybody's jobs for who may see them, of one's own for others.
    """
    return await _report(request, Operations, jobs.over)


async def _report(request: Request, kind: type[_Report[Row]], rows: _Rows[Row]) -> Response:
    since = _since(request.query_params.get("since"))
    database, uid = service_of(request).database, owner_filter(request)

    def counted() -> dict[str, Any]:
        made = kind()
        for row in rows(database, uid, since):
            made.add(row)
        return made.describe()

    found = await asyncio.to_thread(counted)
    return json_answer({"since": iso(since) if since else None, "until": iso(time.time()), **found})


def _since(text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        since = float(text)
    except ValueError:
        since = -1.0
    if not 0 <= since <= LATEST:
        raise UsageError(f"since={text[:40]} is no time of the Unix clock in seconds")
    return since
