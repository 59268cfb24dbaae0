"""Files that the supervisor believes: root's own, which nobody else may write."""

from __future__ import annotations

import os
import stat

from cbx_sandbox.errors import CbxError

MOST_LINKS = 40  # on one way, as in the kernel


def check_owner(path: str, status: os.stat_result) -> None:
    """Raise CbxError where others than root may write a file or a directory: who can, decides what jobs may do."""
    if status.st_uid not in {0, os.geteuid()} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = "755" if stat.S_ISDIR(status.st_mode) else "644"
        raise CbxError(
            f"cannot trust {path}: others than root may write it", hint=f"chown root {path} && chmod {mode} {path}"
        )


def check_way(path: str, *, owners: bool = True) -> None:
    """Raise CbxError where others than root could put something else in the place of ``path``, wherever on its way.

    All directories that a name is looked up in, also those that each of its symlinks leads through, as far as they
    exist. Sticky ones may be written by all: there nobody takes away what is root's. Without ``owners`` they may belong
    to anybody, and so may the symlinks.
    """
    for above in _looked_in(path, owners=owners):
        try:
            status = os.stat(above)
        except FileNotFoundError:
            continue
        shared = status.st_mode & (stat.S_IWOTH | stat.S_IWGRP if owners else stat.S_IWOTH)
        if (owners and status.st_uid != 0) or (shared and not status.st_mode & stat.S_ISVTX):
            raise CbxError(
                f"cannot use {path}: others than root can write to {above}",
                hint=f"chown root {above} && chmod go-w {above}, or choose another directory",
            )


def _looked_in(path: str, *, owners: bool) -> list[str]:
    """The directories below the root in which the names of an absolute path, and of its symlinks, are looked up.

    Step by step, as the kernel goes. Raises CbxError: its symlinks lead in a circle, or with ``owners`` one of them is
    another user's, who puts another one in its place, also in a sticky directory.
    """
    found: dict[str, None] = {}
    place, links = "/", 0
    names = path.split("/")[::-1]
    while names:
        name = names.pop()
        if name in {"", "."}:
            continue
        if name == "..":
            place = os.path.dirname(place)
            continue
        if place != "/":
            found[place] = None
        here = os.path.join(place, name)
        try:
            target, owner = os.readlink(here), os.lstat(here).st_uid
        except OSError:  # no symlink, or nothing at all
            place = here
            continue
        if owners and owner != 0:
            raise CbxError(
                f"cannot use {path}: others than root can change the symlink {here}",
                hint=f"chown -h root {here}, or choose another directory",
            )
        links += 1
        if links > MOST_LINKS:
            raise CbxError(f"cannot use {path}: its symlinks lead in a circle", hint="choose another directory")
        if target.startswith("/"):
            place = "/"
        names += target.split("/")[::-1]
    return list(found)
