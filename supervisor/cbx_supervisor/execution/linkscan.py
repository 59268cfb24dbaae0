"""Files with several names: finds those with a name outside the directories that a job may write directly.

Such a file must not be written in place: whoever holds a lock on its other name would not know. The scan counts the
names of each file with more than one link; if it finds fewer than the file has, the rest is elsewhere.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from cbx_sandbox.linux import files

BUDGET = 200_000  # entries looked at


class LinkedOutside(Exception):  # noqa: N818  # a finding, not a fault
    """A reason why the directories must not be written directly."""


def scan(directories: Sequence[int], budget: int = BUDGET) -> None:
    """Walk the trees of these descriptors, without crossing mounts or following links; raise LinkedOutside.

    The directories must not lie within each other, as those of a lock set do not: a name would count twice.
    """
    counts: dict[tuple[int, int], tuple[int, int, str]] = {}
    for directory in directories:
        budget = _walk(directory, budget, counts)
    for links, seen, name in counts.values():
        if seen < links:
            raise LinkedOutside(f"{name!r} has {links} names and {links - seen} of them outside")


def _walk(directory: int, budget: int, counts: dict[tuple[int, int], tuple[int, int, str]]) -> int:
    with files.Cursor(directory) as cursor:
        pending = [_look(cursor.fd, counts)]
        while pending:
            budget -= pending[-1].take_cost()
            if budget < 0:
                raise LinkedOutside("it holds too many files to look at every one")
            if not pending[-1].directories:
                pending.pop()
                if pending:
                    cursor.leave()
                continue
            try:
                cursor.enter(pending[-1].directories.pop())
            except OSError as error:
                # A mount below is a lock of its own; what vanished or was swapped is not ours to judge.
                if error.errno in {errno.EXDEV, errno.ENOENT, errno.ELOOP, errno.ENOTDIR}:
                    continue
                raise LinkedOutside(f"a directory in it cannot be looked at: {error.strerror}") from error
            pending.append(_look(cursor.fd, counts))
    return budget


class _Level:
    """The directories of one directory that are still to be walked, and what the look at it cost."""

    def __init__(self, directories: list[bytes], cost: int) -> None:
        self.directories = directories
        self._cost = cost

    def take_cost(self) -> int:
        cost, self._cost = self._cost, 0
        return cost


def _look(fd: int, counts: dict[tuple[int, int], tuple[int, int, str]]) -> _Level:
    directories: list[bytes] = []
    cost = 0
    with os.scandir(fd) as entries:
        for entry in entries:
            cost += 1
            if cost > BUDGET:
                break
            if entry.is_dir(follow_symlinks=False):
                directories.append(os.fsencode(entry.name))
            elif entry.is_file(follow_symlinks=False):
                _count(entry, counts)
    return _Level(directories, cost)


def _count(entry: os.DirEntry[str], counts: dict[tuple[int, int], tuple[int, int, str]]) -> None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    if status.st_nlink > 1:
        identity = (status.st_dev, status.st_ino)
        _, seen, name = counts.get(identity, (0, 0, entry.name))
        counts[identity] = (status.st_nlink, seen + 1, name)
