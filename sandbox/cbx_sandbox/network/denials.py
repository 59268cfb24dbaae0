"""What the packet rules refused, as the kernel logs it: NFLOG (linux/netfilter/nfnetlink_log.h), read without waiting.

The socket is opened in the job's namespace while there is the right to; reading it afterwards needs none.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator

_NETLINK_NETFILTER = 12
_SUBSYSTEM_LOG = 4 << 8
_PACKET, _CONFIG = _SUBSYSTEM_LOG | 0, _SUBSYSTEM_LOG | 1
_REQUEST, _ACK = 1, 4
_ERROR = 2  # NLMSG_ERROR
_CONFIG_COMMAND, _CONFIG_MODE, _CONFIG_THRESHOLD = 1, 2, 5  # NFULA_CFG_CMD, _MODE, _QTHRESH
_BIND, _COPY_PACKET = 1, 2
_PAYLOAD = 9  # NFULA_PAYLOAD
_COPIED = 64
_BUFFER = 1 << 16
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}


def listen(group: int) -> socket.socket:
    """A socket that hears of each packet that a rule of the caller's namespace logs to ``group``. Raises OSError."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    try:
        made.bind((0, 0))
        _configure(made, group, _attribute(_CONFIG_COMMAND, bytes([_BIND])))
        # Each packet at once: by default the kernel collects a hundred, or a second's.
        _configure(made, group, _attribute(_CONFIG_THRESHOLD, struct.pack(">I", 1)))
        _configure(made, group, _attribute(_CONFIG_MODE, struct.pack(">IBx", _COPIED, _COPY_PACKET)))
    except BaseException:
        made.close()
        raise
    made.setblocking(False)
    return made


def read(connection: socket.socket) -> Iterator[tuple[str, str, int]]:
    """Each refused packet that has come: protocol, address, port (0 where the protocol has none)."""
    while True:
        try:
            data = connection.recv(_BUFFER)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            continue  # more were refused than there was room for
        yield from parse(data)


def parse(data: bytes) -> Iterator[tuple[str, str, int]]:
    """The refused packets in one datagram of netlink messages."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16:
            return
        if kind == _PACKET:
            for name, value in _attributes(data[at + 20 : at + length]):
                if name == _PAYLOAD and (found := target(value)) is not None:
                    yield found
        at += (length + 3) & ~3


def target(packet: bytes) -> tuple[str, str, int] | None:
    """Where a packet was going: protocol, address, port."""
    if not packet:
        return None
    version = packet[0] >> 4
    if version == 4 and len(packet) >= 20:
        protocol, address, at = packet[9], packet[16:20], (packet[0] & 15) * 4
    elif version == 6 and len(packet) >= 40:
        protocol, address, at = packet[6], packet[24:40], 40
    else:
        return None
    name = _PROTOCOLS.get(protocol, f"protocol {protocol}")
    has_port = name in {"tcp", "udp"} and len(packet) >= at + 4
    port = int.from_bytes(packet[at + 2 : at + 4], "big") if has_port else 0
    return name, str(ipaddress.ip_address(address)), port


def _configure(connection: socket.socket, group: int, attribute: bytes) -> None:
    # nlmsghdr, then nfgenmsg: family, version, the group in network order.
    body = struct.pack(">BBH", socket.AF_UNSPEC, 0, group) + attribute
    connection.send(struct.pack("=IHHII", 16 + len(body), _CONFIG, _REQUEST | _ACK, 0, 0) + body)
    reply = connection.recv(_BUFFER)
    kind = struct.unpack_from("=H", reply, 4)[0]
    if kind == _ERROR and (number := struct.unpack_from("=i", reply, 16)[0]):
        raise OSError(-number, "cannot log refused packets")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3
