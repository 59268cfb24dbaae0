"""Sockets of a relay: where a connection was meant to, connecting to the first address that answers, refusing."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct

from cbx_sandbox.allowlist import Address

CONNECT_SECONDS = 20.0
_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; the same number in netfilter_ipv6/ip6_tables.h
_SOL_IPV6 = 41
_LINGER_RESET = struct.pack("ii", 1, 0)


class Refusal(Exception):  # noqa: N818  # a decision, not a fault
    """A connection is not made, and why."""


def original_target(connection: socket.socket) -> tuple[Address, int]:
    """Where a connection was meant to before the rules led it here. Raises OSError if none did."""
    if connection.family == socket.AF_INET:
        raw = connection.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)  # struct sockaddr_in
        return ipaddress.IPv4Address(raw[4:8]), int.from_bytes(raw[2:4], "big")
    raw = connection.getsockopt(_SOL_IPV6, _SO_ORIGINAL_DST, 28)  # struct sockaddr_in6
    return ipaddress.IPv6Address(raw[8:24]), int.from_bytes(raw[2:4], "big")


def is_of_this_host(address: Address) -> bool:
    """True if the host would be talking to itself: the source that it would choose is the target."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as trial:
        try:
            trial.connect((str(address), 9))
        except OSError:
            return False  # no way there at all: connecting will say so
        return ipaddress.ip_address(trial.getsockname()[0].partition("%")[0]) == address


async def connected(addresses: list[Address], port: int) -> tuple[socket.socket, str]:
    """A connection to the first address that takes one. Raises Refusal."""
    loop = asyncio.get_running_loop()
    why = "no address"
    for address in addresses:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        made.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.sock_connect(made, (str(address), port))
        except OSError as error:  # TimeoutError, too
            why = error.strerror or "timed out"
            made.close()
        except BaseException:
            made.close()
            raise
        else:
            return made, str(address)
    raise Refusal(f"cannot be reached: {why}")


async def readable(connection: socket.socket) -> None:
    """Wait until there is something to read, and leave it there."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(connection.fileno(), _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection.fileno())


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def exactly(connection: socket.socket, count: int) -> bytes:
    """Read ``count`` bytes. Raises EOFError."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        more = await loop.sock_recv(connection, count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def reset(connection: socket.socket) -> None:
    """Close it so that the other side sees a refusal, not an end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    connection.close()
