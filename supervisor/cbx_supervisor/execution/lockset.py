"""From the paths of a lock set to open directories and lock keys, and whether they are still what they were.

The key is (superblock, path inside it): two bind mounts of one directory, or two names of one mount, give one key. The
descriptor that was opened here is what gets mounted, so a path that is swapped later changes nothing.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Iterable, Sequence

from msgspec import Struct

from cbx_sandbox.linux import files, mountinfo
from cbx_sandbox.linux.mountinfo import Mount
from cbx_sandbox.policy import Grant, LockMode
from cbx_supervisor.scheduling.lock_modes import LockKey, Want

_NO_LINKS = files.RESOLVE_NO_SYMLINKS | files.RESOLVE_NO_MAGICLINKS


class MountTable:
    """The host's mount table, read again only when the kernel says that it changed (proc_pid_mounts(5)).

    For the event loop and for threads. Only :meth:`visible` looks at files.
    """

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLPRI | select.POLLERR)
        self._lock = threading.Lock()
        self._mounts: dict[int, Mount] = {}
        self._visible: tuple[Mount, ...] | None = None
        self._read()

    def by_id(self, mount_id: int) -> Mount:
        """One mount; OSError (ESTALE) if it is gone."""
        with self._lock:
            self._refresh()
            mount = self._mounts.get(mount_id)
        if mount is None:
            raise OSError(errno.ESTALE, "the mount is gone")
        return mount

    def known(self) -> tuple[Mount, ...] | None:
        """What :meth:`visible` would return, if that is known without a look."""
        with self._lock:
            self._refresh()
            return self._visible

    def visible(self) -> tuple[Mount, ...]:
        """The mounts that a path leads to."""
        with self._lock:
            self._refresh()
            mounts, found = self._mounts, self._visible
        if found is None:
            found = tuple(mountinfo.visible(list(mounts.values())))
            with self._lock:
                if mounts is self._mounts:
                    # Of two threads that looked at once the first counts: others compare by identity.
                    found = self._visible = self._visible or found
        return found

    def close(self) -> None:
        """Let go of the table."""
        os.close(self._fd)

    def _refresh(self) -> None:
        if self._poll.poll(0):
            self._read()

    def _read(self) -> None:
        # Reading from the start is also what clears the kernel's mark.
        os.lseek(self._fd, 0, os.SEEK_SET)
        parts = []
        while part := os.read(self._fd, 1 << 16):
            parts.append(part)
        text = b"".join(parts).decode("utf-8", "surrogateescape")
        self._mounts = {mount.mount_id: mount for mount in mountinfo.parse(text)}
        self._visible = None


class Resolved(Struct, frozen=True):
    """One grant, opened."""

    grant: Grant
    fd: int
    key: LockKey
    device: int
    inode: int


class LockSet:
    """The grants of one plan, resolved. Holds descriptors: close it."""

    def __init__(self, entries: Sequence[Resolved]) -> None:
        self.entries = tuple(entries)
        self.direct = any(entry.grant.direct for entry in entries)  # some of them are written in place

    @property
    def wants(self) -> list[Want]:
        """What to ask the lock table for: of two names of one directory, the stronger mode."""
        wants: dict[LockKey, LockMode] = {}
        for entry in self.entries:
            known = wants.get(entry.key)
            if known is None or _STRENGTH[entry.grant.mode] > _STRENGTH[known]:
                wants[entry.key] = entry.grant.mode
        return sorted(wants.items())

    def unchanged(self, table: MountTable) -> bool:
        """True if every path still leads to the directory that was opened, under the same key."""
        for entry in self.entries:
            try:
                again = _resolve(entry.grant, table)
            except OSError:
                return False
            os.close(again.fd)
            if (again.device, again.inode, again.key) != (entry.device, entry.inode, entry.key):
                return False
        return True

    def close(self) -> None:
        """Close the directories."""
        for entry in self.entries:
            os.close(entry.fd)
        self.entries = ()


class AdoptedLocks(LockSet):
    """The locks of a job that an earlier supervisor started: their keys are known, their directories not opened."""

    def __init__(self, wants: Sequence[Want], *, direct: bool) -> None:
        super().__init__(())
        self._wants = list(wants)
        self.direct = direct

    @property
    def wants(self) -> list[Want]:
        """What it holds."""
        return self._wants


_STRENGTH = {LockMode.IS: 0, LockMode.IX: 1, LockMode.S: 2, LockMode.U: 3, LockMode.A: 4, LockMode.C: 5, LockMode.X: 6}


def resolve(grants: Iterable[Grant], table: MountTable) -> LockSet:
    """Open every granted directory. OSError: one of them is no directory any more, or a symlink lies on its path."""
    entries: list[Resolved] = []
    try:
        entries.extend(_resolve(grant, table) for grant in grants)
    except BaseException:
        for entry in entries:
            os.close(entry.fd)
        raise
    return LockSet(entries)


def _resolve(grant: Grant, table: MountTable) -> Resolved:
    fd = files.openat2(-1, grant.path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, resolve=_NO_LINKS)
    try:
        key = key_of(fd, table)
        status = os.fstat(fd)
    except BaseException:
        os.close(fd)
        raise
    return Resolved(grant, fd, key, status.st_dev, status.st_ino)


def key_of(fd: int, table: MountTable) -> LockKey:
    """The lock key of an open directory."""
    mount = table.by_id(mountinfo.mount_id(fd))
    path = os.readlink(f"/proc/self/fd/{fd}")
    inside = path[len(mount.target.rstrip("/")) :] if _below(path, mount.target) else None
    if inside is None:
        raise OSError(errno.ESTALE, f"{path} is not on the mount at {mount.target}")
    return LockKey(mount.device, (mount.root.rstrip("/") + inside).rstrip("/") or "/")


def _below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
