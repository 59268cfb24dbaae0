"""The layer's objects in one directory on the target's own file system, clean of overlayfs' marks, and the way back.

From there a step is a single rename. Everything here is told by the record alone and may be done twice: what is done
already is seen from where an inode is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from typing import Self

from cbx_sandbox.checkpoint import copying, inodes, rewriting
from cbx_sandbox.checkpoint.changes import Kind, split
from cbx_sandbox.checkpoint.layers import LayerSpec
from cbx_sandbox.checkpoint.plan import Action, Step
from cbx_sandbox.checkpoint.record import LayerWork
from cbx_sandbox.checkpoint.survey import arriving, placed
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files, removal, xattr
from cbx_sandbox.linux.credentials import Submitter

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HOME = b"trusted.cbx.stage"  # on the layer's stage: where in the target the objects are copied to
_HOME_NAME = re.compile(rb"\.cbx-[0-9a-f]{16}")


class StageError(CbxError):
    """The stage of a commit that was begun cannot be found."""


class Staging:
    """The stage of one layer, as the record has it. As root throughout."""

    def __init__(
        self, layer: LayerSpec, live_fd: int, rights: Submitter, work: LayerWork, ready: copying.Contents | None = None
    ) -> None:
        self.layer = layer
        self.work = work
        self._live_fd = live_fd
        self._rights = rights
        self._ready = ready  # contents that were copied ahead
        self._closing = contextlib.ExitStack()
        self._paths = {step.path: step.slot for step in work.steps if arriving(step)}
        self._home = -1
        self.fd = -1  # the directory of the slots, on the target's file system

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _open(self, path: str | bytes, dir_fd: int | None = None) -> int:
        fd = os.open(path, _DIRECTORY, dir_fd=dir_fd)
        self._closing.callback(os.close, fd)
        return fd

    # -- before the record --------------------------------------------------------------------------------------------

    def make(self) -> None:
        """Make the stage. Where the layer is on another file system, everything is copied into it now."""
        clear(self.layer, self._live_fd)
        root = self._open(self.layer.root)
        os.mkdir(b"stage", 0o700, dir_fd=root)
        own = self._open(b"stage", root)
        if self.layer.same_filesystem:
            self._take(own)
            self._keep()
            # On btrfs a record that is on disk says nothing of what was made beside it: the stage has to be there too.
            os.fsync(own)
            os.fsync(root)
            self.work = placed(self.work, os.fstat(own).st_ino, b"")
            return
        # Beside the target's own entries, out of everybody's reach: 0700 root around what the submitter may rename in.
        home = b".cbx-" + secrets.token_hex(8).encode()
        xattr.put(own, b"", _HOME, home)
        os.fsync(own)  # a crash must leave nothing in the live tree that nobody knows of
        with times_kept(self._live_fd):
            os.mkdir(home, 0o700, dir_fd=self._live_fd)
        self._home = self._open(home, self._live_fd)
        xattr.put(own, b"", _HOME, b"%s %d" % (home, os.fstat(self._home).st_ino))
        os.mkdir(b"stage", 0o700, dir_fd=self._home)
        self._take(self._open(b"stage", self._home))
        self._copy()
        self._keep()
        stage = os.fstat(self.fd).st_ino
        slots = {slot: self._inode(self.work.name_of(slot)) or 0 for slot in self.work.slots}
        marked = tuple((path, marks, self._at(self._staged(path)) or 0) for path, marks, _ in self.work.marked)
        self.work = placed(self.work, stage, home, slots, marked)

    def _take(self, fd: int) -> None:
        self.fd = fd
        os.fchown(fd, self._rights.uid, self._rights.gid)
        for directory in self.work.directories:
            os.mkdir(directory, 0o700, dir_fd=fd)
            os.chown(directory, self._rights.uid, self._rights.gid, dir_fd=fd)

    def _keep(self) -> None:
        """Keep the contents of what is written in place: the record is worth nothing without them."""
        with files.Cursor(self._live_fd, os.O_PATH) as live:
            for step in self.work.steps:
                if step.action is Action.REWRITE:
                    rewriting.keep(live, self.fd, step)

    def _copy(self) -> None:
        upper = self._open(self.layer.upper)
        steps = [step for step in self.work.steps if arriving(step) and step.change.kind is not Kind.RENAMED]
        with copying.Copier(upper, self.fd, self._ready) as copier:
            for step in steps:
                copier.copy(step.path, self.work.name_of(step.slot))
                if step.slot in self.work.modes:
                    files.chmod(self.fd, self.work.name_of(step.slot), self.work.modes[step.slot] | 0o700)
        with files.Cursor(self.fd, os.O_PATH) as stage:
            for path in self._paths:
                # What has a step of its own does not come with the directory around it.
                carrying = self._carrying(split(path)[0])
                if carrying in {step.path for step in steps}:
                    directory, name = split(self.work.name_of(self._paths[carrying]) + path[len(carrying) :])
                    with times_kept(stage.go(directory)):
                        removal.remove_tree(stage.fd, name)
        for path, base, inode in self.work.links:
            self._relink(path, base, inode)

    def _carrying(self, path: bytes) -> bytes:
        while path and path not in self._paths:
            path = split(path)[0]
        return path

    def _staged(self, path: bytes) -> bytes:
        """Where an object of the layer is in the stage: beneath the slot of the directory that carries it."""
        slot = self._paths.get(path)
        if slot is not None:
            return self.work.name_of(slot)
        carrying = self._carrying(path)
        return self.work.name_of(self._paths[carrying]) + path[len(carrying) :]

    # -- after the record, and again ----------------------------------------------------------------------------------

    def find(self) -> None:
        """Open the stage that the record speaks of. Raises StageError: it is not there, or another."""
        try:
            if self.work.home:
                self._home = self._open(self.work.home, self._live_fd)
                self.fd = self._open(b"stage", self._home)
            else:
                self.fd = self._open(f"{self.layer.root}/stage")
        except OSError as error:
            raise StageError(f"cannot find the stage of {self.layer.target}: {error.strerror}") from error
        if os.fstat(self.fd).st_ino != self.work.stage:
            raise StageError(f"cannot find the stage of {self.layer.target}: there is another in its place")

    def fill(self, *, again: bool = False) -> None:
        """Move the layer's objects into their slots and clean them; ``again`` expects to find some of it done."""
        if not self.layer.same_filesystem:
            return
        with files.Cursor(self._open(self.layer.upper)) as upper:
            # From the end: what is inside another object leaves it before that moves.
            for step in reversed(self.work.steps):
                if arriving(step):
                    self._move(upper, step, again=again)
        with files.Cursor(self.fd, os.O_PATH) as stage:
            for path, key, value in self.work.marks:
                if not again or self._waits(path):
                    self._unmark(stage, self._staged(path), key, value)
            for path in self.work.whiteouts:
                if self._waits(path):
                    directory, name = split(self._staged(path))
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=stage.go(directory))
            for path, *times in self.work.times:
                if path not in self._paths and self._carrying(path) and self._waits(path):
                    os.utime(files.inside(stage.go(self._staged(path))), ns=(times[0], times[1]))
        for slot, mode in self.work.modes.items():
            if self._inode(self.work.name_of(slot)) == self.work.slots.get(slot):
                files.chmod(self.fd, self.work.name_of(slot), mode | 0o700)
        for path, base, inode in self.work.links:
            if self._waits(path):
                self._relink(path, base, inode)

    def _waits(self, path: bytes) -> bool:
        """Whether the slot that ``path`` is in has not gone live yet."""
        slot = self._paths[self._carrying(path)]
        return self._inode(self.work.name_of(slot)) == self.work.slots[slot]

    def _slot_of(self, step: Step) -> bytes:
        return b"%d-left" % step.slot if step.change.kind is Kind.RENAMED else self.work.name_of(step.slot)

    def _inode(self, name: bytes) -> int | None:
        return inode_at(self.fd, name)

    def _move(self, upper: files.Cursor, step: Step, *, again: bool) -> None:
        directory, name = split(step.path)
        try:
            fd = upper.go(directory)
            there = again and inode_at(fd, name) != self.work.slots[step.slot]
        except OSError as error:
            if not (again and files.leads_elsewhere(error)):
                raise
            return  # it went with the directory around it
        if not there:
            files.renameat2(fd, name, self.fd, self._slot_of(step), files.RENAME_NOREPLACE)

    @staticmethod
    def _unmark(stage: files.Cursor, path: bytes, key: bytes, value: bytes) -> None:
        directory, name = split(path)
        fd = stage.go(directory)
        plain = inodes.unescape(key)
        if plain != key:
            xattr.put(fd, name, plain, value)
        try:
            xattr.remove(fd, name, key)
        except OSError as error:
            if error.errno != errno.ENODATA:  # by an earlier process, or by another name of the same file
                raise

    def _aside(self, path: bytes) -> bytes:
        # A name of its own for each: a path can be longer than a name may be.
        return b"link-%d" % [link[0] for link in self.work.links].index(path)

    def _relink(self, path: bytes, base: bytes, inode: int) -> None:
        """Make a file of a new directory a link of the live file that it is a link of for the job."""
        staged, aside = self._staged(path), self._aside(path)
        if self._is_at(staged, inode):
            return
        base_dir, base_name = split(base)
        with files.Cursor(self._live_fd, os.O_PATH) as live, contextlib.suppress(FileExistsError):
            os.link(base_name, aside, src_dir_fd=live.go(base_dir), dst_dir_fd=self.fd, follow_symlinks=False)
        self._exchange(staged, aside)

    def _is_at(self, staged: bytes, inode: int) -> bool:
        return self._at(staged) == inode

    def _at(self, staged: bytes) -> int | None:
        directory, name = split(staged)
        with files.Cursor(self.fd, os.O_PATH) as stage:
            return inode_at(stage.go(directory), name)

    def _exchange(self, path: bytes, aside: bytes) -> None:
        directory, name = split(path)
        with files.Cursor(self.fd, os.O_PATH) as cursor, times_kept(cursor.go(directory)):
            files.renameat2(self.fd, aside, cursor.fd, name, files.RENAME_EXCHANGE)

    # -- the way back -------------------------------------------------------------------------------------------------

    def empty(self) -> None:
        """Make the layer what it was before :meth:`fill`. The live tree has given everything back by then."""
        if self.layer.same_filesystem:
            self._unlink()
            with files.Cursor(self._open(self.layer.upper), os.O_PATH) as upper:
                for step in self.work.steps:
                    if arriving(step):
                        self._move_back(upper, step)
                self._mark_again(upper)
        self.remove()

    def _unlink(self) -> None:
        for path, _, inode in self.work.links:
            if not self._waits(path):
                continue
            if self._is_at(self._staged(path), inode):
                self._exchange(self._staged(path), self._aside(path))

    def _move_back(self, upper: files.Cursor, step: Step) -> None:
        directory, name = split(step.path)
        slot = self._slot_of(step)
        if self._inode(slot) == self.work.slots[step.slot]:
            files.renameat2(self.fd, slot, upper.go(directory), name, files.RENAME_NOREPLACE)

    def _mark_again(self, upper: files.Cursor) -> None:
        for path in self.work.whiteouts:
            directory, name = split(path)
            with contextlib.suppress(FileExistsError):
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=upper.go(directory))
        for path, key, value in self.work.marks:
            directory, name = split(path)
            fd = upper.go(directory)
            xattr.put(fd, name, key, value)
            plain = inodes.unescape(key)
            if plain != key and plain in xattr.every(fd, name):
                xattr.remove(fd, name, plain)
        for path, slot in self._paths.items():
            if slot in self.work.modes and self.work.slots[slot] == inode_at(upper.go(split(path)[0]), split(path)[1]):
                files.chmod(upper.fd, split(path)[1], self.work.modes[slot])
        for path, *times in sorted(self.work.times, key=lambda entry: len(entry[0]), reverse=True):
            os.utime(files.inside(upper.go(path)), ns=(times[0], times[1]))

    def remove(self) -> None:
        """Remove the stage and all in it."""
        self.leave_home()
        clear(self.layer, self._live_fd)

    def leave_home(self) -> None:
        """What was taken out of the target goes with the directory that was made there."""
        if self._home >= 0:
            _remove_home(self._live_fd, self._home_name(), self._home)

    def _home_name(self) -> bytes:
        own = os.open(f"{self.layer.root}/stage", _DIRECTORY)
        try:
            return xattr.every(own).get(_HOME, b"").split(b" ")[0]
        finally:
            os.close(own)


