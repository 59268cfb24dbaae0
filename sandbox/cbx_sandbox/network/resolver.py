"""The name server of one job: answers for what is allowed and exists, and remembers what that leads to."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Any

from cbx_sandbox.allowlist import Address, Allowlist
from cbx_sandbox.network import dns, sockets
from cbx_sandbox.network.budget import Budget
from cbx_sandbox.network.ledger import Ledger
from cbx_sandbox.network.names import Names
from cbx_sandbox.network.sockets import Refusal

RESOLVE_SECONDS = 20.0
STREAM_SECONDS = 10.0
REMEMBERED_SECONDS = 60.0  # what a name was resolved to is what is connected to
LOOKUPS_A_SECOND = 50.0
_DATAGRAM = 1 << 16


class NoSuchName(Refusal):
    """Nobody has that name."""


class NameServer:
    """One job's. The host resolves for it, in whatever way it is configured to."""

    def __init__(self, allowlist: Allowlist, names: Names, ledger: Ledger) -> None:
        self._allowlist = allowlist
        self._names = names
        self._ledger = ledger
        self._budget = Budget(LOOKUPS_A_SECOND)
        self._resolved: dict[str, tuple[float, list[Address]]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def stop(self) -> list[asyncio.Task[None]]:
        """Answer nobody any more; returns what was under way, cancelled."""
        for task in self._answering:
            task.cancel()
        return list(self._answering)

    def datagrams(self, connection: socket.socket) -> None:
        """Answer every datagram that has come."""
        while True:
            try:
                wire, peer = connection.recvfrom(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                continue  # an answer could not be delivered: the asker has gone

            def reply(answer: bytes, peer: Any = peer) -> None:
                with contextlib.suppress(OSError):
                    connection.sendto(answer, peer)

            if len(self._answering) < LOOKUPS_A_SECOND:
                task = asyncio.get_running_loop().create_task(self._reply(wire, reply))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    async def _reply(self, wire: bytes, reply: Callable[[bytes], None]) -> None:
        if (answer := await self.answer(wire)) is not None:
            reply(answer)

    async def stream(self, connection: socket.socket) -> None:
        """Answer a connection. Raises EOFError, TimeoutError, OSError when it is over."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(STREAM_SECONDS):
            while True:
                length = int.from_bytes(await sockets.exactly(connection, 2), "big")
                answer = await self.answer(await sockets.exactly(connection, length))
                if answer is None:
                    return
                await loop.sock_sendall(connection, len(answer).to_bytes(2, "big") + answer)

    async def answer(self, wire: bytes) -> bytes | None:
        """Answer one message of a resolver; None if it is not to be answered."""
        question = dns.read(wire)
        if question is None:
            return None
        self._ledger.lookups += 1
        if not self._budget.try_take():
            return dns.failed(question)
        name = question.name
        ports = self._allowlist.ports_of(name)
        if not ports:
            if not name.endswith(".arpa"):
                self._ledger.denied(name, 0, "not on the allowlist", "dns")
            return dns.missing(question)
        stand_in = self._names.stand_in(name)
        if stand_in is None:
            # Also names that nobody has are counted: a query below an allowed name carries data as it is.
            self._ledger.denied(name, 0, "too many names", "dns")
            return dns.failed(question)
        try:
            addresses = await self.resolve(name)
        except NoSuchName:
            return dns.missing(question)
        except Refusal:
            return dns.failed(question)
        if not any(self._allowlist.may_lead_somewhere(address, ports) for address in addresses):
            listed = ", ".join(str(address) for address in addresses[:4])
            self._ledger.denied(name, 0, f"leads to {listed}, where names may not lead", "dns")
            return dns.missing(question)
        return dns.answer(question, stand_in)

    async def resolve(self, name: str) -> list[Address]:
        """As the host resolves it. Raises Refusal."""
        now = time.monotonic()
        known = self._resolved.get(name)
        if known is not None and known[0] > now:
            return known[1]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno in {socket.EAI_NONAME, socket.EAI_NODATA}:
                raise NoSuchName("there is no such name") from error
            raise Refusal(f"cannot be resolved: {error.strerror}") from error
        except (OSError, UnicodeError, TimeoutError) as error:
            raise Refusal("cannot be resolved") from error
        texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
        addresses: list[Address] = [ipaddress.ip_address(text) for text in texts]
        self._resolved[name] = (now + REMEMBERED_SECONDS, addresses)
        return addresses
