"""What every handler needs: who asks, what is answered, and how an error is worded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cbx_sandbox.errors import CbxError, ConflictError, DeniedError, NotStartedError, UsageError
from cbx_supervisor.daemon import access
from cbx_supervisor.daemon.peers import Peer
from cbx_supervisor.model.roles import Right
from cbx_supervisor.store import audit

if TYPE_CHECKING:
    from cbx_supervisor.daemon.service import Service

T = TypeVar("T", bound=msgspec.Struct)

MAX_BODY = 64 << 10


class NotFoundError(UsageError):
    """There is no such thing, or it is somebody else's."""


def service_of(request: Request) -> Service:
    """The daemon."""
    service: Service = request.app.state.service
    return service


def peer_of(request: Request) -> Peer:
    """Who is at the other end of the connection."""
    peer: Peer = request.scope["state"]["peer"]
    return peer


def json_answer(value: object, status: int = 200) -> Response:
    """A JSON response."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def problem(error: CbxError) -> Response:
    """An error as application/problem+json (RFC 9457)."""
    kinds: list[tuple[type[CbxError], int]] = [
        (NotFoundError, 404), (UsageError, 400), (DeniedError, 403), (ConflictError, 409), (NotStartedError, 503),
    ]  # fmt: skip
    status = next((code for kind, code in kinds if isinstance(error, kind)), 500)
    body = {
        "type": "about:blank",
        "title": error.brief,
        "status": status,
        "detail": error.details,
        "hint": error.hint,
        "exit_status": error.exit_status,
    }
    return Response(msgspec.json.encode(body), status, media_type="application/problem+json")


async def body_of(request: Request, kind: type[T], limit: int = MAX_BODY) -> T:
    """The JSON object of a request, which may be missing. Raises UsageError if it is not of that kind."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > limit:
            raise UsageError(f"the body is longer than {limit} bytes")
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        known = ", ".join(field.name for field in msgspec.structs.fields(kind)) or "none"
        raise UsageError(f"cannot take the body: {error}", hint=f"a JSON object; fields known here: {known}") from error


def number_of(request: Request) -> int:
    """The number in the path."""
    text = request.path_params["number"]
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise NotFoundError(f"no such number: {text[:40]}")
    return int(text)


def numeric(request: Request, name: str, default: float) -> float:
    """A number behind the question mark, from 0 on. Raises UsageError."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e18:
        raise UsageError(f"{name}={text[:40]} is not a number")
    return number


def owner_filter(request: Request) -> int | None:
    """Whose things the peer sees: None is everybody's."""
    return None if may(request, Right.SEE) else peer_of(request).uid


def may(request: Request, right: Right) -> bool:
    """Whether the peer has a right."""
    return service_of(request).access.may(peer_of(request), right)


async def require(request: Request, right: Right, what: str, *, owner: int | None = None) -> None:
    """Raise DeniedError, and write that down, unless the peer has a right or is the ``owner``."""
    peer, service = peer_of(request), service_of(request)
    if (owner is not None and peer.uid == owner) or service.access.may(peer, right):
        return
    error = access.denied(right, what)
    await service.executor.writing.write(audit.denied(time.time(), what, peer.uid, peer.pid, error.brief))
    raise error
