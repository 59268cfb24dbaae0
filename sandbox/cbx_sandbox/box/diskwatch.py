"""How much a job's layers take: checked a few times a second by free space, exactly only when that looks bad.

File systems rarely have project quotas switched on, and a file system's free space belongs to everybody: a fall of it
is only the occasion to count what this job's layers hold.
"""

from __future__ import annotations

import os
import stat

INTERVAL = 0.2  # s between two looks
_DEEPEST = 400  # levels of directories below a layer
_SHARE = 10  # of the free space (and of the free inodes) one job may take at most


class DiskWatch:
    """The layers of one job, by descriptors of their upper directories."""

    def __init__(self, uppers: list[int], limit: int | None) -> None:
        self.uppers = uppers
        self._limits = {fd: _limits(fd, limit) for fd in uppers}
        self._suspect = {fd: os.fstatvfs(fd) for fd in uppers}

    def exceeded(self) -> bool:
        """True if a layer holds more than it may."""
        return any(self._look(fd) for fd in self.uppers)

    def _look(self, fd: int) -> bool:
        bytes_limit, inodes_limit = self._limits[fd]
        before, now = self._suspect[fd], os.fstatvfs(fd)
        fallen = (before.f_bavail - now.f_bavail) * now.f_frsize
        if fallen <= bytes_limit // 2 and before.f_favail - now.f_favail <= inodes_limit // 2:
            return False
        size, inodes = _used(fd, bytes_limit, inodes_limit)
        # Somebody else's doing, or not yet too much: look again after the same fall from here.
        if size <= bytes_limit // 2 and inodes <= inodes_limit // 2:
            self._suspect[fd] = now
        return size > bytes_limit or inodes > inodes_limit


def _limits(fd: int, limit: int | None) -> tuple[int, int]:
    status = os.fstatvfs(fd)
    share = status.f_bavail * status.f_frsize // _SHARE
    # File systems without a fixed number of inodes report none.
    inodes = status.f_favail // _SHARE if status.f_favail else 1 << 62
    return (share if limit is None else min(limit, share)), inodes


def _used(fd: int, bytes_limit: int, inodes_limit: int) -> tuple[int, int]:
    """Bytes on disk and inodes below ``fd``; stops counting when either limit is passed."""
    size = inodes = 0
    # Depth first, one descriptor a level: a hostile tree may be deeper than any recursion or path.
    levels = [_level(fd, ".")]
    try:
        while levels:
            directory, names = levels[-1]
            if not names:
                os.close(directory)
                levels.pop()
                continue
            name = names.pop()
            try:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    levels.append(_level(directory, name))
            except (FileNotFoundError, NotADirectoryError):
                continue  # the job is running
            size += status.st_blocks * 512
            inodes += 1
            if len(levels) > _DEEPEST:
                return bytes_limit + 1, inodes  # nobody nests like this but to hide something
            if size > bytes_limit or inodes > inodes_limit:
                break
    finally:
        for directory, _ in levels:
            os.close(directory)
    return size, inodes


def _level(parent: int, name: str) -> tuple[int, list[str]]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    directory = os.open(name, flags, dir_fd=parent)
    return directory, os.listdir(directory)
