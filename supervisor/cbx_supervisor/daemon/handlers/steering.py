"""Changing who runs when: over HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cbx_sandbox.errors import DeniedError, UsageError
from cbx_supervisor.daemon.handlers import attending
from cbx_supervisor.daemon.handlers.answers import body_of, json_answer, peer_of, require, service_of
from cbx_supervisor.daemon.handlers.jobs import audited, steered
from cbx_supervisor.execution.live import BY_HAND, LiveJob
from cbx_supervisor.model.job import Queued, state_name
from cbx_supervisor.model.roles import Right
from cbx_supervisor.protocol.messages import Move, Nothing, Priority, Queue
from cbx_supervisor.scheduling.moving import Before, First, Last, OtherLineError, Where
from cbx_supervisor.scheduling.order import Importance
from cbx_supervisor.scheduling.strategies import Strategy
from cbx_supervisor.store import attention, audit
from cbx_supervisor.store import steering as store
from cbx_supervisor.store.jobs import Row


async def pause(request: Request) -> Response:
    """POST /v1/jobs/{id}/pause: one that waits is not started, one that runs is frozen, its time limit too."""
    await body_of(request, Nothing)
    row, live = await steered(request, "pause")
    changed = False
    if live is not None:
        admission = service_of(request).executor.admission
        if isinstance(live.state, Queued) and live.number not in admission.engine.running:
            changed = admission.hold(live.number)
        elif BY_HAND not in live.frozen:
            live.freeze(BY_HAND, on=True)  # as soon as its command runs, if it is being started
            changed = True
    return await _answer(request, "paused", row, live, store.pause(row.job.number), changed=changed)


async def resume(request: Request) -> Response:
    """POST /v1/jobs/{id}/resume: one that was paused goes on; one that needs a person is run once more."""
    await body_of(request, Nothing)
    row, live = await steered(request, "resume")
    changed = False
    if live is None and await _needs_somebody(request, row):
        await attending.run_again(request, row)
        return await _answer(request, "resumed", row, live, changed=True)
    if live is not None:
        admission = service_of(request).executor.admission
        changed = BY_HAND in live.frozen or admission.engine.holds(live.number)
        live.freeze(BY_HAND, on=False)
        admission.unhold(live.number)
        if not changed:
            # What is written down may have outlived the pause: the next supervisor would go by it.
            await service_of(request).executor.writing.write(store.resume(live.number))
    return await _answer(request, "resumed", row, live, store.resume(row.job.number), changed=changed)


async def _needs_somebody(request: Request, row: Row) -> bool:
    read = service_of(request).database.read
    found = await asyncio.to_thread(read, lambda connection: attention.waiting(connection, None, row.job.number))
    return bool(found)


async def priority(request: Request) -> Response:
    """POST /v1/jobs/{id}/priority: of a job that waits."""
    wanted = Importance((await body_of(request, Priority)).priority)
    row, live = await steered(request, "put elsewhere")
    if wanted is Importance.CRITICAL and not service_of(request).access.may(peer_of(request), Right.LOOSEN):
        raise DeniedError("cannot make the job critical: only root may", hint="high goes before most")
    admission = service_of(request).executor.admission
    waits = live is not None and isinstance(live.state, Queued) and live.number not in admission.engine.running
    if live is not None:
        live.prioritise(wanted)
    entry = admission.engine.find(row.job.number)
    if entry is not None:
        # A fifth of the score is what the submitter says of the job.
        score = entry.score + 0.2 * (wanted.score - entry.importance.score)
        admission.change(dataclasses.replace(entry, importance=wanted, score=score))
    kept = store.priority(row.job.number, wanted.value)
    return await _answer(request, "priority", row, live, kept, changed=waits, detail={"priority": wanted.value})


async def move(request: Request) -> Response:
    """POST /v1/jobs/{id}/move: a job that waits, in the line of its tier, class and user."""
    where = _where(await body_of(request, Move))
    row, live = await steered(request, "move")
    admission = service_of(request).executor.admission
    changed = admission.engine.find(row.job.number) is not None
    if changed:
        try:
            admission.move(row.job.number, where)
        except KeyError as error:
            raise UsageError(f"cannot move before job {error}: it does not wait", hint="`cbx-sandbox list`") from error
        except OtherLineError as error:
            raise UsageError(
                f"cannot move before job {error}: it stands in another line",
                hint="jobs are moved among those of one user, tier and class; `priority` changes the class",
            ) from error
    return await _answer(request, "moved", row, live, changed=changed, detail=dataclasses.asdict(where))


def _where(asked: Move) -> Where:
    if asked.first + asked.last + (asked.before is not None) != 1:
        raise UsageError("cannot move the job: say one of first, last and before")
    return First() if asked.first else Last() if asked.last else Before(asked.before or 0)


async def _answer(
    request: Request,
    action: str,
    row: Row,
    live: LiveJob | None,
    *more: store.Operation,
    changed: bool,
    detail: dict[str, object] | None = None,
) -> Response:
    if changed:
        await audited(request, action, row, detail or {}, *more)
    state = row.state if live is None else state_name(live.state)
    return json_answer({"job": row.job.number, "state": state, "changed": changed})


async def show(request: Request) -> Response:
    """GET /v1/queue."""
    engine = service_of(request).executor.admission.engine
    return json_answer(
        {
            "strategy": engine.strategy.value,
            "paused": engine.paused,
            "draining": service_of(request).executor.draining,
            "preemption": engine.preemption,
            "running": len(engine.running),
            "waiting": engine.waiting(),
            "frozen": list(engine.frozen.numbers()),
        }
    )


async def change(request: Request) -> Response:
    """POST /v1/queue: the strategy until the configuration is read anew, the rest until told otherwise."""
    body = await body_of(request, Queue)
    await require(request, Right.STEER, "change the queue", owner=0)
    service, peer = service_of(request), peer_of(request)
    admission = service.executor.admission
    if body.strategy is not None:
        admission.order_by(Strategy(body.strategy))
    if body.paused is not None:
        admission.pause_all() if body.paused else admission.resume_all()
    if body.draining is not None:
        service.executor.draining = body.draining
    detail = dict(msgspec.structs.asdict(body))
    await service.executor.writing.write(
        store.queue(paused=body.paused, draining=body.draining),
        audit.record(time.time(), "queue changed", "queue", uid=peer.uid, pid=peer.pid, detail=detail),
    )
    return await show(request)
