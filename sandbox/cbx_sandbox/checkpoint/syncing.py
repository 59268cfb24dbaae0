"""What a job has made, put on disk where it lies: before a commit writes its record, or before it has its locks."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Self

from cbx_sandbox.checkpoint.changes import Change, Kind, split
from cbx_sandbox.checkpoint.plan import Step
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.checkpoint.survey import arriving
from cbx_sandbox.linux import files

AHEAD = 4 << 20  # bytes; less is on disk within moments under the locks, too
FEW = 32  # up to so many entries are synced one by one: syncfs waits for everybody's writes


def sync_ahead(session: Session, changes: Sequence[Change]) -> None:
    """Put large contents of the layers on disk before the commit has its locks, so that nobody waits for the disk.

    The commit syncs once more: this decides nothing. Raises OSError: the disk reports an error.
    """
    made = [change for change in _made(changes) if change.new is not None and change.new.is_file]
    if sum(change.new.size for change in made if change.new is not None) < AHEAD:
        return
    for index in sorted({change.layer for change in made}):
        upper = os.open(session.layers[index].upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            paths = [change.path for change in made if change.layer == index]
            if len(paths) > FEW:
                files.syncfs(upper)
            else:
                sync_entries(upper, paths)
        finally:
            os.close(upper)


class Beside:
    """Layers with much to sync are synced by a thread of its own, while the commit looks at what it will do.

    The layers are dead, and nothing is changed in them before the record. One thread for all devices, one by one.
    """

    def __init__(self, session: Session, changes: Sequence[Change]) -> None:
        made: dict[int, list[Change]] = {}
        for change in _made(changes):
            made.setdefault(change.layer, []).append(change)
        self._uppers = [session.layers[index].upper for index, some in sorted(made.items()) if _is_much(some)]
        self._synced: set[int] = set()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="sync") if self._uppers else None

    def __enter__(self) -> Self:
        if self._thread is not None:
            try:
                self._thread.start()
            except RuntimeError:  # there may be no more threads: sync_layers does all of it
                self._thread = None
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()

    def done(self) -> Collection[int]:
        """Wait for it; the devices that are synced. Raises OSError: the disk reports an error."""
        self._wait()
        if self._error is not None:
            raise self._error
        return self._synced

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            for upper in self._uppers:
                with files.directory(upper) as fd:
                    device = os.fstat(fd).st_dev
                    if device not in self._synced:
                        files.syncfs(fd)
                        self._synced.add(device)
        except OSError as error:
            self._error = error


def sync_layers(session: Session, steps: Iterable[tuple[int, Sequence[Step]]], done: Collection[int] = ()) -> None:
    """Put what is to be committed on disk, but for the devices ``done``. Nobody needs a lock for this."""
    synced = set(done)
    for index, some in steps:
        with files.directory(session.layers[index].upper) as upper:
            device = os.fstat(upper).st_dev
            moved = [step for step in some if arriving(step)]
            if device in synced:
                continue
            if _is_much([step.change for step in moved]):
                files.syncfs(upper)
                synced.add(device)
            else:
                sync_entries(upper, {step.path for step in moved})


def _made(changes: Iterable[Change]) -> Iterable[Change]:
    """What has contents of its own in the layer."""
    return (change for change in changes if change.new is not None and change.kind not in {Kind.META, Kind.RENAMED})


def _is_much(changes: Sequence[Change]) -> bool:
    """Whether it is sooner done by syncing the file system."""
    return len(changes) > FEW or any(change.new is not None and change.new.is_dir for change in changes)


def sync_entries(root: int, paths: Iterable[bytes]) -> None:
    """Put the entries at ``paths`` beneath ``root``, and their directories, on disk; what is missing is no error."""
    with files.Cursor(root, os.O_PATH) as cursor:
        for path in sorted({*paths, *(split(path)[0] for path in paths)}):
            directory, name = split(path)
            try:
                fd = cursor.go(directory)
            except OSError as error:
                if not files.leads_elsewhere(error):
                    raise
                continue  # moved away by somebody in the meantime: no longer ours to keep
            _sync_entry(fd, name or b".")


def _sync_entry(dir_fd: int, name: bytes) -> None:
    """Put one file or directory on disk; other types have nothing of their own, and missing ones need nothing."""
    try:
        mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
