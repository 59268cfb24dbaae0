"""The exec socket's frames: a length, then fields.

    frame    4 bytes, big-endian: length of the payload, at most 4 MiB
    payload  fields joined by NUL bytes
    field    key=value; the key is lower case letters, digits and underscores, the value any bytes but NUL;
             a key that comes several times is a list, in order

Not JSON, because command lines, paths and environments are bytes, and because importing a JSON parser costs the client
of a short command more than the rest of its work. For the same reason this module imports nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER_SIZE = 4
MAX_PAYLOAD = 4 << 20
KEY_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_")


class FrameError(ValueError):
    """The bytes are no frame, or the fields cannot be one."""


def encode(fields: "Iterable[tuple[str, bytes]]") -> bytes:
    """Return the whole frame, header included."""
    parts = []
    for key, value in fields:
        name = key.encode()
        if not name or not KEY_LETTERS.issuperset(name):
            raise FrameError(f"cannot send the field {key!r}: not a key")
        if b"\0" in value:
            raise FrameError(f"cannot send the field {key}: its value has a NUL byte")
        parts.append(name + b"=" + value)
    payload = b"\0".join(parts)
    if not payload:
        raise FrameError("cannot send a frame without fields")
    if len(payload) > MAX_PAYLOAD:
        raise FrameError(f"cannot send {len(payload)} bytes in one frame: the limit is {MAX_PAYLOAD}")
    return len(payload).to_bytes(HEADER_SIZE, "big") + payload


def payload_length(header: bytes) -> int:
    """Return the length that a header announces."""
    if len(header) != HEADER_SIZE:
        raise FrameError(f"a header has {HEADER_SIZE} bytes, not {len(header)}")
    length = int.from_bytes(header, "big")
    if not 0 < length <= MAX_PAYLOAD:
        raise FrameError(f"cannot take a frame of {length} bytes: the limits are 1 and {MAX_PAYLOAD}")
    return length


def decode(payload: bytes) -> list[tuple[str, bytes]]:
    """Return the fields of a payload, in order."""
    if not 0 < len(payload) <= MAX_PAYLOAD:
        raise FrameError(f"cannot take a frame of {len(payload)} bytes: the limits are 1 and {MAX_PAYLOAD}")
    fields = []
    for part in payload.split(b"\0"):
        key, equals, value = part.partition(b"=")
        name = _name(key) if equals else None
        if name is None:
            raise FrameError(f"not a field: {part[:60]!r}")
        fields.append((name, value))
    return fields


_names: "dict[bytes, str]" = {}  # the same few keys come with every frame
_MOST_NAMES, _LONGEST_NAME = 256, 32  # whoever makes up others fills no memory with them


def _name(key: bytes) -> "str | None":
    """A key as text, or None if it is none."""
    known = _names.get(key)
    if known is None and key and KEY_LETTERS.issuperset(key):
        known = key.decode("ascii")
        if len(_names) < _MOST_NAMES and len(key) <= _LONGEST_NAME:
            _names[key] = known
    return known


class Splitter:
    """Cuts a byte stream into payloads, whatever pieces it arrives in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take more of the stream and return the payloads that are complete now."""
        self._buffer += data
        payloads = []
        while len(self._buffer) >= HEADER_SIZE:
            end = HEADER_SIZE + payload_length(bytes(self._buffer[:HEADER_SIZE]))
            if len(self._buffer) < end:
                break
            payloads.append(bytes(self._buffer[HEADER_SIZE:end]))
            del self._buffer[:end]
        return payloads

    @property
    def empty(self) -> bool:
        """True between two frames: the only place where a stream may end."""
        return not self._buffer
