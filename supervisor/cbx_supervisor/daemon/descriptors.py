"""What a caller may pass: checked by the daemon, whatever its client has checked."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Iterable, Sequence

from cbx_sandbox.errors import UsageError
from cbx_supervisor.execution.submission import Descriptors, Submission

_STANDARD = ("stdin", "stdout", "stderr")
# /dev/null, zero, full, random, urandom: they lead nowhere.
_HARMLESS = frozenset(os.makedev(1, minor) for minor in (3, 5, 7, 8, 9))


def unpack(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors of a message, all of them: they are open in this process from now on."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


class Owned:
    """Descriptors that came and have no names yet."""

    def __init__(self, fds: list[int]) -> None:
        self._fds = fds

    def named(self, names: Sequence[str]) -> Descriptors:
        """Give them their names and hand them over."""
        if len(names) != len(self._fds):
            raise UsageError(f"cannot take the request: {len(names)} descriptors announced, {len(self._fds)} came")
        fds, self._fds = self._fds, []
        return Descriptors(dict(zip(names, fds, strict=True)))

    def release(self) -> list[int]:
        """Give away what was not handed over: it is the caller's to close."""
        fds, self._fds = self._fds, []
        return fds


def check(passed: Descriptors, submission: Submission) -> None:
    """Refuse what must not reach a job. Looks at the files, so not for the event loop.

    The directory has served its purpose afterwards and is closed, with all else that is left out: also that asks a
    file system, for which this thread may wait as well.
    """
    for name in _STANDARD:
        if name in passed:
            _check_standard(name, passed[name])
        elif not (submission.detached or submission.terminal):
            raise UsageError(f"cannot take the request: it has no {name}")
    if "lease" in passed:
        status = os.fstat(passed["lease"])
        if not stat.S_ISFIFO(status.st_mode) or _mode(passed["lease"]) != os.O_RDONLY:
            raise UsageError("cannot take the request: the lease must be the reading end of a pipe")
        if submission.detached:
            passed.drop("lease")
    elif not submission.detached:
        raise UsageError("cannot take the request: it has no lease")
    if "cwd" in passed:
        _check_directory(passed["cwd"], submission.request.cwd)
        passed.drop("cwd")
    for fd in passed.left_out():
        with contextlib.suppress(OSError):  # it is closed all the same
            os.close(fd)


def _mode(fd: int) -> int:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    return -1 if flags & os.O_PATH else flags & os.O_ACCMODE


def _check_standard(name: str, fd: int) -> None:
    status, mode = os.fstat(fd), _mode(fd)
    kind = stat.S_IFMT(status.st_mode)
    if mode < 0 or kind not in {stat.S_IFIFO, stat.S_IFREG, stat.S_IFCHR}:
        # Directories would be entered, sockets lead to the host's daemons, block devices to its disks.
        raise UsageError(f"cannot pass {name} to a job: it must be a pipe, a terminal, a file or /dev/null")
    if kind == stat.S_IFREG and name != "stdin" and mode != os.O_RDONLY:
        raise UsageError(
            f"cannot pass {name} to a job: a file that can be written lies outside its locks",
            hint="the client copies through a pipe for such files",
        )
    if kind == stat.S_IFREG and mode == os.O_WRONLY:
        # It is opened anew for reading, which the caller may have no right to.
        raise UsageError(f"cannot pass {name} to a job: it was opened for writing only")
    if kind == stat.S_IFCHR and status.st_rdev not in _HARMLESS and not os.isatty(fd):
        raise UsageError(f"cannot pass {name} to a job: that device is neither a terminal nor /dev/null")


def _check_directory(fd: int, path: str) -> None:
    """The path is what counts; the descriptor only proves that it means the directory that the caller is in."""
    mine = os.fstat(fd)
    with contextlib.suppress(OSError):
        there = os.stat(path)
        if (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino):
            return
    raise UsageError(f"cannot start in {path}: it is not the caller's directory any more", hint="cd there again")


def detach(passed: Descriptors, submission: Submission) -> None:
    """A job that nobody waits for reads nothing, unless it was asked to; what it writes goes into its log."""
    for name in ("stdout", "stderr"):
        passed.drop(name)
    if not (submission.interactive and "stdin" in passed):
        passed.drop("stdin")
