"""The server's name in the first message of a TLS connection (RFC 8446 4.1.2, RFC 6066 3). Pure; bytes are hostile."""

from __future__ import annotations

MAX_BYTES = 1 << 16  # of a first message; larger ones are not read
_HANDSHAKE_RECORD, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0


class IncompleteError(Exception):
    """More bytes are needed."""


def is_tls(data: bytes) -> bool:
    """True if a connection that begins so is TLS."""
    return data[:1] == b"\x16" and data[1:2] in {b"", b"\x03"}


def server_name(data: bytes) -> str | None:
    """The name that the client asks for; None if it gives none. Raises IncompleteError, ValueError."""
    reader = _Reader(_handshake(data))
    reader.take(2 + 32)  # version, random
    reader.block(1)  # session
    reader.block(2)  # cipher suites
    reader.block(1)  # compression
    if not reader.left:
        return None
    extensions = _Reader(reader.block(2))
    while extensions.left:
        kind = extensions.number(2)
        content = extensions.block(2)
        if kind == _SERVER_NAME:
            names = _Reader(_Reader(content).block(2))
            while names.left:
                name_kind, name = names.number(1), names.block(2)
                if name_kind == _HOST_NAME:
                    return name.decode("ascii")
    return None


def _handshake(data: bytes) -> bytes:
    """The body of the hello, which may be spread over several records."""
    joined, at = b"", 0
    while True:
        if len(data) < at + 5:
            raise IncompleteError
        if data[at] != _HANDSHAKE_RECORD:
            raise ValueError("no handshake record")
        length = int.from_bytes(data[at + 3 : at + 5], "big")
        joined += data[at + 5 : at + 5 + length]
        if len(joined) >= 4:
            if joined[0] != _CLIENT_HELLO:
                raise ValueError("no client hello")
            size = int.from_bytes(joined[1:4], "big")
            if len(joined) >= 4 + size:
                return joined[4 : 4 + size]
        if len(data) < at + 5 + length:
            raise IncompleteError
        if length == 0:
            raise ValueError("an empty record")
        at += 5 + length


class _Reader:
    """Takes pieces off the front; what is not there is a ValueError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError("it ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def block(self, size: int) -> bytes:
        return self.take(self.number(size))
