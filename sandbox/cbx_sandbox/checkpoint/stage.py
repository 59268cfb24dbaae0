"""From changes to steps, and the layer's objects made ready for them.

``plan`` decides and touches nothing. ``Staging`` moves each object out of the layer into one directory on the target's
own file system, where it is cleaned of overlayfs' marks: from there a step is a single rename.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from cbx_sandbox.checkpoint import copying, inodes
from cbx_sandbox.checkpoint.changes import Change, Kind, Meta, split
from cbx_sandbox.checkpoint.layers import LayerSpec
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files
from cbx_sandbox.linux.credentials import Submitter

FEW = 32  # up to so many entries are synced one by one: syncfs waits for everybody's writes
_PLACES = {Kind.ADDED, Kind.CHANGED, Kind.TYPE, Kind.REPLACED}


class Action(enum.StrEnum):
    """What a step does to one name of the live tree. A slot is a numbered name in the stage."""

    OUT = "out"  # the live object goes to the slot
    IN = "in"  # the slot's object goes to a name that is free
    SWAP = "swap"  # the two change places
    LINK = "link"  # another name for the live object at ``base``, by way of the slot
    SET = "set"  # metadata, in place


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step. ``path`` is where the object is when the step's turn comes."""

    action: Action
    path: bytes
    slot: int
    change: Change
    base: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one layer in order; which of the carried files become links of live ones; what to tell."""

    steps: tuple[Step, ...]
    relinks: tuple[tuple[Change, Change], ...] = ()
    notes: tuple[str, ...] = ()


def plan(changes: Sequence[Change], inside: Callable[[Meta], bool]) -> Plan:
    """Order the steps of one layer's ``changes``. ``inside`` tells whether all links of a live file are in the target.

    First everything that moves leaves its old place, the deepest first; then names change, parents first; then links
    are made; metadata of directories comes last, the deepest first, since it may forbid what comes before.
    """
    links = _Links(changes, inside)
    slots = iter(range(len(changes) * 2))
    moved = sorted((c for c in changes if c.kind is Kind.RENAMED), key=lambda c: c.live.count(b"/"), reverse=True)
    taken = {change.path: next(slots) for change in moved}
    takes = [Step(Action.OUT, change.live, taken[change.path], change) for change in moved]
    names: list[Step] = []
    late: list[Step] = []
    directories: list[Step] = []
    for change in changes:
        if change.carried or change.implied or change in links.already:
            continue
        swap = Action.IN if change.old is None else Action.SWAP
        if change in links.bases:
            late.append(Step(Action.LINK, change.path, next(slots), change, links.bases[change].path))
        elif change.kind is Kind.DELETED:
            names.append(Step(Action.OUT, change.path, next(slots), change))
        elif change.kind in _PLACES or change in links.broken:
            names.append(Step(swap, change.path, next(slots), change))
        elif change.kind is Kind.RENAMED:
            action = Action.IN if change.over is None else Action.SWAP
            names.append(Step(action, change.path, taken[change.path], change))
        if change.kind in {Kind.META, Kind.RENAMED} and change not in links.broken and set(change.aspects) - {"links"}:
            step = Step(Action.SET, change.path, -1, change)
            (directories if change.new is not None and change.new.is_dir else late).append(step)
    directories.reverse()
    return Plan((*takes, *names, *late, *directories), tuple(links.relinks), tuple(links.notes))


class _Links:
    """What becomes of files with several names."""

    def __init__(self, changes: Sequence[Change], inside: Callable[[Meta], bool]) -> None:
        self.bases: dict[Change, Change] = {}
        self.already: set[Change] = set()
        self.broken: set[Change] = set()
        self.relinks: list[tuple[Change, Change]] = []
        self.notes: list[str] = []
        groups: dict[int, list[Change]] = {}
        for change in changes:
            if change.new is not None and change.new.is_file and not change.implied:
                if change.new.nlink > 1:
                    groups.setdefault(change.new.inode, []).append(change)
                else:
                    self._single(change, inside)
        for group in groups.values():
            self._group(group, inside)

    def _single(self, change: Change, inside: Callable[[Meta], bool]) -> None:
        old = change.old
        if old is None or old.nlink < 2:
            return
        if change.kind is Kind.META and inside(old):
            return  # metadata belongs to the inode: all its names get it, as they would have without an overlay
        self._break(change)

    def _break(self, change: Change) -> None:
        self.broken.add(change)
        self.notes.append(f"{printable(change.path)} is no longer a hard link of its other names")

    def _group(self, group: list[Change], inside: Callable[[Meta], bool]) -> None:
        """Names of one new inode. If one of them is the live file as it was, the others become its links."""
        unchanged = [change for change in group if change.kind is Kind.META and change.old is not None]
        base = next((c for c in unchanged if c.old is not None and (c.old.nlink == 1 or inside(c.old))), None)
        if base is None or base.old is None:
            for change in unchanged:
                if change.old is not None and change.old.nlink > 1:
                    self._break(change)
                else:
                    self.broken.add(change)
            return
        for change in group:
            if change is base:
                continue
            if change.old is not None and change.old.inode == base.old.inode:
                self.already.add(change)
            elif change.carried:
                self.relinks.append((change, base))
            else:
                self.bases[change] = base


def printable(path: bytes) -> str:
    """A path for a message."""
    return path.decode("utf-8", "backslashreplace").encode("unicode_escape").decode("ascii")


class Staging:
    """The objects of one layer, out of it and ready; leaving the block without :meth:`keep` puts everything back."""

    def __init__(self, layer: LayerSpec, live_fd: int, rights: Submitter) -> None:
        self._layer = layer
        self._live_fd = live_fd
        self._rights = rights
        self._back: list[Callable[[], None]] = []
        self._closing = contextlib.ExitStack()
        self._kept = False
        self.fd = -1  # the directory of the slots, on the target's file system
        self.root_times: tuple[int, int] | None = None  # of the target, before something was put beside its entries
        self.modes: dict[int, int] = {}  # slots with directories that had to be made writable to be moved

    def __enter__(self) -> Self:
        try:
            self._set_up()
        except BaseException:
            self._closing.close()
            raise
        return self

    def _set_up(self) -> None:
        self._own = self._open(self._layer.upper)
        root = self._open(self._layer.root)
        self._first = self._directory(root, b"stage")
        if self._layer.same_filesystem:
            self.fd = self._first
            os.fchown(self.fd, self._rights.uid, self._rights.gid)
            return
        # Beside the target's own entries, out of everybody's reach: 0700 root around what the submitter may rename in.
        home = b".cbx-" + secrets.token_hex(8).encode()
        status = os.fstat(self._live_fd)
        self.root_times = status.st_mtime_ns, status.st_ctime_ns
        with _times_kept(self._live_fd):
            os.mkdir(home, 0o700, dir_fd=self._live_fd)
        home_fd = self._open(home, self._live_fd)
        self._closing.callback(self._remove_home, home, home_fd)
        self.fd = self._directory(home_fd, b"stage")
        os.fchown(self.fd, self._rights.uid, self._rights.gid)

    def _remove_home(self, home: bytes, home_fd: int) -> None:
        files.remove_beneath(home_fd)
        # The owner of the target may have put something else in its place: only what was made here goes.
        with _times_kept(self._live_fd), contextlib.suppress(OSError):
            if os.path.samestat(os.stat(home, dir_fd=self._live_fd, follow_symlinks=False), os.fstat(home_fd)):
                os.rmdir(home, dir_fd=self._live_fd)

    def _open(self, path: str | bytes, dir_fd: int | None = None) -> int:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        self._closing.callback(os.close, fd)
        return fd

    def _directory(self, dir_fd: int, name: bytes) -> int:
        try:
            os.mkdir(name, 0o700, dir_fd=dir_fd)
        except FileExistsError as error:
            raise CbxError(
                "cannot commit: an earlier commit of this checkpoint was cut short",
                details=f"what it held is in {self._layer.root}/stage",
            ) from error
        return self._open(name, dir_fd)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._closing:
            if not self._kept:
                while self._back:
                    self._back.pop()()
                os.rmdir(f"{self._layer.root}/stage")

    def keep(self) -> None:
        """The steps are done: nothing goes back into the layer."""
        self._kept = True

    def prepare(self, ready: Plan) -> None:
        """Fill the slots of ``ready``."""
        with files.Cursor(self._own) as upper:
            # From the end: what is inside another object leaves it before that moves.
            for step in reversed(ready.steps):
                if step.action not in {Action.IN, Action.SWAP}:
                    continue
                if step.change.kind is Kind.RENAMED:
                    self._move(upper, step, b"%d-left" % step.slot)
                else:
                    self._move(upper, step, b"%d" % step.slot)
                    self._clean(step)
        if not self._layer.same_filesystem:
            with copying.Copier(self._first, self.fd) as copier:
                for name in sorted(map(os.fsencode, os.listdir(self._first))):
                    if not name.endswith(b"-left"):
                        copier.copy(name, name)
        slots = {step.path: step.slot for step in ready.steps if step.action in {Action.IN, Action.SWAP}}
        for change, base in ready.relinks:
            self._relink(_slot_path(change.path, slots), base)

    def _move(self, upper: files.Cursor, step: Step, slot: bytes) -> None:
        directory, name = split(step.path)
        with _times_kept(upper.go(directory)):
            os.rename(name, slot, src_dir_fd=upper.fd, dst_dir_fd=self._first)
        self._back.append(functools.partial(self._move_back, step.path, slot))

    def _move_back(self, path: bytes, slot: bytes) -> None:
        directory, name = split(path)
        status = os.stat(slot, dir_fd=self._first, follow_symlinks=False)
        with files.Cursor(self._own, os.O_PATH) as upper, _times_kept(upper.go(directory)):
            os.rename(slot, name, src_dir_fd=self._first, dst_dir_fd=upper.fd)
            # Some file systems count a new parent as a change of the directory (xfs).
            times = status.st_atime_ns, status.st_mtime_ns
            os.utime(name, ns=times, dir_fd=upper.fd, follow_symlinks=False)

    def _clean(self, step: Step) -> None:
        """Take overlayfs' marks and whiteouts out of a slot, and make its directory one that can be moved."""
        slot = b"%d" % step.slot
        self._unmark(slot, b"")
        new = step.change.new
        if new is None or not new.is_dir:
            return
        with files.Cursor(self._first) as cursor:
            cursor.enter(slot)
            for name, status in files.walk(cursor):
                inner = b"/".join([*cursor.names, name])
                if stat.S_ISCHR(status.mode) and status.rdev == 0:
                    self._drop_whiteout(cursor.fd, name, inner)
                    continue
                self._unmark(inner, name, cursor.fd)
        if not self._rights.is_root and new.mode & 0o300 != 0o300:
            # Moving a directory changes its ".." and so needs the right to write it (rename(2)).
            self.modes[step.slot] = stat.S_IMODE(new.mode)
            files.chmod(self._first, slot, stat.S_IMODE(new.mode) | 0o700)
            self._back.append(functools.partial(files.chmod, self._first, slot, stat.S_IMODE(new.mode)))

    def _unmark(self, path: bytes, name: bytes, dir_fd: int | None = None) -> None:
        directory = self._first if dir_fd is None else dir_fd
        for key, value in files.xattrs(directory, name or path).items():
            if not key.startswith(inodes.OVERLAY):
                continue
            files.remove_xattr(directory, name or path, key)
            plain = inodes.unescape(key)
            if plain != key:
                files.set_xattr(directory, name or path, plain, value)
            self._back.append(functools.partial(self._mark, path, key, plain, value))

    def _mark(self, path: bytes, key: bytes, plain: bytes, value: bytes) -> None:
        directory, name = split(path)
        with files.Cursor(self._first, os.O_PATH) as cursor:
            fd = cursor.go(directory)
            if plain != key:
                files.remove_xattr(fd, name, plain)
            files.set_xattr(fd, name, key, value)

    def _drop_whiteout(self, dir_fd: int, name: bytes, path: bytes) -> None:
        with _times_kept(dir_fd):
            os.unlink(name, dir_fd=dir_fd)
        self._back.append(functools.partial(self._make_whiteout, path))

    def _make_whiteout(self, path: bytes) -> None:
        directory, name = split(path)
        with files.Cursor(self._first, os.O_PATH) as cursor, _times_kept(cursor.go(directory)):
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=cursor.fd)

    def _relink(self, path: bytes, base: Change) -> None:
        """Make a file of a new directory a link of the live file that it is a link of for the job."""
        aside = b"%s-link" % secrets.token_hex(8).encode()
        base_dir, base_name = split(base.live)
        with files.Cursor(self._live_fd, os.O_PATH) as live:
            os.link(base_name, aside, src_dir_fd=live.go(base_dir), dst_dir_fd=self.fd, follow_symlinks=False)
        self._exchange(path, aside)
        self._back.append(functools.partial(os.unlink, aside, dir_fd=self.fd))
        self._back.append(functools.partial(self._exchange, path, aside))

    def _exchange(self, path: bytes, aside: bytes) -> None:
        directory, name = split(path)
        with files.Cursor(self.fd, os.O_PATH) as cursor, _times_kept(cursor.go(directory)):
            files.renameat2(self.fd, aside, cursor.fd, name, files.RENAME_EXCHANGE)

    def sync(self, ready: Plan) -> None:
        """Put what is staged on disk before a name leads to it."""
        staged = [step for step in ready.steps if step.action in {Action.IN, Action.SWAP}]
        trees = any(step.change.new is not None and step.change.new.is_dir for step in staged)
        if trees or len(staged) > FEW:
            files.syncfs(self.fd)
            return
        for step in staged:
            sync_entry(self.fd, b"%d" % step.slot)


def _slot_path(path: bytes, slots: dict[bytes, int]) -> bytes:
    """Where a carried object is in the stage: beneath the slot of the directory that carries it."""
    inner: list[bytes] = []
    while path not in slots:
        path, name = split(path)
        inner.append(name)
    return b"/".join([b"%d" % slots[path], *reversed(inner)])


@contextlib.contextmanager
def _times_kept(dir_fd: int) -> Iterator[None]:
    """Keep the times of a directory while its entries change."""
    before = os.fstat(dir_fd)
    yield
    os.utime(files.inside(dir_fd), ns=(before.st_atime_ns, before.st_mtime_ns))


def sync_entry(dir_fd: int, name: bytes) -> None:
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


def links_inside(live_fd: int, wanted: set[int]) -> Iterator[int]:
    """Of the inodes ``wanted``, those whose every name lies in the tree at ``live_fd``; one walk of it, on demand."""
    found = dict.fromkeys(wanted, 0)
    with files.Cursor(live_fd) as cursor:
        for _, status in files.walk(cursor):
            if status.ino in found and stat.S_ISREG(status.mode):
                found[status.ino] += 1
                if found[status.ino] == status.nlink:
                    yield status.ino
