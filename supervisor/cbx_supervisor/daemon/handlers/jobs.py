"""Jobs over HTTP: list, show, wait, cancel."""

from __future__ import annotations

import asyncio
import pwd
import signal
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cbx_sandbox.errors import UsageError
from cbx_sandbox.shell.tiers import SHORT, Tier
from cbx_supervisor.daemon.handlers.answers import (
    NotFoundError,
    body_of,
    json_answer,
    number_of,
    numeric,
    owner_filter,
    peer_of,
    require,
    service_of,
)
from cbx_supervisor.execution.live import LiveJob
from cbx_supervisor.execution.outcome import iso, printable, text_of
from cbx_supervisor.execution.waits import stands
from cbx_supervisor.model.attempt import Attempt
from cbx_supervisor.model.job import GOING_ON, OVER, Job, state_name
from cbx_supervisor.model.prediction import Prediction
from cbx_supervisor.model.result import Result
from cbx_supervisor.model.roles import Right
from cbx_supervisor.protocol.messages import Cancel, Kill
from cbx_supervisor.store import attempts, audit, jobs, predictions, steering

LONGEST_WAIT = 300.0
MOST_ROWS = 1000


async def index(request: Request) -> Response:
    """GET /v1/jobs?state=&user=&tier=&name=&limit=."""
    service, query = service_of(request), request.query_params
    limit = min(int(numeric(request, "limit", 100)), MOST_ROWS)
    uid, wanted = owner_filter(request), _uid(query.get("user"))
    if uid is not None and wanted not in {None, uid}:
        return json_answer({"jobs": []})
    chosen = jobs.Choice(
        uid=uid if wanted is None else wanted,
        states=_states(query.get("state", "")),
        tier=_tier(query.get("tier")),
        name=query.get("name"),
    )

    def read(connection: sqlite3.Connection) -> list[tuple[jobs.Row, Prediction | None]]:
        rows = jobs.listed(connection, chosen, limit)
        return [(row, predictions.find(connection, row.job.uid, row.job.number)) for row in rows]

    found = await asyncio.to_thread(service.database.read, read)
    live = service.executor.live
    return json_answer({"jobs": [_answer(row, foreseen, live) for row, foreseen in found]})


async def show(request: Request) -> Response:
    """GET /v1/jobs/{id}."""
    row = await row_of(request)
    live = service_of(request).executor.live
    tries = await _attempts(request, row.job.number)
    answer = _answer(row, await _prediction(request, row.job), live)
    if isinstance(answer, Result):
        return json_answer(msgspec.structs.replace(answer, attempts=tries))
    growth = service_of(request).executor.health.growth_of(row.job.number)
    return json_answer({**answer, "growth": growth, "attempts": tries})


async def wait(request: Request) -> Response:
    """GET /v1/jobs/{id}/wait?timeout=: 204 when it is not over by then."""
    seconds = min(numeric(request, "timeout", 30), LONGEST_WAIT)
    live = service_of(request).executor.live.get(number_of(request))
    if live is not None and _mine(request, live):
        await asyncio.wait([live.result], timeout=seconds)
        if not live.result.done():
            return Response(status_code=204)
        if not live.result.cancelled():
            return json_answer(live.result.result())
    row = await row_of(request)
    if row.result is None:
        return Response(status_code=204)
    return json_answer(msgspec.structs.replace(row.result, prediction=await _prediction(request, row.job)))


async def cancel(request: Request) -> Response:
    """POST /v1/jobs/{id}/cancel; of a job that is over it is no error."""
    body = await body_of(request, Cancel)
    row, live = await steered(request, "cancel")
    if live is None:
        return json_answer({"job": row.job.number, "state": row.state, "cancelled": False})
    live.kill() if body.signal == "KILL" else live.stop()
    ordered = steering.withdraw(live.number, at_once=body.signal == "KILL")
    await audited(request, "cancelled", row, {"signal": body.signal, "reason": body.reason}, ordered)
    return json_answer({"job": live.number, "state": state_name(live.state), "cancelled": True})


async def kill(request: Request) -> Response:
    """POST /v1/jobs/{id}/kill; of a job that is over it is no error."""
    body = await body_of(request, Kill)
    row, live = await steered(request, "kill")
    if live is None:
        return json_answer({"job": row.job.number, "state": row.state, "signalled": False})
    ordered = [steering.withdraw(live.number, at_once=True)] if body.signal == "KILL" else []
    if body.signal == "KILL":
        live.kill()
    elif live.signal(body.signal, signal.Signals["SIG" + body.signal]):
        ordered = [steering.withdraw(live.number, at_once=False)]
    await audited(request, "signalled", row, {"signal": body.signal}, *ordered)
    return json_answer({"job": live.number, "state": state_name(live.state), "signalled": True})