def clear(layer: LayerSpec, live_fd: int) -> None:
    """Remove a stage, also what a commit that was cut short before its record left of one."""
    try:
        own = os.open(f"{layer.root}/stage", _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        home, _, inode = xattr.every(own).get(_HOME, b"").partition(b" ")
    finally:
        os.close(own)
    if _HOME_NAME.fullmatch(home):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), files.directory(home, dir_fd=live_fd) as fd:
            # The owner of the target may have put something else in its place: only what was made here is emptied.
            if os.fstat(fd).st_ino == int(inode or 0):
                _remove_home(live_fd, home, fd)
            elif not inode and os.fstat(fd).st_uid == 0:
                with contextlib.suppress(OSError):  # made, and not yet on record: then it is empty
                    os.rmdir(home, dir_fd=live_fd)
    root = os.open(layer.root, _DIRECTORY)
    try:
        removal.remove_tree(root, b"stage")
    finally:
        os.close(root)


def _remove_home(live_fd: int, home: bytes, home_fd: int) -> None:
    removal.remove_beneath(home_fd)
    with times_kept(live_fd), contextlib.suppress(OSError):
        if os.path.samestat(os.stat(home, dir_fd=live_fd, follow_symlinks=False), os.fstat(home_fd)):
            os.rmdir(home, dir_fd=live_fd)


def inode_at(dir_fd: int, name: bytes) -> int | None:
    """The inode that has a name, or None."""
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextlib.contextmanager
def times_kept(dir_fd: int) -> Iterator[None]:
    """Keep the times of a directory while its entries change."""
    before = os.fstat(dir_fd)
    yield
    os.utime(files.inside(dir_fd), ns=(before.st_atime_ns, before.st_mtime_ns))
