"""The exec socket, seen from the caller: finding it, trusting it, frames and descriptors over it."""

import _socket
import posix
import sys

from cbx_supervisor.client.failure import ClientError, printable
from cbx_supervisor.protocol import frame

RUNTIME = b"/run/cbx"  # cbx_supervisor.paths has the same; a test compares the two
MOVABLE = (b"CBX_RUNTIME_DIR", b"CBX_STATE_DIR", b"CBX_CONFIG_DIR")
MAX_PATH = 107  # of a Unix socket's address, see unix(7)

Fields = dict[str, list[bytes]]


def runtime_directory() -> bytes:
    """Return the directory with the sockets; only root may name another one than /run/cbx."""
    for name in MOVABLE:
        path = posix.environ.get(name)
        if not path:
            continue
        if posix.getuid() != 0:
            raise ClientError(
                f"cannot use {name.decode()}: only root may move cbx's directories", hint=f"unset {name.decode()}"
            )
        if not path.startswith(b"/"):
            raise ClientError(f"cannot use {name.decode()}={shown(path)}: it must be an absolute path")
    return posix.environ.get(b"CBX_RUNTIME_DIR") or RUNTIME


def shown(path: bytes) -> str:
    """Make a path fit for a message."""
    return printable(path.decode("utf-8", "surrogateescape"))


def open_socket(path: bytes) -> _socket.socket:
    """Connect to a socket of the supervisor's and make sure that root serves it.

    Raises FileNotFoundError or ConnectionRefusedError when nobody does.
    """
    if len(path) > MAX_PATH:
        raise ClientError(f"cannot connect to {shown(path)}: a socket's path has at most {MAX_PATH} bytes")
    server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        server.connect(path)
    except PermissionError:
        raise ClientError(f"cannot connect to {shown(path)}: permission denied", hint=_how_to_be_allowed()) from None
    except OSError as why:
        if isinstance(why, (FileNotFoundError, ConnectionRefusedError)):
            raise
        raise ClientError(f"cannot connect to {shown(path)}: {why.strerror}") from None
    peer = server.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)  # struct ucred: pid, uid, gid
    uid = int.from_bytes(peer[4:8], sys.byteorder)
    if uid != 0:
        raise ClientError(f"cannot trust {shown(path)}: it is served by user {uid}, not by root")
    return server


def _how_to_be_allowed() -> str:
    import grp

    join = 'sudo usermod -aG cbx "$USER", then log in again'
    try:
        grp.getgrnam("cbx")
    except KeyError:
        return f"root and the group cbx may use it: sudo groupadd --system cbx, restart the supervisor, {join}"
    return f"root and the group cbx may use it: {join}"


class Connection:
    """Frames both ways; descriptors travel with the first byte of a frame."""

    def __init__(self, server: _socket.socket) -> None:
        self._server = server
        self._splitter = frame.Splitter()
        self._received: list[int] = []

    def fileno(self) -> int:
        """For poll."""
        return self._server.fileno()

    def send(self, fields: list[tuple[str, bytes]], descriptors: list[int] | None = None) -> None:
        """Send one frame, with descriptors if there are any."""
        data = frame.encode(fields)
        if descriptors:
            packed = b"".join(number.to_bytes(4, sys.byteorder) for number in descriptors)
            sent = self._server.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)])
            data = data[sent:]
        if data:
            self._server.sendall(data)

    def receive(self) -> list[Fields] | None:
        """Wait for bytes and return the frames that they complete, None once the server has closed."""
        try:
            data, ancillary, _flags, _address = self._server.recvmsg(
                1 << 16, _socket.CMSG_LEN(4 * 4), _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return None
        for level, kind, packed in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                numbers = range(0, len(packed) - len(packed) % 4, 4)
                self._received += [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in numbers]
        if not data:
            return None
        return [_by_key(frame.decode(payload)) for payload in self._splitter.feed(data)]

    def take_descriptor(self) -> int:
        """Return the oldest descriptor that came and was not taken yet."""
        if not self._received:
            raise ClientError("the supervisor announced a descriptor and sent none")
        return self._received.pop(0)

    def close(self) -> None:
        """Hang up."""
        self._server.close()


def _by_key(fields: list[tuple[str, bytes]]) -> Fields:
    grouped: Fields = {}
    for key, value in fields:
        grouped.setdefault(key, []).append(value)
    return grouped
