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
from cbx_supervisor.daemon import descriptors, requests
from cbx_supervisor.daemon.handlers.answers import body_of, json_answer, peer_of, require, service_of
from cbx_supervisor.execution.executor import Executor
from cbx_supervisor.execution.live import LiveJob
from cbx_supervisor.execution.submission import Descriptors, Nobody, Submission
from cbx_supervisor.model.job import state_name
from cbx_supervisor.model.result import Result
from cbx_supervisor.model.roles import Right
from cbx_supervisor.protocol.messages import Submit

CREATED = 201


async def submit(request: Request) -> Response:
    """POST /v1/jobs: answered when the job is on disk; it may be over by then."""
    return await submit_wanted(request, await body_of(request, Submit))


async def submit_wanted(request: Request, wanted: Submit) -> Response:
    """The same for a body that was read."""
    service, peer = service_of(request), peer_of(request)
    if (key := request.headers.get("idempotency-key")) is not None:
        wanted = msgspec.structs.replace(wanted, idempotency_key=key)
    if wanted.user is not None or wanted.priority == "critical":
        await require(request, Right.LOOSEN, "submit a job with these options")
    fields = requests.Fields(_fields(wanted))
    submission = requests.submission(fields, peer, lambda: service.access.may(peer, Right.LOOSEN))
    executor = service.executor
    if submission.key is not None and (found := await executor.returning.bound(submission)) is not None:
        if isinstance(found, Result):
            return json_answer({"job": found.job, "state": found.state, "duplicate": True})
        return json_answer({"job": found.number, "state": state_name(found.state), "duplicate": True})
    live = executor.submit(submission)
    executor.afterwards(_run(executor, live, submission))
    durable = asyncio.ensure_future(live.durable.wait())
    both: set[asyncio.Future[Any]] = {durable, live.result}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    durable.cancel()
    return json_answer({"job": live.number, "state": state_name(live.state), "duplicate": False}, CREATED)


async def _run(executor: Executor, live: LiveJob, submission: Submission) -> None:
    passed = Descriptors({})
    try:
        await executor.run(live, passed, Nobody(), functools.partial(descriptors.check, passed, submission))
    except CbxError as error:
        executor.log("job not run", job=live.number, error=str(error))


def _fields(wanted: Submit) -> list[tuple[str, bytes]]:
    """As the exec socket has them: there is one way to check a request."""
    made = [("kind", b"run"), ("version", requests.VERSION.encode()), ("detach", b"1")]
    made += [("env", os.fsencode(f"{name}={value}")) for name, value in wanted.env.items()]
    for field in msgspec.structs.fields(Submit):
        value = getattr(wanted, field.name)
        name = {"argv": "arg"}.get(field.name, field.name)
        if name == "env" or value is None or value is False:
            continue
        values = value if isinstance(value, list) else [1 if value is True else value]
        made += [(name, os.fsencode(str(one))) for one in values]
    if any(b"\0" in value for _, value in made):
        raise UsageError("cannot take the body: nothing in it may have a NUL character")
    return made
