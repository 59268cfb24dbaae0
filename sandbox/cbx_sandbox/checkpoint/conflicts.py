"""Whether the live tree is still what the job saw, for each path.

Three proofs: a change time before T0 (session), the file handle that overlayfs recorded when it copied up, and for what
is new, that nothing is there. Cost: the number of changes, plus one look at every inode of a deleted directory.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import stat
import time
from collections.abc import Iterator, Sequence

from cbx_sandbox.checkpoint.changes import Change, Kind, Meta, join, split
from cbx_sandbox.checkpoint.diff import live_root
from cbx_sandbox.checkpoint.inodes import look
from cbx_sandbox.checkpoint.session import Session, boot_id, clock_offset, identify_fd
from cbx_sandbox.checkpoint.survey import before
from cbx_sandbox.linux import files

_STEP_NS = 10_000_000  # reading two clocks is not exact; slewing moves both alike

MADE = "somebody made it since"
CHANGED = "somebody changed it since"
GONE = "somebody removed it since"
REPLACED = "somebody replaced it since"
PARENT = "its directory is not the one it was"
TARGET = "the checkpoint's directory is not the one it was"
CLOCK = "the clock was set since, so nothing can be told from change times"
MOUNT = "something is mounted there"


class Proof(enum.StrEnum):
    """What told that somebody else was there."""

    CHANGE_TIME = "change time"  # of the live inode: not before the checkpoint began
    INODE = "inode"  # another object is at the path
    HANDLE = "file handle"  # the layer's copy was made from another object
    PRESENCE = "presence"  # something is there, or is not
    CLOCK = "clock"  # it was set: change times tell nothing
    MOUNT = "mount"


@dataclasses.dataclass(frozen=True, slots=True)
class Conflict:
    """A path that somebody else changed since the checkpoint began. ``change`` is the path of the job's change."""

    layer: int
    path: bytes
    reason: str
    change: bytes
    proof: Proof = Proof.PRESENCE
    at_ns: int = 0  # CHANGE_TIME: when, by the clock of that file system; 0 if no time tells


_PROOFS = {
    MADE: Proof.PRESENCE,
    CHANGED: Proof.CHANGE_TIME,
    GONE: Proof.PRESENCE,
    REPLACED: Proof.INODE,
    PARENT: Proof.HANDLE,
    TARGET: Proof.HANDLE,
    CLOCK: Proof.CLOCK,
    MOUNT: Proof.MOUNT,
}
_TIMED = {Proof.CHANGE_TIME, Proof.INODE, Proof.PRESENCE}


def check(session: Session, changes: Sequence[Change]) -> list[Conflict]:
    """Find every path of ``changes`` whose live side is not what it was when the checkpoint began."""
    found: list[Conflict] = []
    clock = clock_was_set(session)
    for index in range(len(session.layers)):
        own = [change for change in changes if change.layer == index and not (change.carried or change.implied)]
        if own:
            with live_root(session, index) as live_fd:
                found += _Check(session, index, live_fd, clock=clock).run(own)
    return found


def clock_was_set(session: Session) -> bool:
    """Whether change times of before and after the start can no longer be compared."""
    if session.boot_id == boot_id():
        return abs(clock_offset() - session.clock_offset_ns) > _STEP_NS
    return any(time.time_ns() < clock for clock in session.clocks)


def same_target(session: Session, index: int, fd: int) -> bool:
    """Whether ``fd`` is the directory that layer ``index`` was begun on."""
    was, now = session.roots[index], identify_fd(fd)
    # Device numbers are given out anew at each boot; the handle tells what the number cannot.
    same_boot = session.boot_id == boot_id()
    return was.inode == now.inode and was.handle == now.handle and (was.device == now.device or not same_boot)


