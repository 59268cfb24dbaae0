"""The relay of one job: takes its connections and look-ups, connects from the host to what is allowed, counts.

It has two feet: listeners in the job's namespace, and the host's namespace for everything that it opens itself. It has
no privileges, an id of its own, and writes no file. When it ends, the job has no network: nothing else leads out.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import ipaddress
import socket
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from cbx_sandbox.allowlist import Address, Allowlist, normal
from cbx_sandbox.network import denials, hello, sockets
from cbx_sandbox.network.budget import Budget
from cbx_sandbox.network.ledger import Decision, Ledger
from cbx_sandbox.network.names import Names
from cbx_sandbox.network.namespace import Inside
from cbx_sandbox.network.resolver import NameServer
from cbx_sandbox.network.sockets import Refusal

HELLO_SECONDS = 10.0
_CHUNK = 1 << 16
_PAUSE = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """What one job may have. Bytes a second, both directions together; 0 is unlimited."""

    allowlist: Allowlist
    connections: int
    bytes_per_second: int
    publish: tuple[int, ...] = ()  # ports inside, one for each listener on the host


class Relay:
    """One job's."""

    def __init__(
        self, terms: Terms, names: Names, inside: Inside, published: list[socket.socket], within: Executor
    ) -> None:
        self.terms = terms
        self.names = names
        self.ledger = Ledger()
        self._inside = inside
        self._published = published
        self._within = within  # whose thread is in the job's namespace
        self._bandwidth = Budget(terms.bytes_per_second)
        self._resolver = NameServer(terms.allowlist, names, self.ledger)
        self._open: set[asyncio.Task[None]] = set()
        self._accepting: list[asyncio.Task[None]] = []

    def serve(self) -> None:
        """Begin; needs a running loop."""
        loop = asyncio.get_running_loop()
        for listener in self._inside.relay:
            self._accept(listener, self._outward)
        for listener in self._inside.dns_stream:
            self._accept(listener, self._resolver.stream)
        for listener, port in zip(self._published, self.terms.publish, strict=True):
            self._accept(listener, functools.partial(self._inward, port=port))
        for datagram in self._inside.dns_datagram:
            loop.add_reader(datagram.fileno(), self._resolver.datagrams, datagram)

    def watch(self, log: socket.socket) -> None:
        """Count what the packet rules refuse."""
        asyncio.get_running_loop().add_reader(log.fileno(), self.note_denials, log)

    def note_denials(self, log: socket.socket) -> None:
        """Take what the kernel has logged."""
        for protocol, address, port in denials.read(log):
            self.ledger.denied(*self._named(address, port), protocol)

    def _named(self, address: str, port: int) -> tuple[str, int, str]:
        found = ipaddress.ip_address(address)
        name = self.names.name_of(found) if isinstance(found, ipaddress.IPv4Address) else None
        return (name, port, "not on this port") if name else (address, port, "not on the allowlist")

    async def stop(self) -> None:
        """No more connections; those that are open end."""
        tasks = [*self._accepting, *self._open]
        for task in tasks:
            task.cancel()
        tasks += self._resolver.stop()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, listener: socket.socket, serve: Callable[[socket.socket], Any]) -> None:
        self._accepting.append(asyncio.get_running_loop().create_task(self._accept_all(listener, serve)))

    async def _accept_all(self, listener: socket.socket, serve: Callable[[socket.socket], Any]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:  # the other side has gone, or descriptors have run out: then a moment later
                await asyncio.sleep(_PAUSE)
                continue
            connection.setblocking(False)
            if self.terms.connections and len(self._open) >= self.terms.connections:
                self.ledger.denied(*self._wanted(connection), f"more than {self.terms.connections} open connections")
                sockets.reset(connection)
                continue
            task = loop.create_task(self._whole(connection, serve))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _whole(self, connection: socket.socket, serve: Callable[[socket.socket], Any]) -> None:
        try:
            await serve(connection)
        except (OSError, EOFError, TimeoutError, ValueError):
            sockets.reset(connection)
        finally:
            connection.close()

    def _wanted(self, connection: socket.socket) -> tuple[str, int]:
        try:
            address, port = sockets.original_target(connection)
        except OSError:
            return "published", connection.getsockname()[1]
        name = self.names.name_of(address) if isinstance(address, ipaddress.IPv4Address) else None
        return name or str(address), port

    # ── from the job to the world ──

    async def _outward(self, connection: socket.socket) -> None:
        address, port = sockets.original_target(connection)
        name = self.names.name_of(address) if isinstance(address, ipaddress.IPv4Address) else None
        try:
            addresses = await self._permitted(name, address, port)
            upstream, chosen = await sockets.connected(addresses, port)
        except Refusal as why:
            self.ledger.denied(name or str(address), port, str(why))
            sockets.reset(connection)
            return
        with upstream:
            decision = self.ledger.allowed(name or str(address), port, chosen)
            try:
                begun = await self._begun(connection, upstream, port) if name else b""
            except Refusal as why:
                self.ledger.denied(name or str(address), port, str(why))
                sockets.reset(connection)
                return
            await self._exchange(connection, upstream, decision, begun)

    async def _permitted(self, name: str | None, address: Address, port: int) -> list[Address]:
        """The addresses to try. Raises Refusal."""
        allowlist = self.terms.allowlist
        if name is None:
            if not allowlist.allows_address(address, port):
                raise Refusal("not on the allowlist")
            found = [address]
        else:
            if not allowlist.allows_name(name, port):
                raise Refusal("not on this port")
            found = [a for a in await self._resolver.resolve(name) if allowlist.may_lead_to(a, port)]
            if not found:
                raise Refusal("leads to no address that names may lead to")
        reachable = [a for a in found if allowlist.names_address(a, port) or not sockets.is_of_this_host(a)]
        if not reachable:
            raise Refusal("leads to this host itself")
        return reachable

    async def _begun(self, connection: socket.socket, upstream: socket.socket, port: int) -> bytes:
        """What a TLS client says first, read before it is passed on: its server name must be allowed, too.

        Empty where the server speaks first, or another protocol is spoken. Raises Refusal.
        """
        loop = asyncio.get_running_loop()
        first = loop.create_task(sockets.readable(connection))
        server_first = loop.create_task(sockets.readable(upstream))
        try:
            await asyncio.wait([first, server_first], return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                return b""
        finally:
            for task in (first, server_first):
                task.cancel()
            await asyncio.gather(first, server_first, return_exceptions=True)
        data = await loop.sock_recv(connection, _CHUNK)
        async with asyncio.timeout(HELLO_SECONDS):
            while hello.is_tls(data) and len(data) < hello.MAX_BYTES:
                try:
                    asked = hello.server_name(data)
                except hello.IncompleteError:
                    more = await loop.sock_recv(connection, _CHUNK)
                    if not more:
                        raise EOFError from None
                    data += more
                    continue
                except ValueError:
                    raise Refusal("begins like TLS and is not") from None
                if asked is not None and not self.terms.allowlist.allows_name(normal(asked), port):
                    raise Refusal(f"asks by TLS for {normal(asked)[:255]}, which is not allowed")
                break
        return data

    # ── from the host to a published port ──

    async def _inward(self, connection: socket.socket, port: int) -> None:
        loop = asyncio.get_running_loop()
        inner = await loop.run_in_executor(
            self._within, socket.socket, socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC
        )
        with inner:
            inner.setblocking(False)
            async with asyncio.timeout(sockets.CONNECT_SECONDS):
                await loop.sock_connect(inner, ("127.0.0.1", port))
            self.ledger.published += 1
            await self._exchange(inner, connection, None, b"")

    # ── bytes ──

    async def _exchange(
        self, job: socket.socket, world: socket.socket, decision: Decision | None, begun: bytes
    ) -> None:
        out = functools.partial(self._count, decision, "sent")
        in_ = functools.partial(self._count, decision, "received")
        pumps = [
            asyncio.ensure_future(self._pump(job, world, out, begun)),
            asyncio.ensure_future(self._pump(world, job, in_, b"")),
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def _count(self, decision: Decision | None, which: str, count: int) -> None:
        self.ledger.carried(decision, **{which: count})

    async def _pump(
        self, source: socket.socket, sink: socket.socket, count: Callable[[int], None], data: bytes
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if data:
                await self._bandwidth.take(len(data))
                await loop.sock_sendall(sink, data)
                count(len(data))
            data = await loop.sock_recv(source, _CHUNK)
            if not data:
                with contextlib.suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)
                return
