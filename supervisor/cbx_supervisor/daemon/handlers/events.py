"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cbx_sandbox.errors import UsageError
from cbx_supervisor.daemon.events import Event, Filter
from cbx_supervisor.daemon.handlers.answers import owner_filter, service_of
from cbx_supervisor.daemon.handlers.jobs import row_of
from cbx_supervisor.protocol.messages import Happened

SILENCE = 15.0  # s; then a comment says that the connection lives
RETRY_MS = 1000  # a client that lost the connection comes again after it


async def index(request: Request) -> Response:
    """GET /v1/events: every change of a job's state that the peer may see, from Last-Event-ID on, else from now on."""
    return _answer(_heard(request, Filter(uid=owner_filter(request)), _last(request)))


async def of_job(request: Request) -> Response:
    """GET /v1/jobs/{id}/events: the state that a job is in, then every change of it; ends with the job."""
    row = await row_of(request)
    last = _last(request)
    wanted = Filter(job=row.job.number)
    if row.ended is not None or row.result is not None:
        status = None if row.result is None else row.result.status
        number = int((row.ended or 0.0) * 1e6)
        return _answer(_only(Event(number, row.job.number, row.job.uid, row.state, status)))
    return _answer(_until_it_ends(_heard(request, wanted, int(row.job.submitted * 1e6) if last is None else last)))


def _answer(events: AsyncIterator[Event | None]) -> Response:
    return StreamingResponse(_written(events), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _last(request: Request) -> int | None:
    text = request.headers.get("last-event-id") or request.query_params.get("since")
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise UsageError(f"cannot go on after the event {text[:40]}: there is no such number")
    return int(text)


def _heard(request: Request, wanted: Filter, last: int | None) -> AsyncIterator[Event | None]:
    return service_of(request).events.since(last, wanted, SILENCE)


async def _only(event: Event) -> AsyncIterator[Event | None]:
    yield event


async def _until_it_ends(events: AsyncIterator[Event | None]) -> AsyncIterator[Event | None]:
    async for event in events:
        yield event
        if event is not None and event.status is not None:
            return


async def _written(events: AsyncIterator[Event | None]) -> AsyncIterator[bytes]:
    yield f"retry: {RETRY_MS}\n\n".encode()
    async for event in events:
        if event is None:
            yield b": still here\n\n"
        else:
            happened = Happened(
                job=event.job, state=event.state, uid=event.uid, status=event.status, growing=event.growing
            )
            yield b"id: %d\nevent: job\ndata: %s\n\n" % (event.number, msgspec.json.encode(happened))
