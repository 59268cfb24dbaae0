"""Submitting over HTTP: jobs that nobody waits for, since HTTP cannot carry descriptors."""

from __future__ import annotations

import asyncio
import functools
import os
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cbx_sandbox.errors import CbxError, UsageError
from cbx_sandbox.placement import USUAL_WEIGHT
from cbx_sandbox.policy import POOL
from cbx_supervisor.daemon import descriptors, requests
from cbx_supervisor.daemon.handlers.answers import body_of, json_answer, peer_of, require, service_of
from cbx_supervisor.execution import records
from cbx_supervisor.execution.executor import Executor
from cbx_supervisor.execution.live import LiveJob
from cbx_supervisor.execution.submission import Descriptors, Nobody, Submission
from cbx_supervisor.model.job import state_name
from cbx_supervisor.model.result import Result
from cbx_supervisor.model.roles import Right
from cbx_supervisor.protocol.messages import Batch, Submit

CREATED = 201
MAX_BATCH = 16 << 20  # bytes
# What a body has beside the environment, and what the exec socket calls it. (msgspec.structs.fields works the types out
# anew at each call, which takes longer than everything else that is done with a body.)
_KEYS = tuple((name, "arg" if name == "argv" else name) for name in Submit.__struct_fields__ if name != "env")


async def submit(request: Request) -> Response:
    """POST /v1/jobs: answered when the job is on disk; it may be over by then."""
    return await submit_wanted(request, await body_of(request, Submit))


async def submit_wanted(request: Request, wanted: Submit) -> Response:
    """The same for a body that was read."""
    service, peer = service_of(request), peer_of(request)
    if (key := request.headers.get("idempotency-key")) is not None:
        wanted = msgspec.structs.replace(wanted, idempotency_key=key)
    if _loosens(wanted):
        await require(request, Right.LOOSEN, "submit a job with these options")
    fields = requests.Fields(_fields(wanted))
    submission = requests.submission(fields, peer, lambda right: service.access.may(peer, right))
    executor = service.executor
    async with executor.returning.alone([submission]):
        if submission.key is not None and (found := await executor.returning.bound(submission)) is not None:
            return json_answer(_submitted(found, duplicate=True))
        live = executor.submit(submission)
    return json_answer(_submitted(await begun(executor, live), duplicate=False), CREATED)


async def begin(executor: Executor, submission: Submission) -> LiveJob:
    """Have a job run that nobody waits for; it is on disk when this returns, or over."""
    return await begun(executor, executor.submit(submission))


async def begun(executor: Executor, live: LiveJob) -> LiveJob:
    """The same of one that has its number."""
    submission = live.submission
    executor.writing.afterwards(_run(executor, live, submission))
    durable = asyncio.ensure_future(live.durable.wait())
    both: set[asyncio.Future[Any]] = {durable, live.result}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    durable.cancel()
    return live


async def submit_together(request: Request) -> Response:
    """POST /v1/batches: answered when all are on disk, in one transaction; one that cannot be taken refuses all."""
    service, peer = service_of(request), peer_of(request)
    batch = await body_of(request, Batch, MAX_BATCH)
    if any(_loosens(wanted) for wanted in batch.jobs):
        await require(request, Right.LOOSEN, "submit a job with these options")
    submissions = []
    around = requests.environment_of(requests.Fields(_without_nul(_environment(batch.env))))
    for number, wanted in enumerate(batch.jobs, 1):
        try:
            fields = requests.Fields(_fields(wanted))
            submissions.append(
                requests.submission(
                    fields,
                    peer,
                    lambda right: service.access.may(peer, right),
                    around=None if wanted.env else around,
                )
            )
        except UsageError as error:
            raise UsageError(f"job {number} of the batch: {error.brief}", hint=error.hint) from error
    jobs, new = await _taken(service.executor, submissions)
    answers = [_submitted(job, duplicate=not first) for job, first in zip(jobs, new, strict=True)]
    return json_answer({"jobs": answers}, CREATED)


async def _taken(executor: Executor, submissions: list[Submission]) -> tuple[list[LiveJob | Result], list[bool]]:
    """The job of each submission, and whether it is a new one: each key stands for one job."""
    firsts: dict[str, int] = {}
    unique: list[Submission] = []
    places: list[int] = []
    for submission in submissions:
        key = None if submission.key is None else submission.key[0]
        place = len(unique) if key is None else firsts.setdefault(key, len(unique))
        if place == len(unique):
            unique.append(submission)
        elif unique[place].key != submission.key:
            raise UsageError(f"cannot use the key {str(key)[:100]} twice: it stands for two requests of the batch")
        places.append(place)
    await executor.caught_up.wait(submissions[0].uid)  # all are of who sent them
    async with executor.returning.alone(unique):
        bound = await executor.returning.all_bound(unique)
        known = {place: found for place, found in enumerate(bound) if found is not None}
        fresh = executor.submit_all([one for place, one in enumerate(unique) if place not in known])
    try:
        await records.submitted_together(executor, fresh)
    except BaseException:
        for live in fresh:
            executor.forget(live)
        raise
    for live in fresh:
        executor.writing.afterwards(_run(executor, live, live.submission))
    rest = iter(fresh)
    jobs = [known[place] if place in known else next(rest) for place in range(len(unique))]
    first = {place: index for index, place in reversed(list(enumerate(places)))}
    new = [place not in known and first[place] == index for index, place in enumerate(places)]
    return [jobs[place] for place in places], new


def _submitted(job: LiveJob | Result, *, duplicate: bool) -> dict[str, object]:
    if isinstance(job, Result):
        return {"job": job.job, "state": job.state, "duplicate": duplicate}
    return {"job": job.number, "state": state_name(job.state), "duplicate": duplicate}


def _loosens(wanted: Submit) -> bool:
    heavier = [each for each in (wanted.cpu_weight, wanted.io_weight) if isinstance(each, int) and each > USUAL_WEIGHT]
    before_others = bool(heavier) or (wanted.nice or 0) < 0 or wanted.priority == "critical"
    return wanted.user not in {None, POOL} or before_others


async def _run(executor: Executor, live: LiveJob, submission: Submission) -> None:
    passed = Descriptors({})
    try:
        await executor.run(live, passed, Nobody(), functools.partial(descriptors.check, passed, submission))
    except CbxError as error:
        executor.log("job not run", job=live.number, error=str(error))


def _fields(wanted: Submit) -> list[tuple[str, bytes]]:
    """As the exec socket has them: there is one way to check a request."""
    made = [("kind", b"run"), ("version", requests.VERSION.encode()), ("detach", b"1"), *_environment(wanted.env)]
    for name, key in _KEYS:
        value = getattr(wanted, name)
        if value is None or value is False or value == []:
            continue
        values = value if isinstance(value, list) else [1 if value is True else value]
        made += [(key, os.fsencode(str(one))) for one in values]
    return _without_nul(made)


def _environment(env: dict[str, str]) -> list[tuple[str, bytes]]:
    return [("env", os.fsencode(f"{name}={value}")) for name, value in env.items()]


def _without_nul(made: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    if any(b"\0" in value for _, value in made):
        raise UsageError("cannot take the body: nothing in it may have a NUL character")
    return made
