"""Circuit breakers over HTTP."""

from __future__ import annotations

import dataclasses
import time

from starlette.requests import Request
from starlette.responses import Response

from cbx_supervisor.daemon.handlers.answers import (
    NotFoundError,
    body_of,
    json_answer,
    owner_filter,
    peer_of,
    require,
    service_of,
)
from cbx_supervisor.execution.breaking import name_of
from cbx_supervisor.model.roles import Right
from cbx_supervisor.protocol.messages import ResetBreaker
from cbx_supervisor.store import audit


async def index(request: Request) -> Response:
    """GET /v1/breakers: those that remember a failure; of others only who may see their jobs is told."""
    found = service_of(request).executor.breaking.shown(owner_filter(request))
    return json_answer({"breakers": [dataclasses.asdict(one) for one in found]})


async def reset(request: Request) -> Response:
    """POST /v1/breakers/reset: forget its failures, and let those that wait for it go on."""
    body = await body_of(request, ResetBreaker)
    service, peer = service_of(request), peer_of(request)
    uid = peer.uid if body.uid is None else body.uid
    await require(request, Right.STEER, f"reset the breaker of {body.name}", owner=uid)
    name = name_of(uid, body.name)
    if not service.executor.admission.reset_breaker(name):
        raise NotFoundError(f"there is no breaker of {body.name}", hint="`cbx-sandbox breakers` lists them")
    service.executor.breaking.keep(name)
    detail: dict[str, object] = {"name": body.name, "uid": uid}
    await service.executor.writing.write(
        audit.record(time.time(), "breaker reset", f"user {uid}", uid=peer.uid, pid=peer.pid, detail=detail)
    )
    return await index(request)
