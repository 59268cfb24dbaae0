"""What waits for what: over HTTP."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from cbx_supervisor.daemon.handlers.answers import json_answer, number_of, owner_filter, service_of
from cbx_supervisor.daemon.handlers.jobs import row_of
from cbx_supervisor.execution.outcome import printable
from cbx_supervisor.execution.waits import described, kind_of, stands, ties
from cbx_supervisor.scheduling.budgets import MEMORY


async def why(request: Request) -> Response:
    """GET /v1/jobs/{id}/why: what a job waits for; of one that does not wait, an empty list."""
    row = await row_of(request)
    executor, now = service_of(request).executor, asyncio.get_running_loop().time()
    reasons = executor.admission.why(number_of(request))
    live = executor.live.get(row.job.number)
    why_after = {} if live is None else ties(live)
    waits = [{"kind": kind_of(reason), "text": printable(described(reason, now, why_after))} for reason in reasons]
    if live is not None:
        waits += [{"kind": kind, "text": text} for kind, text in stands(live)]
    if live is not None and (ahead := executor.order.ahead(live)) is not None:
        waits.append({"kind": "jobs", "text": f"job {ahead}, submitted before it, is still being analysed"})
    return json_answer({"job": row.job.number, "state": row.state, "live": live is not None, "waits_for": waits})


async def pools(request: Request) -> Response:
    """GET /v1/pools: running jobs, slots and waiting jobs of each tier, and what is taken of each resource."""
    engine = service_of(request).executor.admission.engine
    found = [
        {"tier": tier.value, "running": running, "slots": slots, "waiting": waiting}
        for tier, (running, slots, waiting) in engine.pools().items()
    ]
    counted = [
        {"name": name, "used": used, "size": size, "waiting": waiting}
        for name, used, size, waiting in engine.budgets.state()
        if name != MEMORY
    ]
    return json_answer(
        {"pools": found, "resources": counted, "running": len(engine.running), "total": engine.capacity.total}
    )


async def locks(request: Request) -> Response:
    """GET /v1/locks: who holds what; of other users' jobs only who may see them is told."""
    executor, uid = service_of(request).executor, owner_filter(request)
    found = []
    for owner, wants in executor.admission.engine.locks.holders().items():
        live = executor.live.get(owner)
        if uid is None or (live is not None and live.uid == uid):
            found += [
                {"owner": owner, "mode": mode.value, "device": key.device, "path": printable(key.path)}
                for key, mode in wants
            ]
    return json_answer({"locks": found})
