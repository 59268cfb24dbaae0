"""What every handler needs: who asks, what is answered, and how an error is worded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cbx_sandbox.errors import CbxError, ConflictError, DeniedError, NotStartedError, UsageError
from cbx_supervisor.daemon.peers import Peer

if TYPE_CHECKING:
    from cbx_supervisor.daemon.service import Service

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


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request, which may be missing."""
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_BODY:
            raise UsageError(f"the body is longer than {MAX_BODY} bytes")
    if not raw:
        return {}
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise UsageError(f"the body is not a JSON object: {error}") from error


def number_of(request: Request) -> int:
    """The number in the path."""
    text = request.path_params["number"]
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise NotFoundError(f"no such number: {text[:40]}")
    return int(text)


def owner_filter(peer: Peer) -> int | None:
    """Whose things the peer sees: None is everybody's."""
    return None if peer.uid == 0 else peer.uid
