"""What moved inside the job: a path that is gone and one that appeared are one change if they are the same inode.

Overlayfs records the move of a directory itself. Of a moved file, the copy tells the handle of its original.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from cbx_sandbox.checkpoint.changes import Change, Flag, Kind, split
from cbx_sandbox.checkpoint.inodes import aspects, same_content
from cbx_sandbox.linux import files


def settle(changes: Sequence[Change], live_fd: int, upper: str) -> list[Change]:
    """Join moves with what they left behind: a whiteout, or something new in the old place."""
    moved = dict(_moved_files(changes, live_fd, upper))
    changes = [moved.get(change.path, change) for change in changes]
    sources = {change.source for change in changes if change.kind is Kind.RENAMED}
    if not sources:
        return changes
    return [settled for change in changes if (settled := _settled(change, sources)) is not None]


def keep_owners(changes: Sequence[Change], live_fd: int) -> Sequence[Change]:
    """Take the mark of a foreign owner from what was that owner's before the job moved, linked or changed it.

    For root's jobs: whose right it is to put a file of somebody else's elsewhere is not the question there.
    """
    if not any(change.origin and Flag.FOREIGN in change.flags for change in changes):
        return changes
    with files.Cursor(live_fd, os.O_PATH) as live:
        owners = {_handle(live, c): (c.old.uid, c.old.gid) for c in changes if c.old is not None}
    return [
        replace(change, flags=change.flags - {Flag.FOREIGN})
        if change.origin and change.new is not None and owners.get(change.origin) == (change.new.uid, change.new.gid)
        else change
        for change in changes
    ]


def _settled(change: Change, sources: set[bytes | None]) -> Change | None:
    if change.kind is Kind.RENAMED:
        return replace(change, over=None, vacated=True) if change.path in sources else change
    if change.live not in sources:
        return change
    if change.kind is Kind.DELETED:
        return None
    return replace(change, kind=Kind.ADDED, old=None, aspects=(), vacated=True)


def _moved_files(changes: Sequence[Change], live_fd: int, upper: str) -> Iterator[tuple[bytes, Change]]:
    """The copies of files that lie elsewhere than their originals, whose place the job has given up."""
    with files.Cursor(live_fd, os.O_PATH) as live:
        astray = [change for change in changes if _is_copy(change) and not change.in_place]
        if not astray:
            return
        given_up = {handle: change for change in changes if _is_left(change) and (handle := _handle(live, change))}
        upper_fd = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with files.Cursor(upper_fd, os.O_PATH) as copies:
                for change in astray:
                    original = given_up.get(change.origin)
                    if original is None or original.origin == change.origin:
                        continue  # nothing, or a file that is still in its place
                    if _unchanged(live, original, copies, change):
                        yield change.path, _as_move(change, original)
        finally:
            os.close(upper_fd)


def _is_copy(change: Change) -> bool:
    new = change.new
    if change.kind is Kind.META or new is None:
        return False
    return bool(change.origin) and not new.is_dir and new.nlink == 1


def _is_left(change: Change) -> bool:
    old = change.old
    return change.kind is not Kind.META and old is not None and not old.is_dir and old.nlink == 1


def _handle(live: files.Cursor, change: Change) -> bytes | None:
    if change.old is None:
        return None
    directory, name = split(change.live)
    try:
        return files.file_handle(live.go(directory), name)
    except OSError:
        return None


def _unchanged(live: files.Cursor, original: Change, copies: files.Cursor, copy: Change) -> bool:
    old, new = original.old, copy.new
    if old is None or new is None or {"target", "device"} & set(aspects(old, new)) or old.type != new.type:
        return False
    if not new.is_file:
        return True
    old_dir, old_name = split(original.live)
    new_dir, new_name = split(copy.path)
    try:
        return old.size == new.size and same_content(live.go(old_dir), old_name, copies.go(new_dir), new_name)
    except OSError:
        return False


def _as_move(change: Change, original: Change) -> Change:
    assert original.old is not None
    assert change.new is not None
    differing = aspects(original.old, change.new)
    return replace(
        change,
        kind=Kind.RENAMED,
        old=original.old,
        over=change.old,
        source=original.live,
        aspects=differing,
        carried=False,
        # What was privileged before it moved is nothing new.
        flags=change.flags if {"mode", "owner", "xattrs", "attributes"} & set(differing) else frozenset(),
    )
