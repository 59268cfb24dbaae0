"""Users that are lent to untrusted jobs, one job at a time: what the kernel keeps apart by uid is kept apart then, too.

A loan is a lock on a file, flock(2), that the job's init holds as well: it lasts as long as either it or the supervisor
is there, whatever becomes of the other, and holds for all supervisors of a host. Nothing of a job should be left under
its uid: all places that it may write come out as its submitter's. Each loan begins and ends with a look all the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import grp
import os
import pwd
import shutil
from collections.abc import Iterator, Sequence

from cbx_sandbox.box import userns
from cbx_sandbox.errors import UnavailableError
from cbx_sandbox.linux import sysvipc
from cbx_sandbox.linux.credentials import Submitter, acting_as

LOCKS = "/run/cbx-users"  # one place for a host, whatever supervisors it has
MOST = 1024
NOBODY = 65534
# Where every user may make files that stay. What lies in a job's box goes with it.
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue")  # noqa: S108  # looked into
# Files of a user's that have somebody do something for him later, or hold his mail; named after him.
LATER = ("/var/spool/cron/crontabs", "/var/spool/cron", "/var/mail", "/var/lib/systemd/linger")
AT_JOBS = "/var/spool/cron/atjobs"
TOLD = 20  # things left of one user


@dataclasses.dataclass(frozen=True, slots=True)
class JobUser:
    """One of the users that jobs run as."""

    uid: int
    gid: int
    name: str


def parse(text: str) -> list[JobUser]:
    """The users that a setting stands for: ``FIRST-LAST`` of plain ids, or what their names begin with, up to a number.

    Raises UnavailableError: none, too many, or users that are somebody.
    """
    first, dash, last = text.partition("-")
    if dash and first.isdecimal() and last.isdecimal() and len(text) < 23:
        found = [JobUser(uid, uid, str(uid)) for uid in range(int(first), min(int(last), int(first) + MOST) + 1)]
    else:
        found = list(_named(text))
    if not 0 < len(found) <= MOST:
        raise UnavailableError(
            f"cannot lend a job user: {text or 'nothing'} stands for {f'more than {MOST}' if found else 'none'}",
            hint="sandbox.job_users: FIRST-LAST of ids that nobody has, or what names begin with that end in 1, 2 …; "
            "`cbx-sandbox install-service` makes cbx-job-1 to cbx-job-32",
        )
    for user in found:
        if why := _somebody(user):
            raise UnavailableError(f"cannot lend a job user: {user.name} is somebody: {why}")
    return found


def _named(prefix: str) -> Iterator[JobUser]:
    for number in range(1, MOST + 2):
        try:
            entry = pwd.getpwnam(f"{prefix}{number}")
        except (KeyError, ValueError):
            return
        yield JobUser(entry.pw_uid, entry.pw_gid, entry.pw_name)


def _somebody(user: JobUser) -> str:
    """Why a user is not one for jobs: it has rights by something else than by its uid. Empty if it has none."""
    if user.uid in {0, NOBODY, 2**32 - 1} or user.gid == 0 or userns.FIRST_ID <= user.uid < userns.LAST_ID:
        return "its ids are taken"
    with contextlib.suppress(KeyError):
        if (known := pwd.getpwuid(user.uid).pw_name) != user.name:
            return f"{known} has its uid"
    with contextlib.suppress(KeyError):
        entry = grp.getgrgid(user.gid)
        if entry.gr_name != user.name or set(entry.gr_mem) - {user.name}:
            return f"its group {entry.gr_name} is not its own"
    return ""


@dataclasses.dataclass(slots=True)
class Loan:
    """One user that is lent to a job. ``fd`` is the lock, which the job's init is given, too."""

    user: JobUser
    fd: int
    found: tuple[str, ...] = ()  # what was left of earlier jobs, and was removed

    def close(self) -> None:
        """Let go: the user can be lent again once the job's init is gone, too."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class JobUsers:
    """The users of one setting. :meth:`lend` looks at files: not for an event loop."""

    def __init__(self, text: str, locks: str = LOCKS, temporary: Sequence[str] = TEMPORARY) -> None:
        self.users = parse(text)
        self._locks = locks
        self._temporary = temporary

    def lend(self, submitter: int) -> Loan:
        """A user that no job runs as, and of which nothing is left. Raises UnavailableError: there is none."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._locks, 0o700)
        found = os.lstat(self._locks)
        if found.st_uid != 0 or found.st_mode & 0o170077 != 0o040000:
            raise UnavailableError(f"cannot lend a job user: {self._locks} is not root's alone")
        unclean: dict[str, list[str]] = {}
        for user in self.users:
            if user.uid == submitter or (fd := self._lock(user)) is None:
                continue
            removed, left = clean(user, self._temporary)
            if not left:
                return Loan(user, fd, tuple(removed))
            unclean[user.name] = left
            os.close(fd)
        raise UnavailableError(
            f"cannot lend a job user: none of {len(self.users)} is free",
            details="\n".join(f"{name}: {', '.join(texts)}" for name, texts in unclean.items()) or None,
            hint="sandbox.job_users of the configuration: as many as jobs may run at once are enough",
        )

    def _lock(self, user: JobUser) -> int | None:
        fd = os.open(f"{self._locks}/{user.uid}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno == errno.EWOULDBLOCK:
                return None
            raise
        return fd


def clean(user: JobUser, temporary: Sequence[str] = TEMPORARY) -> tuple[list[str], list[str]]:
    """Remove what is left of a user that is locked; what was removed, and what could not be."""
    removed: list[str] = []
    left = [*_processes(user.uid), *_keys(user.uid)]
    for kind, number in sysvipc.objects(user.uid):
        with contextlib.suppress(OSError):
            sysvipc.remove(kind, number)
            removed.append(f"IPC object {kind} {number}")
    for path in _files(user, temporary):
        try:
            _remove(path, user)
            removed.append(f"file {path}")
        except OSError as error:
            left.append(f"file {path} ({error.strerror})")
    return removed[:TOLD], left[:TOLD]


def _processes(uid: int) -> Iterator[str]:
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            line = next(line for line in file if line.startswith("Uid:"))
            if str(uid) in line.split()[1:]:
                yield f"process {pid}"


def _keys(uid: int) -> Iterator[str]:
    """Keys count for who made them (keyrings(7)); a job's own keyring is not its user's, and no job can make a key."""
    with contextlib.suppress(OSError), open("/proc/key-users", encoding="ascii") as file:
        for line in file:
            owner, _, rest = line.partition(":")
            if owner.strip() == str(uid) and not rest.split()[1].startswith("0/"):
                yield f"{rest.split()[1]} keys"


def _files(user: JobUser, temporary: Sequence[str]) -> Iterator[str]:
    for directory in (*temporary, AT_JOBS):
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_uid == user.uid:
                        yield entry.path
    yield from (path for directory in LATER if os.path.lexists(path := f"{directory}/{user.name}"))


def _remove(path: str, user: JobUser) -> None:
    """With the user's own rights where it may make files: then nobody can have something else removed."""
    if os.path.dirname(path) in {*LATER, AT_JOBS}:
        os.unlink(path)
        return
    with acting_as(Submitter(user.uid, user.gid)):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