class _Check:
    def __init__(self, session: Session, index: int, live_fd: int, *, clock: bool) -> None:
        self._session = session
        self._index = index
        self._live_fd = live_fd
        self._t0 = session.clocks[index]
        self._clock_set = clock
        self._parents: dict[bytes, bytes | None] = {}

    def run(self, changes: list[Change]) -> Iterator[Conflict]:
        if not same_target(self._session, self._index, self._live_fd):
            yield from (self._conflict(change, change.path, TARGET) for change in changes)
            return
        self._moves = {c.path: c.live for c in changes if c.kind is Kind.RENAMED}
        with files.Cursor(self._live_fd) as self._live:
            suspects = []
            for change in changes:
                conflict = self._one(change)
                if conflict is not None:
                    yield conflict
                elif self._astray(change):
                    suspects.append(change)
            yield from self._without_original(suspects, changes)

    def _conflict(self, change: Change, path: bytes, reason: str, now: Meta | None = None, at_ns: int = 0) -> Conflict:
        at_ns = at_ns or (now.ctime_ns if now is not None else 0)
        proof = _PROOFS[reason]
        if reason == REPLACED and change.old is not None and now is not None and now.inode == change.old.inode:
            proof = Proof.HANDLE
        return Conflict(self._index, path, reason, change.path, proof, at_ns if proof in _TIMED else 0)

    def _one(self, change: Change) -> Conflict | None:
        directory, name = split(change.live)
        if change.kind is not Kind.RENAMED and not self._parent_is(directory, change.parent):
            return self._conflict(change, change.path, PARENT)
        now = self._read(directory, name)
        match change.kind:
            case Kind.ADDED:
                reason = self._added(change, now)
            case Kind.RENAMED:
                reason = self._renamed(change, now)
            case Kind.DELETED if now is None:
                reason = None  # both removed it
            case _:
                reason = self._kept(change.old, now)
        if reason is not None:
            return self._conflict(change, change.live, reason, now)
        if change.over is not None:
            over = self._read(*split(self._place(change)))
            reason = self._kept(change.over, over)
            if reason is not None:
                return self._conflict(change, change.path, reason, over)
        goes = change.over if change.kind is Kind.RENAMED else change.old
        if goes is not None and goes.is_dir and change.kind is not Kind.META:
            return self._beneath(change, self._place(change) if change.kind is Kind.RENAMED else change.live)
        return None

    def _place(self, change: Change) -> bytes:
        """Where in the live tree that is which a moved object takes the place of: its directory may move, too."""
        directory, name = split(change.path)
        return join(before(directory, self._moves), name)

    def _parent_is(self, directory: bytes, handle: bytes) -> bool:
        if directory not in self._parents:
            try:
                fd = self._live.go(directory)
                self._parents[directory] = files.file_handle(fd) or b""
            except OSError as error:
                if not files.leads_elsewhere(error):
                    raise
                self._parents[directory] = None
        found = self._parents[directory]
        return found is not None and (not handle or not found or found == handle)

    def _read(self, directory: bytes, name: bytes) -> Meta | None:
        try:
            return look(self._live.go(directory), name)
        except OSError as error:
            if not files.leads_elsewhere(error):
                raise
            return None

    def _added(self, change: Change, now: Meta | None) -> str | None:
        if change.vacated:
            return None
        if now is not None:
            return MADE
        # A directory that was copied up and has nothing under it any more; moved ones say where they came from.
        return GONE if change.copied and change.new is not None and change.new.is_dir else None

    def _renamed(self, change: Change, now: Meta | None) -> str | None:
        if now is None or change.old is None:
            return GONE
        directory, name = split(change.live)
        handle = files.file_handle(self._live.go(directory), name)
        if now.type != change.old.type or (change.origin and handle and handle != change.origin):
            return REPLACED
        # A directory takes along whatever is in it; a file must be the one that the job has moved.
        return None if now.is_dir else self._kept(change.old, now)

    def _kept(self, old: Meta | None, now: Meta | None) -> str | None:
        if now is None or old is None:
            return GONE
        if self._clock_set:
            return CLOCK
        if now.inode != old.inode:
            return REPLACED
        return CHANGED if now.ctime_ns >= self._t0 or now.ctime_ns != old.ctime_ns else None

    def _beneath(self, change: Change, path: bytes) -> Conflict | None:
        """Look at every inode of a directory that is about to go: nobody may have put anything in."""
        try:
            self._live.go(path)
            mount_id = files.statx(self._live.fd).mount_id
            start = self._live.depth
            for name, status in files.walk(self._live):
                reason = MOUNT if status.mount_id != mount_id else CHANGED if status.ctime_ns >= self._t0 else None
                if reason is not None:
                    inner = b"/".join([*self._live.names[start:], name])
                    return self._conflict(change, join(change.path, inner), reason, at_ns=status.ctime_ns)
        except OSError:
            return self._conflict(change, change.path, MOUNT)
        return None

    def _astray(self, change: Change) -> bool:
        """A copy of something other than what is at its live path: moved there by the job, or orphaned."""
        if not change.origin or change.new is None or change.new.is_dir or change.kind is Kind.RENAMED:
            return False
        if change.old is None or change.vacated:
            return True
        if change.in_place:
            return False  # and the inode is still the same, not changed since: _kept has looked
        directory, name = split(change.live)
        handle = files.file_handle(self._live.go(directory), name)
        return handle is not None and handle != change.origin

    def _without_original(self, suspects: list[Change], changes: list[Change]) -> Iterator[Conflict]:
        if not suspects:
            return
        known = set(self._handles(changes))
        for change in suspects:
            if change.origin not in known:
                yield self._conflict(change, change.path, REPLACED if change.old is not None else GONE, change.old)

    def _handles(self, changes: list[Change]) -> Iterator[bytes | None]:
        """The handles of all that the job moved, removed or replaced: where a moved file can have come from."""
        for change in changes:
            if change.old is None:
                continue
            yield from self._handles_at(change.live, beneath=change.kind not in {Kind.META, Kind.RENAMED})
            if change.path != change.live:
                # A directory that took the place of something else: the job had moved that away before.
                yield from self._handles_at(self._place(change), beneath=True)

    def _handles_at(self, path: bytes, *, beneath: bool) -> Iterator[bytes | None]:
        directory, name = split(path)
        try:
            at = self._live.go(directory)
            yield files.file_handle(at, name or b"")
            if beneath and stat.S_ISDIR(os.stat(name or b".", dir_fd=at, follow_symlinks=False).st_mode):
                self._live.go(path)
                for leaf, _ in files.walk(self._live):
                    yield files.file_handle(self._live.fd, leaf)
        except OSError:
            return


def theirs(changes: Sequence[Change], conflicts: Sequence[Conflict]) -> tuple[list[Change], list[Change]]:
    """Split ``changes`` into those to apply, and those to leave out because the live version stays."""
    lost: dict[int, set[bytes]] = {}
    for conflict in conflicts:
        lost.setdefault(conflict.layer, set()).add(conflict.change)
    kept: list[Change] = []
    skipped: list[Change] = []
    for change in changes:
        (skipped if _is_within(change.path, lost.get(change.layer, set())) else kept).append(change)
    return kept, skipped


def _is_within(path: bytes, roots: set[bytes]) -> bool:
    while roots:
        if path in roots:
            return True
        if not path:
            return False
        path = os.path.dirname(path)
    return False
