"""The daemon's place on the host: its directories, the lock that makes it the only one, its cgroup, its sockets."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import resource
import socket
import stat
import time

from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import cgroupfs, mountinfo
from cbx_supervisor.paths import Paths

LOCK_PATIENCE = 5.0  # s that a daemon which is just ending may take to let go
DESCRIPTORS = 65536
# A group competes with each session of the host as one more of them, so many jobs there are in it, and the supervisor
# with each of its jobs. After a crash it has to be back soon also when the machine is busy.
ALL, OWN = 4, 16  # times the weight that groups have when nobody says anything


def make_directories(paths: Paths) -> None:
    """Make what is missing. Raises CbxError if others could write to what the supervisor believes."""
    wanted = (
        (paths.runtime, 0o755),
        (paths.jobs, 0o700),
        (paths.state, 0o700),
        (paths.layers, 0o700),
        (paths.logs, 0o700),
        (paths.secrets, 0o700),
        (paths.incidents, 0o700),
    )
    for path, mode in wanted:
        try:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, mode)
            _secure(path, mode)
        except OSError as error:
            raise CbxError(f"cannot make {path}: {error.strerror}") from error


def _secure(path: str, mode: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_uid != 0:
            raise CbxError(f"cannot use {path}: it belongs to user {status.st_uid}", hint=f"chown root {path}")
        if stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(fd, mode)  # the umask, or somebody's idea
    finally:
        os.close(fd)


class StartLock:
    """One supervisor per lock domain: held from before the sockets open until the process has ended."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def take(self, exec_socket: str) -> int | None:
        """Take it, or return the pid of who holds it and serves.

        A holder that does not answer may be starting or ending: it is given a moment.
        """
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if _answers(exec_socket) or time.monotonic() > deadline:
                    return self._holder()
                time.sleep(0.02)
            else:
                os.ftruncate(self.fd, 0)
                os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)
                return None

    def _holder(self) -> int:
        text = os.pread(self.fd, 32, 0).strip()
        return int(text) if text.isdigit() else 0


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def listen(path: str, group: str, backlog: int) -> socket.socket:
    """Open a socket for root and the members of ``group``; one that an earlier daemon left behind is replaced."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # The umask makes it root's from its first moment; only then it is opened to the group.
        listener.bind(path)
        open_to(path, group)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise CbxError(f"cannot listen on {path}: {error.strerror}") from error
    return listener


def open_to(path: str, group: str) -> None:
    """Let root and the members of ``group`` connect to a socket, and nobody else."""
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        gid = 0
    os.chown(path, 0, gid)
    os.chmod(path, 0o660)


def raise_descriptor_limit() -> None:
    """Thirty jobs with their pipes, and as many callers, need more than the usual 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, DESCRIPTORS), max(hard, DESCRIPTORS)))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def leave_callers_groups(name: str) -> list[str]:
    """Move into ``<name>/supervisor`` on every hierarchy where jobs get groups; returns those it could not enter.

    It has a weight there that brings it back soon on a busy host.

    A daemon that a client started would else share the limits, and the end, of the session it was started from.
    """
    layout = cgroupfs.detect(mountinfo.read())
    roots = {*([layout.unified] if layout.unified else []), *layout.v1.values()}
    failed = []
    for root in sorted(roots):
        group = f"{root}/{name}/supervisor"
        try:
            _enter(group)
            _weigh(f"{root}/{name}", ALL)
            _weigh(group, OWN)
        except OSError as error:
            failed.append(f"{group}: {error.strerror}")
    return failed


def _enter(group: str) -> None:
    for last in (False, True):
        os.makedirs(group, 0o755, exist_ok=True)
        try:
            cgroupfs.write(f"{group}/cgroup.procs", str(os.getpid()))
        except OSError:
            # The launcher of a supervisor that has just ended removes the group behind it.
            if last:
                raise
        else:
            return


def _weigh(group: str, times: int) -> None:
    for name, usual in (("cpu.shares", 1024), ("cpu.weight", 100)):
        # Neither is there where this hierarchy does not divide the processors; who may not write it does without.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            cgroupfs.write(f"{group}/{name}", str(times * usual))
