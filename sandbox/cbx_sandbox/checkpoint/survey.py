"""Everything that the steps of one layer will change, as it is before the first of them; reads and touches nothing."""

from __future__ import annotations

import bisect
import dataclasses
import os
import stat
from collections.abc import Iterator, Mapping, Sequence

from cbx_sandbox.checkpoint import inodes
from cbx_sandbox.checkpoint.changes import Change, Kind, join, split
from cbx_sandbox.checkpoint.plan import IN_PLACE, Action, Plan, Step
from cbx_sandbox.checkpoint.record import LayerWork, Parent, closed
from cbx_sandbox.linux import files, xattr
from cbx_sandbox.linux.credentials import Submitter

WIDTH = 256  # of more entries in one directory, each takes longer to put in


def arriving(step: Step) -> bool:
    """Whether a step's object comes out of the layer. That of a RENAMED one is dropped: the live object moves."""
    return step.action in {Action.IN, Action.SWAP} or step.action in IN_PLACE


def survey(
    index: int, ready: Plan, changes: Sequence[Change], upper_fd: int, live_fd: int, rights: Submitter, t0: int
) -> LayerWork:
    """The record of one layer, but for where its stage is."""
    own = _Upper(ready, upper_fd, rights)
    parents = _Live(changes, live_fd, rights).parents(ready.steps)
    ends = _ends(changes, parents, t0)
    return LayerWork(
        index=index,
        t0=t0,
        stage=0,
        home=b"",
        steps=ready.steps,
        slots=own.slots,
        modes=own.modes,
        marks=tuple(own.marks),
        whiteouts=tuple(own.whiteouts),
        times=tuple(own.times.values()),
        links=tuple(_links(ready)),
        parents=(*parents.values(), *_timed(changes, parents, {path for path, _ in ends})),
        ends=tuple(ends),
        marked=tuple(_marked(changes)),
        width=WIDTH if len(ready.steps) > WIDTH else 0,
    )


class _Upper:
    """What the objects are like in the layer."""

    def __init__(self, ready: Plan, upper_fd: int, rights: Submitter) -> None:
        self.slots: dict[int, int] = {}
        self.modes: dict[int, int] = {}
        self.marks: list[tuple[bytes, bytes, bytes]] = []
        self.whiteouts: list[bytes] = []
        self.times: dict[bytes, tuple[bytes, int, int]] = {}
        steps = [step for step in ready.steps if arriving(step)]
        self._apart = sorted(step.path for step in steps)
        for step in ready.steps:
            old = step.change.old
            moved = step.action is Action.OUT and step.change.kind is Kind.RENAMED
            if moved and old is not None and old.is_dir and closed(old.mode, old.uid, rights):
                self.modes[step.slot] = stat.S_IMODE(old.mode)
        with files.Cursor(upper_fd, os.O_RDONLY) as self._upper:
            for step in steps:
                self._object(step, rights)

    def _object(self, step: Step, rights: Submitter) -> None:
        directory, name = split(step.path)
        new = step.change.new
        if directory not in self.times:
            self._time(directory, os.fstat(self._upper.go(directory)))
        if new is not None and not new.is_dir and step.change.kind is not Kind.RENAMED:
            # The layer is dead: it still is what diff saw.
            self.slots[step.slot] = new.inode
            self.marks += [(step.path, key, value) for key, value in step.change.marks]
            return
        fd = self._upper.go(directory)
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        self.slots[step.slot] = status.st_ino
        is_directory = stat.S_ISDIR(status.st_mode)
        if is_directory:
            self._time(step.path, status)
        if step.change.kind is Kind.RENAMED:
            return
        self._marked(step.path, xattr.every(fd, name))
        if not is_directory:
            return
        if not rights.is_root and status.st_mode & 0o300 != 0o300:
            self.modes[step.slot] = stat.S_IMODE(status.st_mode)
        for path, inner in self._beneath(step.path):
            if stat.S_ISCHR(inner.mode) and inner.rdev == 0:
                self.whiteouts.append(path)
                self._time(split(path)[0], os.fstat(self._upper.fd))
            else:
                self._marked(path, xattr.every(self._upper.fd, split(path)[1]))

    def _beneath(self, path: bytes) -> Iterator[tuple[bytes, files.Statx]]:
        """All beneath ``path`` that goes with it, and has no step of its own."""
        first = bisect.bisect_right(self._apart, path + b"/")
        some = first < len(self._apart) and self._apart[first].startswith(path + b"/")
        apart = {other for other in self._apart if other.startswith(path + b"/")} if some else set()
        self._upper.go(path)
        for name, status in files.walk(self._upper):
            inner = b"/".join([*self._upper.names, name])
            if not (apart and _within(inner, apart)):
                yield inner, status

    def _marked(self, path: bytes, xattrs: dict[bytes, bytes]) -> None:
        self.marks += [(path, key, value) for key, value in xattrs.items() if key.startswith(inodes.OVERLAY)]

    def _time(self, path: bytes, status: os.stat_result) -> None:
        self.times.setdefault(path, (path, status.st_atime_ns, status.st_mtime_ns))


