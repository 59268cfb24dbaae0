"""Layers that nobody will ask for again: made just before a crash, and on no record.

Every checkpoint's directory carries a mark of the database that its supervisor writes to. So what another supervisor
keeps, or one whose database was moved away, is told from what this one has made and lost.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from cbx_sandbox.checkpoint.layers import LayerSpec
from cbx_sandbox.linux import files, removal, xattr

MARK = b"trusted.cbx.database"
_NEW = ".new-"  # before the number of a directory that has no mark yet
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def identity(database: str) -> bytes:
    """What tells a database file from any other, a copy of it too; empty where its file system cannot say."""
    fd = os.open(database, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return files.file_handle(fd) or b""
    finally:
        os.close(fd)


def make(layers: Iterable[LayerSpec], owner: bytes) -> None:
    """Make the directories of checkpoints for new layers, marked as those of ``owner``, an :func:`identity`.

    A directory has its mark before it has its name, so that a crash leaves none that nobody would know for his own.
    """
    for directory in {os.path.dirname(layer.root) for layer in layers}:
        home, number = os.path.split(directory)
        new = f"{home}/{_NEW}{number}"
        with contextlib.suppress(FileExistsError):
            os.mkdir(new, 0o700)
        try:
            if owner:
                _mark(new, owner)
            os.rename(new, directory)
        except OSError:
            os.rmdir(new)
            raise


def _mark(directory: str, owner: bytes) -> None:
    fd = os.open(directory, _DIRECTORY)
    try:
        xattr.put(fd, b"", MARK, owner)
    finally:
        os.close(fd)


def find(home: str, owner: bytes) -> list[int]:
    """The checkpoints of ``owner`` that have a directory in ``home``, a directory of layers."""
    try:
        numbers = [int(name) for name in os.listdir(home) if name.isdecimal()]
    except OSError:
        return []
    return [number for number in sorted(numbers) if owner and _owner(f"{home}/{number}") == owner]


def _owner(directory: str) -> bytes:
    try:
        fd = os.open(directory, _DIRECTORY)
    except OSError:
        return b""
    try:
        return xattr.every(fd).get(MARK, b"")
    finally:
        os.close(fd)


def remove(home: str, number: int) -> None:
    """Remove all layers of one checkpoint in ``home``."""
    fd = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        removal.remove_tree(fd, b"%d" % number)
    finally:
        os.close(fd)


def sweep(home: str) -> None:
    """Remove what a crash has left of directories without their names, in ``home``; to be asked before any is made.

    What cannot be removed (a file system that is read-only now) is looked for again at the next start.
    """
    try:
        names = os.listdir(home)
    except OSError:
        return
    for name in names:
        if name.startswith(_NEW):
            with contextlib.suppress(OSError):
                os.rmdir(f"{home}/{name}")
