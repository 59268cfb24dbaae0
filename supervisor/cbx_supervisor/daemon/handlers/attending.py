"""Jobs that failed or need a person: run once more, or left as they are; over HTTP."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from cbx_sandbox.errors import ConflictError
from cbx_supervisor.daemon import requests
from cbx_supervisor.daemon.handlers.answers import body_of, json_answer, peer_of, require, service_of
from cbx_supervisor.daemon.handlers.jobs import audited, steered
from cbx_supervisor.daemon.handlers.submitting import begin
from cbx_supervisor.execution import attending
from cbx_supervisor.model.job import state_name
from cbx_supervisor.model.roles import Right
from cbx_supervisor.protocol.messages import Nothing
from cbx_supervisor.scheduling.order import Importance
from cbx_supervisor.store import attention
from cbx_supervisor.store.jobs import Row


async def retry(request: Request) -> Response:
    """POST /v1/jobs/{id}/retry: the same command once more, as a job of its own."""
    await body_of(request, Nothing)
    row, live = await steered(request, "run once more")
    if live is not None:
        raise ConflictError(f"cannot run job {row.job.number} once more: it is not over", hint="`cbx-sandbox wait`")
    return json_answer(await run_again(request, row), 201)


async def run_again(request: Request, row: Row) -> dict[str, object]:
    """Submit a job that is over once more, for its submitter; that somebody had to look at it is settled."""
    service, peer = service_of(request), peer_of(request)
    # It may do what its submitter may do: whoever steers it may not have it done for himself.
    await require(request, Right.LOOSEN, f"run job {row.job.number} once more", owner=row.job.uid)
    submission = await asyncio.to_thread(attending.once_more, service.database, row.job.number)
    identity, asked = submission.request.identity, submission.request.options
    user = None if identity.uid == submission.uid else identity.name
    requests.refuse_loosening(asked, user, lambda right: service.access.may(peer, right))
    if submission.importance is Importance.CRITICAL:
        await require(request, Right.LOOSEN, "submit a critical job")
    live = await begin(service.executor, submission)
    await asyncio.wrap_future(service.database.write(attention.settled(row.job.number)))
    await audited(request, "run once more", row, {"as": live.number})
    return {"job": live.number, "state": state_name(live.state), "duplicate": False}


async def abandon(request: Request) -> Response:
    """POST /v1/jobs/{id}/abandon: it stays as it ended; held changes are still to be committed or rolled back."""
    await body_of(request, Nothing)
    row, live = await steered(request, "abandon")
    changed = live is None and await asyncio.wrap_future(
        service_of(request).database.write(attention.settled(row.job.number))
    )
    if changed:
        await audited(request, "abandoned", row, {})
    state = row.state if live is None else state_name(live.state)
    return json_answer({"job": row.job.number, "state": state, "changed": changed})