def _within(path: bytes, roots: set[bytes]) -> bool:
    while path:
        if path in roots:
            return True
        path = split(path)[0]
    return False


class _Live:
    """What the directories of the live tree are like."""

    def __init__(self, changes: Sequence[Change], live_fd: int, rights: Submitter) -> None:
        self._renamed = {change.path: change.live for change in changes if change.kind is Kind.RENAMED}
        self._live_fd = live_fd
        self._rights = rights

    def parents(self, steps: Sequence[Step]) -> dict[bytes, Parent]:
        """The directory of every step, and those of the submitter's on the way that he has to open; by path."""
        found: dict[bytes, Parent] = {}
        with files.Cursor(self._live_fd, os.O_PATH) as live:
            for step in steps:
                path = split(step.path)[0]
                if path in found:
                    continue
                leaving = step.action is Action.OUT and step.change.kind is Kind.RENAMED
                source = path if leaving else before(path, self._renamed)
                try:
                    status = os.fstat(live.go(source))
                except OSError as error:
                    if not files.leads_elsewhere(error):
                        raise
                    continue  # the step itself says what is wrong
                found[path] = _parent(path, source, status)
                if not self._rights.is_root:
                    self._above(path, source, live, found)
        return found

    def _above(self, path: bytes, source: bytes, live: files.Cursor, found: dict[bytes, Parent]) -> None:
        while path and source:
            path, source = split(path)[0], split(source)[0]
            status = os.fstat(live.go(source))
            if path not in found and closed(status.st_mode, status.st_uid, self._rights):
                found[path] = _parent(path, source, status)


def before(path: bytes, renamed: Mapping[bytes, bytes]) -> bytes:
    """Where a path is before the steps; ``renamed`` has the old paths of what moves, by the new ones."""
    head, rest = path, b""
    while head:
        if head in renamed:
            return join(renamed[head], rest) if rest else renamed[head]
        head, name = split(head)
        rest = join(name, rest) if rest else name
    return path


def _parent(path: bytes, source: bytes, status: os.stat_result) -> Parent:
    return Parent(
        path, source, status.st_ino, status.st_mode, status.st_uid, status.st_mtime_ns, status.st_ctime_ns
    )  # fmt: skip


def _links(ready: Plan) -> Iterator[tuple[bytes, bytes, int]]:
    for change, base in ready.relinks:
        if base.old is not None:
            yield change.path, base.live, base.old.inode


def _ends(changes: Sequence[Change], parents: dict[bytes, Parent], t0: int) -> list[tuple[bytes, int]]:
    """The times that directories have for the job. Where others may have put something, too, theirs stay."""
    wanted = {change.path: change.new for change in changes if change.new is not None and change.new.is_dir}
    before = {path: (parent.mtime_ns, parent.ctime_ns) for path, parent in parents.items()}
    shared = set(before) - wanted.keys()
    for change in changes:
        if change.implied and change.old is not None:
            before.setdefault(change.path, (change.old.mtime_ns, change.old.ctime_ns))
            shared.add(change.path)
        elif not change.carried and change.new is not None and change.new.is_dir:
            # Some file systems count a new parent as a change of the directory (xfs).
            before.setdefault(change.path, (0, 0))
    ends = []
    for path in sorted(before, key=len, reverse=True):
        modified, changed = before[path]
        new = wanted.get(path)
        if not (path in shared and changed >= t0):
            ends.append((path, modified if new is None else new.mtime_ns))
    return ends


def _marked(changes: Sequence[Change]) -> Iterator[tuple[bytes, int, int]]:
    """What is immutable or append-only within new directories: it has no step of its own."""
    for change in changes:
        if change.carried and change.new is not None and change.new.attributes:
            yield change.path, change.new.attributes, change.new.inode


def _timed(changes: Sequence[Change], parents: Mapping[bytes, Parent], ends: set[bytes]) -> Iterator[Parent]:
    """Directories that get nothing but a new time, since what the job made in them is gone again: to take that back."""
    for change in changes:
        old = change.old
        if change.implied and old is not None and change.path in ends and change.path not in parents:
            yield Parent(change.path, change.live, old.inode, old.mode, old.uid, old.mtime_ns, old.ctime_ns)


def placed(
    work: LayerWork,
    stage: int,
    home: bytes,
    slots: dict[int, int] | None = None,
    marked: tuple[tuple[bytes, int, int], ...] = (),
) -> LayerWork:
    """The record with the place of its stage; ``slots`` and ``marked`` are the copies, where objects were copied."""
    if slots is None:
        return dataclasses.replace(work, stage=stage, home=home)
    return dataclasses.replace(
        work, stage=stage, home=home, slots=slots, marked=marked, marks=(), whiteouts=(), times=(), links=()
    )
