"""A checkpoint with savepoints as a commit would find it, to be looked at: the savepoints stay.

What a commit would do is told by the very code that does it, on a copy of the layers whose levels are joined.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Iterator

from cbx_sandbox.checkpoint.flatten import flatten, translate
from cbx_sandbox.checkpoint.levels import COPY, SAVED, saved
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files, removal

_COPIED = (SAVED, "upper", "base")


@contextlib.contextmanager
def joined(session: Session) -> Iterator[Session]:
    """The session itself, or one over a copy with its levels joined, for as long as the block runs.

    Nobody may work in the layers meanwhile. Raises CbxError: there is no room for the copy.
    """
    if not any(saved(layer) for layer in session.layers):
        yield session
        return
    copies = tuple(dataclasses.replace(layer, root=f"{layer.root}/{COPY}") for layer in session.layers)
    try:
        for layer, copy in zip(session.layers, copies, strict=True):
            levels = [f"{SAVED}/{number}" for number in saved(layer)]
            _clear(layer.root)
            _check_room(layer.root)
            # The originals first: what a copy was made from is told by the inode that it was made from.
            translate([*(f"{layer.root}/{level}" for level in levels), layer.upper])
            os.mkdir(copy.root, 0o700)
            _copy([path for name in _COPIED if files.is_there(path := f"{layer.root}/{name}")], copy.root)
            uppers = [*(f"{copy.root}/{level}" for level in levels), copy.upper]
            flatten(uppers)
            if levels:
                os.rename(uppers[0], copy.upper)
        yield dataclasses.replace(session, layers=copies)
    finally:
        for layer in session.layers:
            _clear(layer.root)


def _check_room(root: str) -> None:
    """Raise CbxError if a copy of the layer could leave others without room. Data that is shared counts, too."""
    needed = 0
    with files.directory(root) as fd, files.Cursor(fd) as cursor:
        for name, _ in files.walk(cursor):
            needed += os.stat(name, dir_fd=cursor.fd, follow_symlinks=False).st_blocks * 512
    room = os.statvfs(root)
    free = room.f_bavail * room.f_frsize
    if needed > free // 2:
        raise CbxError(
            f"cannot look at a transaction with savepoints: a copy of its layer takes {needed} bytes, {free} are free",
            hint="a commit needs no copy; or make room on the file system of its layers",
        )


def _copy(paths: list[str], directory: str) -> None:
    done = subprocess.run(
        ["cp", "-a", "--reflink=auto", "--", *paths, directory],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        told = done.stderr.splitlines()
        raise CbxError(
            "cannot look at a transaction with savepoints: its layers cannot be copied",
            details=told[-1] if told else "",
        )


def _clear(root: str) -> None:
    with contextlib.suppress(FileNotFoundError), files.directory(root) as fd:
        removal.remove_tree(fd, os.fsencode(COPY))
