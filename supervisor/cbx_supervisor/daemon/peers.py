"""Who is at the other end of a socket: the kernel says so, never the caller."""

from __future__ import annotations

import dataclasses
import errno
import os
import select
import socket
import struct

from cbx_sandbox.errors import DeniedError, NotStartedError

_UCRED = struct.Struct("=iII")  # struct ucred (unix(7))
_SO_PEERPIDFD = 77  # since Linux 6.5
# What the kernel says of a process that has ended: which of them depends on the call, and on how long ago that was.
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.EINVAL})


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """The process that connected, as it was then."""

    pid: int
    uid: int
    gid: int


class FromJobError(DeniedError):
    """A job calls its supervisor, from ``group``."""

    def __init__(self, group: str) -> None:
        super().__init__("cannot serve a job: a job must not command the supervisor", hint="call it from outside")
        self.group = group


def credentials(connection: socket.socket) -> Peer:
    """The ids of whoever called connect(2)."""
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid, uid, gid)


def refuse_jobs(connection: socket.socket, peer: Peer, cgroup: str) -> None:
    """Refuse callers that are jobs themselves: a job must not command its supervisor.

    Jobs live below ``<cgroup>/jobs`` of the unified hierarchy. A caller that is gone cannot be placed, so it is refused
    as well: its socket may have been left to a job. Raises NotStartedError when it could not be looked at.
    """
    try:
        group = _group_of(connection, peer.pid)
    except OSError as error:
        raise NotStartedError(
            f"cannot serve this connection: cannot look at who made it: {error.strerror}", hint="try again later"
        ) from error
    if group is None:
        raise DeniedError("cannot serve this connection: the process that made it has ended")
    if within(group, cgroup):
        raise FromJobError(group)


def within(group: str, cgroup: str) -> bool:
    """True if ``group`` (a path of the unified hierarchy) belongs to a job of the supervisor called ``cgroup``."""
    return f"/{cgroup}/jobs/" in f"{group}/"


def _group_of(connection: socket.socket, pid: int) -> str | None:
    """None if it is gone. Raises OSError, as when too many files are open: nothing is known of it then."""
    pidfd = None
    try:
        pidfd = _pidfd(connection)
        lines = _read(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape").splitlines()
        # Still the process that connected, and not another one that got its number since?
        if pidfd is not None and readable(pidfd):
            return None
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    finally:
        if pidfd is not None:
            os.close(pidfd)
    return next((line[3:] for line in lines if line.startswith("0::")), None)


def _read(path: str) -> bytes:
    """A file of procfs: bytes by system calls, since a file object for people costs more than the look itself."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(file, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(file)


def readable(descriptor: int | socket.socket) -> bool:
    """Whether there is something to read now. Not select(2): it knows the first 1024 descriptors only."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _pidfd(connection: socket.socket) -> int | None:
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return None
        raise
