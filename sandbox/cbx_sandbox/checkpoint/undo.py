"""A commit taken back later: what it replaced lies in its stage, and goes live again by the same renames.

Only as long as nobody has changed anything that it put in place: each object must be the very inode, with a change time
before the one that the commit noted at its end. An undo of a later commit puts objects back with a new change time: it
notes the old one beside it, so that commits can be undone one after the other, down to the first.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cbx_sandbox.checkpoint import journal, transaction
from cbx_sandbox.checkpoint.changes import Kind, absolute, join, split
from cbx_sandbox.checkpoint.conflicts import CHANGED, CLOCK, GONE, MADE, REPLACED
from cbx_sandbox.checkpoint.journal import Entry
from cbx_sandbox.checkpoint.plan import IN_PLACE, Action, Step, printable
from cbx_sandbox.checkpoint.record import LayerWork, Record, outgoing
from cbx_sandbox.checkpoint.session import Session, boot_id, clock_offset, directories
from cbx_sandbox.checkpoint.survey import before
from cbx_sandbox.errors import CbxError, ConflictError, DeniedError, UsageError
from cbx_sandbox.linux import files

_RESERVED, _RETURNED = 4096, 80  # bytes: for the records that there are always, and for each entry that is put back
_STEP_NS = 10_000_000  # reading two clocks is not exact
_PATH_MAX = 4096  # bytes of a path that a call takes, with the zero at its end (limits.h)


# Device, inode and change time of what an undo put back: the change time that it had before the commit.
Custody = Mapping[tuple[int, int, int], int]


def undo(session: Session, custody: Custody | None = None) -> None:
    """Put back what the commit has replaced, with the rights that the commit had. ``custody`` is of later commits.

    Raises UsageError: nothing is kept of it; ConflictError: somebody has changed what it made, and nothing was done;
    DeniedError, CbxError: the system refuses, and everything is as the commit left it.
    """
    _turn(session, Entry.DONE, Entry.UNDO, custody or {})


def custody(undone: Iterable[Session]) -> dict[tuple[int, int, int], int]:
    """What the undos of these checkpoints have put back."""
    found: dict[tuple[int, int, int], int] = {}
    for session in undone:
        for directory in directories(session):
            records = journal.read(directory)
            if not records or records[-1][0] is not Entry.UNDONE:
                continue
            for index, returned in records[-1][1].get("returned", ()):
                with contextlib.suppress(OSError):
                    device = os.stat(session.layers[index].target, follow_symlinks=False).st_dev
                    found |= {(device, inode, now): before for inode, before, now in returned if before < now}
    return found


def redo(session: Session) -> None:
    """Do a commit again that was undone. Raises as :func:`undo` does."""
    _turn(session, Entry.UNDONE, Entry.REDO, {})


def touched(session: Session) -> list[str]:
    """The existing directories in which an undo changes names: what is to be locked. Raises UsageError."""
    _, record, _ = _kept(session, {Entry.DONE, Entry.UNDONE})
    found = set()
    for work in record.layers:
        target = session.layers[work.index].target
        for parent in work.parents:
            for path in (parent.path, parent.source):
                name = os.fsdecode(_named(absolute(path, target)))
                if files.is_directory(name):
                    found.add(os.path.realpath(name))
    return sorted(found) or sorted(session.targets)


def _named(path: bytes) -> bytes:
    """The path, or of one that is longer than any call takes, the deepest directory on it that can be named."""
    return path if len(path) < _PATH_MAX else path[:_PATH_MAX].rpartition(b"/")[0]


def _kept(session: Session, wanted: set[Entry]) -> tuple[str, Record, Mapping[str, Any]]:
    for directory in directories(session):
        records = journal.read(directory)
        if records and records[-1][0] in wanted and records[-1][1]:
            return directory, Record.from_json(records[0][1]), records[-1][1]
    raise UsageError(
        f"cannot undo or redo checkpoint {session.checkpoint}: what its commit replaced is not kept",
        hint="history.undo_hours says how long it is; a copy to another file system is not undone",
    )


def _turn(session: Session, stands: Entry, wanted: Entry, custody: Custody) -> None:
    directory, record, noted = _kept(session, {stands})
    with transaction.opened(session, record) as parts:
        _refuse_edited(session, parts, noted, custody, back=wanted is Entry.UNDO)
        journal.trim(directory)
        written = journal.opened(directory)
        assert written is not None
        with contextlib.closing(written):
            _reserve(written, record)
            written.append(wanted)
            try:
                _go(parts, record, back=wanted is Entry.UNDO)
            except (CbxError, OSError) as error:
                written.append(Entry.REDO if wanted is Entry.UNDO else Entry.UNDO)
                _go(parts, record, back=wanted is not Entry.UNDO)
                transaction.sync_all(parts)
                written.append(stands, transaction.clocks(parts))
                if isinstance(error, OSError):
                    path = error.filename if isinstance(error.filename, bytes) else b""
                    kind = DeniedError if isinstance(error, PermissionError) else CbxError
                    raise kind(
                        f"cannot change {printable(path)}: {error.strerror}", details="nothing was changed"
                    ) from error
                raise
            returned = {"returned": [_returned(part) for part in parts]} if wanted is Entry.UNDO else {}
            transaction.sync_all(parts)
            over = Entry.UNDONE if wanted is Entry.UNDO else Entry.DONE
            written.append(over, {**transaction.clocks(parts), **returned})


def _reserve(written: journal.Journal, record: Record) -> None:
    """Have room for all that will be written down, so that a full disk refuses before anything is changed."""
    entries = sum(len(work.steps) + len(work.parents) for work in record.layers)
    try:
        written.reserve(_RESERVED + entries * _RETURNED)
    except OSError as error:
        raise CbxError(
            f"cannot change anything: no room for the record of it: {error.strerror}",
            hint="make room on the file system of the state directory",
        ) from error


def _returned(part: transaction.Part) -> tuple[int, list[tuple[int, int, int]]]:
    """What is back in its place: inode, the change time that it had before the commit, and the one that it has now.

    Of files only those whose content nobody can have changed in between; who puts an entry into a directory meanwhile
    is found by that entry's own change time.
    """
    renamed = {step.change.path: step.change.live for step in part.work.steps if step.change.kind is Kind.RENAMED}
    places: list[tuple[bytes, int, int, tuple[int, int] | None]] = [
        (parent.source, parent.inode, parent.ctime_ns, None) for parent in part.work.parents
    ]
    for step in part.work.steps:
        if (old := outgoing(step)) is not None:
            content = None if old.is_dir else (old.size, old.mtime_ns)
            places.append((before(step.path, renamed), old.inode, old.ctime_ns, content))
    found = []
    with files.Cursor(part.live_fd, os.O_PATH) as live:
        for path, inode, changed, content in places:
            directory, name = split(path)
            with contextlib.suppress(OSError):
                status = files.statx(live.go(directory), name)
                same = content is None or content == (status.size, status.mtime_ns)
                if status.ino == inode and same:
                    found.append((inode, changed, status.ctime_ns))
    return part.work.index, found


def _go(parts: Sequence[transaction.Part], record: Record, *, back: bool) -> None:
    if back:
        transaction.backward(parts, record.rights, record.rights)
    else:
        transaction.forward(parts, record.rights, again=True, staged=True)


def _refuse_edited(
    session: Session, parts: Sequence[transaction.Part], noted: Mapping[str, Any], custody: Custody, *, back: bool
) -> None:
    clocks = dict(noted["clocks"])
    same_boot = noted["boot_id"] == boot_id()
    was_set = (
        abs(clock_offset() - noted["clock_offset_ns"]) > _STEP_NS
        if same_boot
        else any(time.time_ns() < clock for clock in clocks.values())
    )
    found = []
    for part in parts:
        target = session.layers[part.work.index].target
        with files.Cursor(part.live_fd) as live:
            look = _Look(live, part.work, clocks[part.work.index], custody, back=back)
            found += [(absolute(path, target), reason) for path, reason in look.edited()]
    if was_set:
        found.insert(0, (b"", CLOCK))
    if found:
        lines = [f"{printable(path)}: {reason}".removeprefix(": ") for path, reason in found[:20]]
        more = f"\nand {len(found) - 20} more" if len(found) > 20 else ""
        paths = "1 path" if len(found) == 1 else f"{len(found)} paths"
        raise ConflictError(
            f"cannot change back {paths}: not what checkpoint {session.checkpoint} left",
            details="\n".join(lines) + more,
            hint="nothing was changed; a later checkpoint that changed the same paths has to be undone first",
        )


class _Look:
    """Whether the live tree is what the commit, or its undo, has left."""

    def __init__(self, live: files.Cursor, work: LayerWork, clock: int, custody: Custody, *, back: bool) -> None:
        self._live = live
        self._device = os.fstat(live.fd).st_dev
        self._custody = custody
        self._work = work
        self._clock = clock
        self._back = back
        changes = [step.change for step in work.steps]
        self._renamed = {change.path: change.live for change in changes if change.kind is Kind.RENAMED}

    def edited(self) -> Iterator[tuple[bytes, str]]:
        """The paths that are not, and why."""
        steps = self._work.steps
        filled = {step.path for step in steps if step.action is not Action.OUT}
        emptied = {step.path for step in steps if step.action is Action.OUT}
        for step in steps:
            if self._back and step.action is Action.OUT:
                wanted = None if step.path not in filled else -1
            elif self._back:
                wanted = self._there(step)
            else:
                over = outgoing(step)
                wanted = over.inode if over is not None else (None if step.path not in emptied else -1)
                if step.action is Action.SET and step.change.kind is Kind.RENAMED:
                    wanted = -1  # it is still where it came from: its OUT looks at it
            if wanted != -1 and (reason := self._look(step, wanted)):
                yield reason

    def _there(self, step: Step) -> int:
        if step.action is Action.SET:
            return 0 if step.change.old is None else step.change.old.inode
        return self._work.incoming(step)

    def _look(self, step: Step, wanted: int | None) -> tuple[bytes, str] | None:
        leaving = step.action is Action.OUT and step.change.kind is Kind.RENAMED
        path = step.path
        if not (self._back or leaving):
            directory, name = split(path)
            path = (
                join(before(directory, self._renamed), name)
                if step.action is not Action.SET
                else before(path, self._renamed)
            )
        directory, name = split(path)
        try:
            fd = self._live.go(directory)
            status = os.stat(name or files.inside(fd), dir_fd=fd if name else None, follow_symlinks=not name)
        except OSError as error:
            if not files.leads_elsewhere(error):
                raise
            return None if wanted is None else (step.path, GONE)
        if wanted is None:
            return step.path, MADE
        if status.st_ino != wanted:
            return step.path, REPLACED
        if step.action in IN_PLACE and status.st_size != self._size(step):
            return step.path, CHANGED
        # The entries of a directory that only its metadata was changed of are anybody's.
        moved = step.action is not Action.SET
        if not stat.S_ISDIR(status.st_mode) and self._changed(status.st_ino, status.st_ctime_ns):
            return step.path, CHANGED
        if stat.S_ISDIR(status.st_mode) and moved and step.change.kind is not Kind.RENAMED:
            return self._beneath(path, status)
        return None

    def _size(self, step: Step) -> int:
        """What was appended while the commit did so, too, has no later change time than the commit's."""
        left = step.change.new if self._back else step.change.old
        return -1 if left is None else left.size

    def _beneath(self, path: bytes, status: os.stat_result) -> tuple[bytes, str] | None:
        if self._changed(status.st_ino, status.st_ctime_ns):
            return path, CHANGED
        self._live.go(path)
        start = self._live.depth
        for name, inner in files.walk(self._live):
            if self._changed(inner.ino, inner.ctime_ns):
                return join(path, b"/".join([*self._live.names[start:], name])), CHANGED
        return None

    def _changed(self, inode: int, ctime_ns: int) -> bool:
        """Whether something was changed since, by others than undos that have put back what was there before."""
        while ctime_ns >= self._clock and (self._device, inode, ctime_ns) in self._custody:
            ctime_ns = self._custody[self._device, inode, ctime_ns]
        return ctime_ns >= self._clock
