"""Contents written into a live file that keeps its inode, and taken out of it again.

A file becomes shorter last, when no other step can fail: the room that it gives up may be gone when the way back needs
it. So each step is told whether to ``cut``; if it did not, and there is something to cut off, it is done once more.

The new contents lie in the step's slot. The old ones are kept beside it before the record is written; of an APPEND they
are the beginning of the new ones. So either way can be gone again and again, wherever it was interrupted. What somebody
else has written in between is told by its sectors, and left alone.
"""

from __future__ import annotations

import contextlib
import enum
import os
import stat
from collections.abc import Callable, Iterator

from cbx_sandbox.checkpoint import attributes
from cbx_sandbox.checkpoint.changes import Meta, split
from cbx_sandbox.checkpoint.conflicts import CHANGED
from cbx_sandbox.checkpoint.inodes import open_file
from cbx_sandbox.checkpoint.places import RacedError
from cbx_sandbox.checkpoint.plan import Action, Step
from cbx_sandbox.linux import contents, files
from cbx_sandbox.linux.credentials import ROOT, Submitter, acting_as

_ACCESS = b"system.posix_acl_access"


def kept_name(step: Step) -> bytes:
    """Where the old contents are in the stage."""
    return b"k%d" % step.slot


def keep(live: files.Cursor, stage_fd: int, step: Step) -> None:
    """Copy the old contents into the stage, on disk when this returns. Raises RacedError: they are others by now."""
    directory, name = split(step.path)
    old = step.change.old
    source = open_file(live.go(directory), name)
    try:
        target = os.open(kept_name(step), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=stage_fd)
        try:
            contents.copy_data(source, target)
            os.fsync(target)
        finally:
            os.close(target)
        status = os.fstat(source)
        if old is None or (status.st_ino, status.st_ctime_ns) != (old.inode, old.ctime_ns):
            raise RacedError(step.path, CHANGED)
    finally:
        os.close(source)


def forward(
    stage_fd: int,
    slot: bytes,
    dir_fd: int,
    name: bytes,
    step: Step,
    *,
    again: bool,
    cut: bool,
    begin: Callable[[], None],
) -> bool:
    """Write the new contents, with the rights of the calling thread. True: it is longer, and to be cut off.

    ``again``: they may be there, or a part of them. ``begin`` is called before the first byte is written. Raises
    RacedError, SwappedError, OSError.
    """
    old = _old(step)
    with _sources(stage_fd, slot, step) as (new, before, size), _found(dir_fd, name, old) as (place, reading):
        if step.action is Action.APPEND and not again:
            with _writing(place, appending=True) as target:
                if os.fstat(target).st_size != size:
                    raise RacedError(step.path, CHANGED)
                begin()
                contents.append(new, target, size)
            return False
        found = os.fstat(reading).st_size
        if not contents.is_between(reading, new, before, size):
            raise RacedError(step.path, CHANGED)
        if _holds(reading, new, os.fstat(new).st_size):
            if only_appends(step):
                with acting_as(ROOT):  # an undo that failed, or was stopped, may have lifted it
                    attributes.protect(dir_fd, name, old.attributes, old.inode)
        elif only_appends(step):
            with _writing(place, appending=True):
                pass  # so the thread may append; the rest of what was begun goes where it belongs
            with acting_as(ROOT):
                _free(dir_fd, name, step, (place, reading), new, found, begin)
        else:
            return _overwrite(step, (place, reading), new, os.fstat(new).st_size, found, begin, cut=cut)
        return False


class Back(enum.Enum):
    """What became of the old contents."""

    THERE = enum.auto()  # they were, and nothing is written
    WRITTEN = enum.auto()
    LONGER = enum.auto()  # written, and to be cut off
    FOREIGN = enum.auto()  # somebody else has written into the file: it is left alone


def back(
    stage_fd: int, slot: bytes, dir_fd: int, name: bytes, step: Step, *, cut: bool, begin: Callable[[], None]
) -> Back:
    """Write the old contents; an append-only mark is lifted already. Raises OSError, SwappedError."""
    old = _old(step)
    with _sources(stage_fd, slot, step) as (new, before, size), _found(dir_fd, name, old) as (place, reading):
        found = os.fstat(reading).st_size
        if not contents.is_between(reading, new, before, size):
            return Back.FOREIGN
        if _holds(reading, before, size):
            return Back.THERE
        try:
            longer = _overwrite(step, (place, reading), before, size, found, begin, cut=cut)
        except RacedError:
            return Back.FOREIGN
    return Back.LONGER if longer else Back.WRITTEN