async def steered(request: Request, verb: str) -> tuple[jobs.Row, LiveJob | None]:
    """The job that the request acts on. Raises NotFoundError where it may not be seen, DeniedError where only that."""
    row = await row_of(request)
    await require(request, Right.STEER, f"{verb} job {row.job.number}", owner=row.job.uid)
    return row, service_of(request).executor.live.get(row.job.number)


async def audited(
    request: Request, action: str, row: jobs.Row, detail: dict[str, object], *more: Callable[[Any], object]
) -> None:
    """Write down who did what to a job, and what is to be written with that."""
    peer = peer_of(request)
    subject = f"job {row.job.number}"
    await service_of(request).executor.writing.write(
        *more, audit.record(time.time(), action, subject, uid=peer.uid, pid=peer.pid, detail=detail)
    )


async def row_of(request: Request) -> jobs.Row:
    """The job that a request names. Raises NotFoundError, also where it is somebody else's."""
    service, number = service_of(request), number_of(request)
    row = await asyncio.to_thread(service.database.read, lambda connection: jobs.find(connection, number))
    # A job that the peer may not see is answered like one that does not exist.
    if row is None or owner_filter(request) not in {None, row.job.uid}:
        live = service.executor.live.get(number)
        if live is not None and _mine(request, live):
            return jobs.Row(_job_of(live), state_name(live.state), None, None)
        raise NotFoundError(f"there is no job {number}", hint="`cbx-sandbox list` shows your jobs")
    return row


def _answer(row: jobs.Row, foreseen: Prediction | None, live: dict[int, LiveJob]) -> Result | dict[str, object]:
    """A result with its prediction, or what is known so far."""
    if row.result is not None:
        return msgspec.structs.replace(row.result, prediction=foreseen)
    return {**_unfinished(row.job, row.state, live), "prediction": foreseen}


async def _attempts(request: Request, job: int) -> tuple[Attempt, ...]:
    read = service_of(request).database.read
    found = await asyncio.to_thread(read, lambda connection: attempts.find(connection, job))
    return tuple(
        Attempt(
            attempt=one.attempt,
            tier=one.tier,
            started=iso(one.started) or "",
            ended=iso(one.ended),
            state=one.state,
            reason=one.reason,
            status=one.status,
            message=one.message,
            again=None if one.again is None else one.again.why,
            again_at=None if one.again is None else iso(one.again.at),
        )
        for one in found
    )


async def _prediction(request: Request, job: Job) -> Prediction | None:
    read = service_of(request).database.read
    return await asyncio.to_thread(read, lambda connection: predictions.find(connection, job.uid, job.number))


def _mine(request: Request, live: LiveJob) -> bool:
    return owner_filter(request) in {None, live.uid}


def _job_of(live: LiveJob) -> Job:
    submission = live.submission
    return Job(
        number=live.number,
        uid=submission.uid,
        gid=submission.gid,
        command=text_of(submission.request),
        workdir=printable(submission.request.cwd),
        submitted=live.since,
        detached=submission.detached,
    )


def _unfinished(job: Job, state: str, live: dict[int, LiveJob]) -> dict[str, object]:
    """A result object as far as it is known."""
    known = live.get(job.number)
    return {
        "job": job.number,
        "command": job.command,
        "state": state if known is None else state_name(known.state),
        "exit_code": None,
        "signal": None,
        "reason": None,
        "status": None,
        "tier": job.tier,
        "identity": {"uid": job.uid, "gid": job.gid},
        "workdir": job.workdir,
        "submitted": iso(job.submitted),
        "message": "" if known is None else "; ".join(text for _, text in stands(known)),
    }


def _uid(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 11 else pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError) as error:
        raise UsageError(f"there is no user {text[:40]}") from error


def _states(text: str) -> tuple[str, ...]:
    wanted = tuple(part for part in text.split(",") if part)
    if unknown := [state for state in wanted if state not in GOING_ON + OVER]:
        raise UsageError(f"there is no state {unknown[0][:40]}", hint=f"known: {', '.join(GOING_ON + OVER)}")
    return wanted


def _tier(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return (SHORT[text] if text in SHORT else Tier(text)).value
    except ValueError as error:
        raise UsageError(f"there is no tier {text[:40]}", hint=f"known: {', '.join(SHORT)}") from error
