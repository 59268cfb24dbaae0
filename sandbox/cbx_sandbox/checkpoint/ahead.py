"""What takes long and touches nothing, done before a commit asks for its locks: syncing, and copies without a name.

The commit does all of it again where it is missing: nothing here decides anything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Self

from cbx_sandbox.checkpoint.changes import Change, Kind, split
from cbx_sandbox.checkpoint.copying import Contents
from cbx_sandbox.checkpoint.diff import live_root
from cbx_sandbox.checkpoint.inodes import open_file
from cbx_sandbox.checkpoint.session import Session, is_gone
from cbx_sandbox.checkpoint.syncing import sync_ahead
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import contents, files

LARGE = 1 << 20  # bytes: smaller files are copied in moments under the locks, too
MOST = 128  # files of one layer, each of which takes a descriptor

Copies = Mapping[int, Contents]  # by index of their layer


class Ahead:
    """Copies of what layers on other file systems hold, on that of their targets; gone when it is closed."""

    def __init__(self) -> None:
        self._closing = contextlib.ExitStack()
        self.copies: dict[int, dict[tuple[int, int], int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all that no commit has given a name."""
        self.copies.clear()
        self._closing.close()

    def copy(self, layer: int, source: int, directory: int) -> None:
        """Copy the file ``source`` to the file system of ``directory``; on disk when this returns."""
        copy = os.open(files.inside(directory, b"."), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._closing.callback(os.close, copy)
        contents.copy_data(source, copy)
        os.fsync(copy)
        status = os.fstat(source)
        self.copies.setdefault(layer, {})[status.st_ino, status.st_ctime_ns] = copy


def prepare(session: Session, changes: Sequence[Change]) -> Ahead:
    """Sync large contents, and copy them where a commit cannot rename. Close what is returned.

    A copy has no name, so nobody sees it: no lock is needed. What cannot be copied is left to the commit. Raises
    CbxError: the disk reports an error.
    """
    made = Ahead()
    try:
        try:
            sync_ahead(session, changes)
        except OSError as error:
            raise CbxError(
                f"cannot commit: the layers cannot be put on disk: {os.strerror(error.errno or 0)}"
            ) from error
        for layer in session.layers:
            if not (layer.same_filesystem or is_gone(layer)):
                _copy(session, layer.index, changes, made)
    except BaseException:
        made.close()
        raise
    return made


def _copy(session: Session, index: int, changes: Sequence[Change], made: Ahead) -> None:
    large = [change for change in changes if change.layer == index and _is_large(change)]
    large.sort(key=_size, reverse=True)
    # No room, no such files on that file system, or no descriptors left: then it is copied under the locks.
    with (
        contextlib.suppress(OSError),
        live_root(session, index) as live_fd,
        files.directory(session.layers[index].upper, os.O_PATH) as root,
        files.Cursor(root, os.O_PATH) as upper,
    ):
        for change in large[:MOST]:
            directory, name = split(change.path)
            source = open_file(upper.go(directory), name)
            try:
                made.copy(index, source, live_fd)
            finally:
                os.close(source)


def _is_large(change: Change) -> bool:
    new = change.new
    own = new is not None and new.is_file and change.kind not in {Kind.META, Kind.RENAMED}
    return own and new is not None and new.nlink == 1 and new.size >= LARGE


def _size(change: Change) -> int:
    return 0 if change.new is None else change.new.size
