"""The output that was kept of a job, over HTTP: attempt by attempt."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cbx_supervisor.daemon.handlers.answers import NotFoundError, numeric, service_of
from cbx_supervisor.daemon.handlers.jobs import row_of
from cbx_supervisor.execution import logs
from cbx_supervisor.execution.live import LiveJob
from cbx_supervisor.paths import Paths
from cbx_supervisor.store import attempts

LOOK_AGAIN = 0.1  # s, for more output of a job that runs


async def log(request: Request) -> Response:
    """GET /v1/jobs/{id}/log?follow=&tail=&attempt=: what a detached job wrote so far, or until its end.

    Of the last attempt, if none is named; who follows gets those after it, too.
    """
    row = await row_of(request)
    service = service_of(request)
    lines = request.query_params.get("tail")
    wanted = None if lines is None else int(numeric(request, "tail", 0))
    attempt = int(numeric(request, "attempt", 0)) or await _last_with_output(request, row.job.number)
    fd = _opened(service.paths.log_of(row.job.number, attempt))
    if fd is None:
        raise NotFoundError(
            f"no output was kept of job {row.job.number}", hint="only that of detached jobs is (run -d)"
        )
    live = service.executor.live.get(row.job.number) if request.query_params.get("follow") == "1" else None
    content = _content(fd, wanted, live, attempt)
    if live is not None:
        content = _followed(content, live, attempt, service.paths)
    return StreamingResponse(content, media_type="application/octet-stream")


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


async def _followed(first: AsyncIterator[bytes], live: LiveJob, attempt: int, paths: Paths) -> AsyncIterator[bytes]:
    """The output of this attempt, then that of each one after it, until the job is over."""
    async for part in first:
        yield part
    while not live.result.done() or live.attempt > attempt:
        fd = _opened(paths.log_of(live.number, attempt + 1)) if live.attempt > attempt else None
        if fd is not None:
            attempt += 1
            async for part in _content(fd, None, live, attempt):
                yield part
        elif live.result.done():
            return  # it never came to write
        else:
            await asyncio.wait([live.result], timeout=LOOK_AGAIN)


async def _content(fd: int, lines: int | None, live: LiveJob | None, attempt: int) -> AsyncIterator[bytes]:
    try:
        position = 0 if lines is None else await asyncio.to_thread(logs.last_lines, fd, lines)
        while True:
            # Asked before reading: what came before the end is read.
            over = live is None or live.result.done() or live.attempt > attempt
            begin, part = await asyncio.to_thread(logs.read, fd, position, logs.CHUNK)
            if begin > position:
                yield f"\n[cbx: {begin - position} bytes were not kept]\n".encode()
            if part:
                yield part
                position = begin + len(part)
            elif over:
                return
            elif live is not None:
                await asyncio.wait([live.result], timeout=LOOK_AGAIN)
    finally:
        os.close(fd)
