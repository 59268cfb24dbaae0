"""cbx.sock: listening from the start, everything else from the first caller on."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from cbx_supervisor.daemon import peers

if TYPE_CHECKING:
    from cbx_supervisor.daemon.service import Service


class HttpServer:
    """The listening socket; uvicorn's protocol serves what it accepts."""

    def __init__(self, listener: socket.socket, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._make: Any = None
        self._state: Any = None
        self._loading: asyncio.Task[None] | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self.listen(listener)

    @property
    def connections(self) -> int:
        """How many are open or about to be."""
        served = len(self._state.connections) if self._state is not None else 0
        return served + len(self._opening) + (self._loading is not None)

    def listen(self, listener: socket.socket) -> None:
        """Take connections from ``listener`` from now on."""
        self._listener = listener
        listener.setblocking(False)
        self._loop.add_reader(listener.fileno(), self.accept_waiting)

    def accept_waiting(self) -> None:
        """Take all connections that wait."""
        if self._make is None:
            if self._loading is None and self._knocked():
                # Deaf until the import is done: the backlog keeps the callers.
                self._loop.remove_reader(self._listener.fileno())
                self._loading = self._loop.create_task(self._load())
            return
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def close_listener(self) -> None:
        """Take no more connections."""
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()

    def close(self) -> None:
        """The daemon ends."""
        self.close_listener()
        if self._state is not None:
            for protocol in tuple(self._state.connections):
                protocol.shutdown()

    def _knocked(self) -> bool:
        return peers.readable(self._listener)

    async def _load(self) -> None:
        def load() -> tuple[Any, Any]:
            from cbx_supervisor.daemon.application import protocol_factory  # noqa: PLC0415  # see there

            return protocol_factory(self._service)

        try:
            self._make, self._state = await self._loop.run_in_executor(None, load)
        finally:
            self._loading = None
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener.fileno(), self.accept_waiting)
            self.accept_waiting()

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, connection)
        except OSError:
            connection.close()
