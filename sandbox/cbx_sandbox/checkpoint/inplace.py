"""Which changed files keep their inode: their contents are written into the live file, instead of an exchange.

For whoever goes on with the old inode would not see the new contents, or would write into a file that has no name any
more: a process that has it open for writing, a loop device over it, a mount of the single file elsewhere. A file that
is append-only cannot be exchanged at all. All others are exchanged, for their readers see the whole old or the whole
new contents at any time; who knows better asks for it by path.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from cbx_sandbox.checkpoint.changes import Change, Kind, Meta, absolute, beneath, split
from cbx_sandbox.checkpoint.diff import live_root
from cbx_sandbox.checkpoint.inodes import open_file
from cbx_sandbox.checkpoint.plan import Action, printable
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.errors import DeniedError
from cbx_sandbox.linux import contents, files, leases, mountinfo

_OPEN = "another process has it open for writing"
_MOUNTED = "it is mounted as a single file elsewhere"


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """How one file gets its contents. ``why`` is told, unless it was asked for."""

    action: Action  # APPEND if the old contents are the beginning of the new, else REWRITE
    why: str = ""


def choose(
    session: Session,
    index: int,
    changes: Sequence[Change],
    live_fd: int,
    asked: Iterable[bytes],
    inside: Callable[[Meta], bool],
    *,
    unasked: bool = True,
) -> dict[bytes, Written]:
    """What of one layer's ``changes`` is written in place, by path. ``asked`` are absolute paths, for all beneath them.

    Without ``unasked``, a file that somebody goes on with is exchanged unless it was asked for. ``inside`` tells
    whether all names of a file lie in what the checkpoint covers: only then it may be written.
    Raises DeniedError: it cannot be done at all.
    """
    target, wanted = session.layers[index].target, tuple(asked)
    found = {}
    with files.Cursor(live_fd, os.O_PATH) as live:
        is_asked = functools.partial(_is_asked, target, wanted) if wanted else None
        for change, why in _chosen(changes, live, is_asked, unasked=unasked):
            old = change.old
            assert old is not None
            if old.nlink > 1 and not inside(old):
                raise DeniedError(
                    f"cannot write {printable(change.path)} in place: it has other names outside of {target}"
                )
            action = _action(session.layers[index].upper, change, live)
            if action is Action.REWRITE and _only_appends(change):
                raise DeniedError(
                    f"cannot commit {printable(change.path)}: it is append-only, and was changed other than at its end"
                )
            found[change.path] = Written(action, why)
    return found


def expected(session: Session, changes: Sequence[Change]) -> bool:
    """Whether a commit would write in place what nobody has asked for: then it is to wait for all readers."""
    for index in sorted({change.layer for change in changes if _may(change)}):
        own = [change for change in changes if change.layer == index]
        with live_root(session, index) as live_fd, files.Cursor(live_fd, os.O_PATH) as live:
            if any(True for _ in _chosen(own, live)):
                return True
    return False


def _chosen(
    changes: Sequence[Change],
    live: files.Cursor,
    is_asked: Callable[[bytes], bool] | None = None,
    *,
    unasked: bool = True,
) -> Iterator[tuple[Change, str]]:
    mounted: frozenset[tuple[int, int]] | None = None
    for change in changes:
        if not _may(change):
            continue
        if (is_asked is not None and is_asked(change.path)) or _only_appends(change):
            yield change, ""
        elif unasked and change.in_place and change.old is not None:
            # The job has written the file itself. What took its place, as an editor's new version, is another file.
            mounted = _single_files() if mounted is None else mounted
            if (change.old.device, change.old.inode) in mounted:
                yield change, _MOUNTED
            elif _is_open(live, change):
                yield change, _OPEN


def _may(change: Change) -> bool:
    """Whether it is a file with other contents at the same path, and nothing else happened to its name."""
    if change.kind is not Kind.CHANGED or change.carried or change.source is not None:
        return False
    old, new = change.old, change.new
    return old is not None and new is not None and new.nlink == 1 and old.is_file and new.is_file


def _only_appends(change: Change) -> bool:
    old, new = change.old, change.new
    if old is None or new is None or not old.attributes:
        return False
    return bool(old.attributes & new.attributes & files.ATTR_APPEND)


def _is_asked(target: str, wanted: tuple[bytes, ...], path: bytes) -> bool:
    return any(beneath(absolute(path, target), rule.rstrip(b"/")) for rule in wanted)


def _is_open(live: files.Cursor, change: Change) -> bool:
    directory, name = split(change.path)
    try:
        return leases.open_for_writing(live.go(directory), name)
    except OSError:
        return False  # gone, or another type by now: the step finds out


def _single_files() -> frozenset[tuple[int, int]]:
    found = set()
    for path in mountinfo.single_files(mountinfo.read()):
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _action(upper: str, change: Change, live: files.Cursor) -> Action:
    """APPEND if the job has only added to the end."""
    assert change.old is not None
    assert change.new is not None
    if change.new.size < change.old.size:
        return Action.REWRITE
    directory, name = split(change.path)
    with files.directory(upper, os.O_PATH) as root, files.Cursor(root, os.O_PATH) as cursor:
        new = open_file(cursor.go(directory), name)
        try:
            old = open_file(live.go(directory), name)
            try:
                return Action.APPEND if contents.begins_as(old, new, change.old.size) else Action.REWRITE
            finally:
                os.close(old)
        finally:
            os.close(new)
