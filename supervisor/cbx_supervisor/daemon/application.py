"""The HTTP socket's application: routes, errors, and uvicorn's protocol with the kernel's word on who calls.

Imported by the first request: starlette and uvicorn take longer than starting all the rest.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from h11 import LocalProtocolError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from cbx_sandbox.errors import CbxError, NotStartedError
from cbx_supervisor.daemon import openapi, peers
from cbx_supervisor.daemon.handlers.answers import NotFoundError, problem
from cbx_supervisor.daemon.routes import PAGES

if TYPE_CHECKING:
    from cbx_supervisor.daemon.service import Service


class PeerProtocol(H11Protocol):
    """HTTP/1.1 on a Unix socket; ``scope["state"]["peer"]`` is who connected."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look at the credentials before a byte is read."""
        connection: socket.socket = transport.get_extra_info("socket")
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        service: Service = self.app_state["service"]
        service.active()
        try:
            peer = peers.credentials(connection)
            # uvicorn's transport socket wraps the same descriptor.
            peers.refuse_jobs(connection, peer, service.paths.cgroup)
            self._check_room(service, peer)
        except (OSError, CbxError) as error:
            if isinstance(error, peers.FromJobError):
                service.executor.incidents.called_from(error.group, peer.pid)
            service.log("refused", error=str(error))
            transport.abort()
            return
        self.app_state = {**self.app_state, "peer": peer}
        self.loop.call_later(service.settings.timeouts.first_frame_seconds, self._expect_request)

    def _check_room(self, service: Service, peer: peers.Peer) -> None:
        access = service.settings.access
        others = [other for other in self.connections if isinstance(other, PeerProtocol) and other is not self]
        mine = sum(1 for other in others if getattr(other.app_state.get("peer"), "uid", None) == peer.uid)
        if len(others) >= access.connections_max or (peer.uid != 0 and mine >= access.connections_per_user_max):
            raise NotStartedError("cannot serve this connection: too many are open", hint="try again later")

    def _expect_request(self) -> None:
        """A caller who never sends a whole request must not keep a connection, and the supervisor, for ever."""
        if self.cycle is None and not self.transport.is_closing():
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Idleness counts from here."""
        super().connection_lost(exc)
        self.app_state["service"].active()


def protocol_factory(service: Service) -> tuple[Any, ServerState]:
    """What makes a protocol for each connection, and the set of open ones."""
    app = Starlette(
        routes=[Route(page.path, page.handler, methods=[page.method]) for page in PAGES],
        exception_handlers={CbxError: _problem, 404: _unknown, 405: _unknown, Exception: _bug},
    )
    app.state.service = service
    app.state.description = functools.cache(functools.partial(openapi.document, PAGES))
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)

    async def up_to_date(scope: Scope, receive: Receive, send: Send) -> None:
        # Who was told a result by `run` must find it.
        await service.executor.writing.recorded()
        await app(scope, receive, send)

    config = uvicorn.Config(up_to_date, http=PeerProtocol, ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    state = ServerState()

    def make() -> PeerProtocol:
        return PeerProtocol(config, state, {"service": service})

    return make, state


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, CbxError)
    return problem(error)


async def _unknown(request: Request, _error: Exception) -> Response:
    return problem(NotFoundError(f"no such page: {request.method} {request.url.path}"))


async def _bug(request: Request, error: Exception) -> Response:
    if isinstance(error, (ClientDisconnect, LocalProtocolError)):
        # Hung up before the request was whole, or no HTTP behind its first lines: nobody is there to be answered.
        request.app.state.service.log("caller gone", path=request.url.path)
        return Response(status_code=400)
    request.app.state.service.log("internal error", path=request.url.path, error=repr(error))
    return problem(CbxError(f"internal error: {error!r}", hint="please report this"))
