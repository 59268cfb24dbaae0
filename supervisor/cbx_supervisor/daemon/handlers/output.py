"""The output that was kept of a job, over HTTP: attempt by attempt."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cbx_sandbox.errors import UsageError
from cbx_supervisor.daemon.handlers.answers import NotFoundError, numeric, service_of
from cbx_supervisor.daemon.handlers.jobs import row_of
from cbx_supervisor.execution import logs
from cbx_supervisor.execution.live import LiveJob
from cbx_supervisor.paths import Paths
from cbx_supervisor.protocol.messages import Output
from cbx_supervisor.store import attempts

LOOK_AGAIN = 0.1  # s, for more output of a job that runs
RETRY_MS = 500  # a client that lost the connection comes again after it

_PLACE = re.compile(r"([1-9][0-9]{0,8}):([0-9]{1,18})", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A byte of a job's output: of which attempt, and how many come before it."""

    attempt: int
    position: int


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Some output, and the place behind it."""

    data: bytes
    then: Place


async def log(request: Request) -> Response:
    """GET /v1/jobs/{id}/log?follow=&tail=&attempt=: what a detached job wrote so far, or until its end.

    Of the last attempt, if none is named; who follows gets those after it, too.
    """
    parts = await _parts(request, None, follow=request.query_params.get("follow") == "1")
    return StreamingResponse((part.data async for part in parts), media_type="application/octet-stream")


async def log_events(request: Request) -> Response:
    """GET /v1/jobs/{id}/log/events?tail=&attempt=: the same until its end as events, from Last-Event-ID on."""
    text = request.headers.get("last-event-id")
    place = None if text is None else _PLACE.fullmatch(text)
    if text is not None and place is None:
        raise UsageError(f"cannot go on after the output {text[:40]}: there is no such place")
    last = None if place is None else Place(int(place[1]), int(place[2]))
    parts = await _parts(request, last, follow=True)
    return StreamingResponse(_events(parts), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _events(parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
    yield f"retry: {RETRY_MS}\n\n".encode()
    async for part in parts:
        data = msgspec.json.encode(Output(attempt=part.then.attempt, data=part.data, over=False))
        yield b"id: %d:%d\nevent: output\ndata: %s\n\n" % (part.then.attempt, part.then.position, data)
    yield b"event: output\ndata: %s\n\n" % msgspec.json.encode(Output(attempt=0, data=b"", over=True))


async def _parts(request: Request, last: Place | None, *, follow: bool) -> AsyncIterator[Part]:
    """The output from a place on, else what the request asks for. Raises NotFoundError where none was kept."""
    row = await row_of(request)
    service = service_of(request)
    lines = None if request.query_params.get("tail") is None else int(numeric(request, "tail", 0))
    if last is not None:
        attempt = last.attempt
    else:
        attempt = int(numeric(request, "attempt", 0)) or await _last_with_output(request, row.job.number)
    fd = _opened(service.paths.log_of(row.job.number, attempt))
    if fd is None:
        which = f"attempt {attempt} of job" if "attempt" in request.query_params else "job"
        raise NotFoundError(
            f"no output was kept of {which} {row.job.number}", hint="only that of detached jobs is (run -d)"
        )
    if last is not None:
        position = last.position
    else:
        position = 0 if lines is None else await asyncio.to_thread(logs.last_lines, fd, lines)
    live = service.executor.live.get(row.job.number) if follow else None
    content = _content(fd, Place(attempt, position), live)
    return content if live is None else _followed(content, live, attempt, service.paths)


async def _last_with_output(request: Request, job: int) -> int:
    """The last attempt that has begun to write; one may wait for its start."""
    service = service_of(request)
    last = await asyncio.to_thread(service.database.read, lambda connection: attempts.last(connection, job))
    written = await asyncio.to_thread(_written, service.paths, job, last)
    return max(written, default=1)


def _written(paths: Paths, job: int, last: int) -> set[int]:
    return {attempt for attempt in range(1, last + 1) if os.path.lexists(paths.log_of(job, attempt))}


def _opened(path: str) -> int | None:
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    return None


async def _followed(first: AsyncIterator[Part], live: LiveJob, attempt: int, paths: Paths) -> AsyncIterator[Part]:
    """The output of this attempt, then that of each one after it, until the job is over."""
    async for part in first:
        yield part
    while not live.result.done() or live.attempt > attempt:
        fd = _opened(paths.log_of(live.number, attempt + 1)) if live.attempt > attempt else None
        if fd is not None:
            attempt += 1
            async for part in _content(fd, Place(attempt, 0), live):
                yield part
        elif live.result.done():
            return  # it never came to write
        else:
            await asyncio.wait([live.result], timeout=LOOK_AGAIN)


async def _content(fd: int, place: Place, live: LiveJob | None) -> AsyncIterator[Part]:
    try:
        while True:
            # Asked before reading: what came before the end is read.
            over = live is None or live.result.done() or live.attempt > place.attempt
            begin, data = await asyncio.to_thread(logs.read, fd, place.position, logs.CHUNK)
            if begin > place.position:
                lost = begin - place.position
                place = Place(place.attempt, begin)
                yield Part(f"\n[cbx: {lost} bytes were not kept]\n".encode(), place)
            if data:
                place = Place(place.attempt, begin + len(data))
                yield Part(data, place)
            elif over:
                return
            elif live is not None:
                await asyncio.wait([live.result], timeout=LOOK_AGAIN)
    finally:
        os.close(fd)