def narrow(step: Step, rights: Submitter, dir_fd: int, name: bytes) -> None:
    """Let nobody read or run contents in the making who may not do so before and after; the steps end with the mode.

    Root's writing does not clear set-id bits: they would hold for what a power cut leaves half written.
    """
    old, new = step.change.old, step.change.new
    if old is None or new is None or only_appends(step):
        return  # what is append-only has the same mode before and after, and takes no other
    mode = stat.S_IMODE(old.mode & new.mode) & ~(stat.S_ISUID | stat.S_ISGID)
    if (old.gid, dict(old.xattrs).get(_ACCESS)) != (new.gid, dict(new.xattrs).get(_ACCESS)):
        mode &= 0o700
    if old.uid != new.uid:
        mode = 0
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if not rights.is_root and status.st_uid == rights.uid:
        mode |= stat.S_IWUSR
    if mode != stat.S_IMODE(status.st_mode):
        attributes.chmod(dir_fd, name, mode, old.inode)


def only_appends(step: Step) -> bool:
    """Whether the live file is append-only, before and after."""
    old, new = step.change.old, step.change.new
    return old is not None and new is not None and bool(old.attributes & new.attributes & files.ATTR_APPEND)


def _old(step: Step) -> Meta:
    assert step.change.old is not None
    return step.change.old


@contextlib.contextmanager
def _sources(stage_fd: int, slot: bytes, step: Step) -> Iterator[tuple[int, int, int]]:
    """The new contents, the old ones, and how much of the old ones counts."""
    with acting_as(ROOT), contextlib.ExitStack() as stack:
        new = open_file(stage_fd, slot)
        stack.callback(os.close, new)
        before, size = new, _old(step).size
        if step.action is Action.REWRITE:
            before = open_file(stage_fd, kept_name(step))
            stack.callback(os.close, before)
            size = os.fstat(before).st_size
        leaving = stack.pop_all()
    with leaving:
        yield new, before, size


@contextlib.contextmanager
def _found(dir_fd: int, name: bytes, old: Meta) -> Iterator[tuple[int, int]]:
    """The live file, which nobody can swap any more, and the same for reading, with root's rights.

    It is opened for writing only if something is to be written: what is being executed cannot be.
    """
    place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if os.fstat(place).st_ino != old.inode:
            raise attributes.SwappedError
        with acting_as(ROOT):
            reading = os.open(files.inside(place), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            yield place, reading
        finally:
            os.close(reading)
    finally:
        os.close(place)


@contextlib.contextmanager
def _writing(place: int, *, appending: bool = False) -> Iterator[int]:
    flags = os.O_WRONLY | (os.O_APPEND if appending else 0) | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    target = os.open(files.inside(place), flags)
    try:
        yield target
    finally:
        os.close(target)


def _holds(reading: int, source: int, size: int) -> bool:
    """Whether the file is the first ``size`` bytes of ``source``."""
    return os.fstat(reading).st_size == size and contents.begins_as(source, reading, size)


def _overwrite(
    step: Step, live: tuple[int, int], source: int, size: int, found: int, begin: Callable[[], None], *, cut: bool
) -> bool:
    """Make the file the first ``size`` bytes of ``source``. True: all but that it is longer.

    Raises RacedError: it is not the ``found`` bytes any more.

    What somebody appends is not cut off: only between this look at its size and the next call nothing can hold him.
    """
    place, reading = live
    with _writing(place) as target:
        if os.fstat(target).st_size != found:
            raise RacedError(step.path, CHANGED)
        begin()
        contents.overwrite(source, target, size, reading)
        if os.fstat(target).st_size != max(found, size):
            raise RacedError(step.path, CHANGED)
        if found > size and not cut:
            return True
        if found > size:
            os.ftruncate(target, size)
    if not _holds(reading, source, size):
        raise RacedError(step.path, CHANGED)
    return False


def _free(
    dir_fd: int, name: bytes, step: Step, live: tuple[int, int], new: int, found: int, begin: Callable[[], None]
) -> None:
    """Overwrite a file that is append-only; its mark is back when this returns, also if a crash had left it without."""
    old = _old(step)
    attributes.protect(dir_fd, name, 0, old.inode)
    try:
        _overwrite(step, live, new, os.fstat(new).st_size, found, begin, cut=True)
    finally:
        attributes.protect(dir_fd, name, old.attributes, old.inode)
