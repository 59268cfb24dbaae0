"""The steps of one layer, done to the live tree in order.

Everything here runs with the submitter's rights, so the kernel refuses what the submitter could not do; the few places
that need more say so. Each name is checked when its turn comes, and what comes out is checked again: if it is not what
was verified, it stays with the stage and the commit is taken back as a conflict. The record is all that it goes by, and
a step that an earlier process has done is seen from which inode is in its slot.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Self

from cbx_sandbox.checkpoint import attributes, homes, rewriting
from cbx_sandbox.checkpoint.changes import Kind, Meta, split
from cbx_sandbox.checkpoint.conflicts import CHANGED, GONE, MADE, PARENT, REPLACED
from cbx_sandbox.checkpoint.places import (
    LAYERS,
    Doors,
    RacedError,
    protect,
    rights_for,
    rights_to_write,
    set_time,
    shut,
)
from cbx_sandbox.checkpoint.plan import IN_PLACE, Action, Step
from cbx_sandbox.checkpoint.record import LayerWork, closed, metas, outgoing
from cbx_sandbox.checkpoint.stage import inode_at
from cbx_sandbox.linux import files, xattr
from cbx_sandbox.linux.credentials import ROOT, Submitter, acting_as


class Applier:
    """Does the steps of one layer. Use it inside ``acting_as(rights)``.

    ``again``: some of them may be done, by a process that was killed; change times of before are no proof then.
    ``begun`` gets the slots of the steps that have begun to change a file in place.
    """

    def __init__(
        self, live_fd: int, stage_fd: int, rights: Submitter, work: LayerWork, begun: set[int], *, again: bool = False
    ) -> None:
        self._live_fd = live_fd
        self._stage_fd = stage_fd
        self._rights = rights
        self._work = work
        self._begun = begun
        self._again = again
        self._doors = Doors(live_fd, work, rights)
        self._touched = self._doors.opened  # inodes whose change time is our own doing
        self._parents: set[bytes] = set()
        self._entered = -1  # which move of the cursor brought the last step to its directory
        self._marked: list[tuple[bytes, int, int]] = []  # path, marks, inode
        self._longer: list[Step] = []  # files written in place that are to be cut off
        self._actions = {
            Action.OUT: self._out,
            Action.IN: self._in,
            Action.SWAP: self._swap,
            Action.LINK: self._link,
            Action.SET: self._set,
            Action.REWRITE: self._write,
            Action.APPEND: self._write,
        }

    def __enter__(self) -> Self:
        self._live = files.Cursor(self._live_fd, os.O_PATH)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.close()

    def run(self) -> None:
        """Do all steps. Raises RacedError or OSError: take back what was done then."""
        for step in self._work.steps:
            with _naming(step):
                self._actions[step.action](step)

    def cut(self) -> None:
        """Cut off what is longer than it is to be, when all steps of all layers are done. Raises as run does."""
        for step in self._longer:
            with _naming(step):
                self._write(step, cut=True)

    def finish(self) -> None:
        """Give directories the times and modes that they have for the job; marks that forbid changes come last."""
        for path, mtime_ns in self._work.ends:
            set_time(self._live, path, mtime_ns)
        self._doors.close()
        for path, marks, inode in (*self._marked, *self._work.marked):
            with acting_as(ROOT) if self._rights.is_root else contextlib.nullcontext():
                protect(self._live, path, marks, inode)

    # -- getting there ------------------------------------------------------------------------------------------------

    def _enter(self, step: Step) -> tuple[int, bytes]:
        """The directory that holds the step's path, checked to be the one that the job saw."""
        directory, name = split(step.path)
        try:
            fd = self._live.go(directory)
        except PermissionError:
            fd = self._doors.way(self._live, directory)
        except OSError as error:
            if not files.leads_elsewhere(error):
                raise
            raise RacedError(step.path, PARENT) from error
        if self._entered == self._live.moves:
            return fd, name  # the same directory as the step before, and nobody has left it in between
        if directory not in self._parents:
            expected = (
                step.change.parent if not (step.action is Action.OUT and step.change.kind is Kind.RENAMED) else b""
            )
            handle = files.file_handle(fd)
            if expected and handle and handle != expected and step.change.path not in self._work.wins:
                raise RacedError(step.path, PARENT)
            self._parents.add(directory)
        self._touched.add(os.fstat(fd).st_ino)
        self._doors.open(directory, fd)
        self._entered = self._live.moves
        return fd, name

    def _expect(self, step: Step, fd: int, name: bytes, old: Meta | None) -> os.stat_result:
        """Look at the live object once more: it must be the inode that was verified, unchanged but by ourselves."""
        try:
            status = os.stat(name or files.inside(fd), dir_fd=fd if name else None, follow_symlinks=not name)
        except FileNotFoundError:
            raise RacedError(step.path, GONE) from None
        if old is None or status.st_ino != old.inode:
            raise RacedError(step.path, REPLACED)
        if status.st_ctime_ns != old.ctime_ns and status.st_ino not in self._touched and not self._again:
            raise RacedError(step.path, CHANGED)
        self._touched.add(status.st_ino)
        return status

    def _unprotect(self, step: Step, fd: int, name: bytes, old: Meta | None) -> None:
        """Clear the marks that forbid the step; only root's jobs can have done so. They come again at the end."""
        new = step.change.new
        marks = 0 if old is None else old.attributes
        stays = step.action in {Action.SET, *IN_PLACE}
        if self._again and stays and new is not None:
            marks |= new.attributes  # an earlier process may have come to the end
        if old is None or not marks or _appends(step):
            return
        if old.is_file and old.nlink > 1 and not stays:
            raise PermissionError(errno.EPERM, "it has other names, under which it would lose its mark")
        attributes.protect(fd, name, 0, old.inode)
        self._touched.add(old.inode)

    def _slot(self, step: Step) -> int | None:
        """Which inode is in the step's slot."""
        return inode_at(self._stage_fd, self._work.name_of(step.slot))

    # -- the steps ----------------------------------------------------------------------------------------------------

    def _out(self, step: Step) -> None:
        slot, old = self._work.name_of(step.slot), step.change.old
        if self._again and not self._is_live(step, old):
            self._came_out(step, slot, old)
            return
        fd, name = self._enter(step)
        status = self._expect(step, fd, name, old)
        self._unprotect(step, fd, name, old)
        self._make_movable(fd, name, status)
        try:
            files.renameat2(fd, name, self._stage_fd, slot, files.RENAME_NOREPLACE)
        except PermissionError:
            if not stat.S_ISDIR(status.st_mode) or step.change.kind is Kind.RENAMED:
                raise
            # Somebody else's empty directory may be removed by who may not move it.
            os.rmdir(name, dir_fd=fd)
            return
        self._came_out(step, slot, old)

    def _is_live(self, step: Step, old: Meta | None) -> bool:
        """Whether what leaves is still there: it is neither in its slot nor, being moved, in its new place."""
        if old is None or self._slot(step) is not None:
            return False
        directory, name = split(step.path)
        try:
            return inode_at(self._live.go(directory), name) == old.inode
        except PermissionError:
            return inode_at(self._doors.way(self._live, directory), name) == old.inode
        except OSError as error:
            if not files.leads_elsewhere(error):
                raise
            return False

    def _in(self, step: Step) -> None:
        if not self._done(step):
            fd, name = self._enter(step)
            try:
                with rights_for(step.change):
                    files.renameat2(self._stage_fd, self._work.name_of(step.slot), fd, name, files.RENAME_NOREPLACE)
            except FileExistsError:
                raise RacedError(step.path, MADE) from None
        self._came_in(step)

    def _swap(self, step: Step) -> None:
        slot, old = self._work.name_of(step.slot), outgoing(step)
        if not self._done(step):
            fd, name = self._enter(step)
            status = self._expect(step, fd, name, old)
            self._unprotect(step, fd, name, old)
            self._make_movable(fd, name, status)
            with rights_to_write(step, self._rights, fd, name):
                files.renameat2(self._stage_fd, slot, fd, name, files.RENAME_EXCHANGE)
        self._came_out(step, slot, old)
        self._came_in(step)

    def _done(self, step: Step) -> bool:
        return self._again and self._slot(step) != self._work.incoming(step)

    def _link(self, step: Step) -> None:
        slot, here = self._work.name_of(step.slot), self._slot(step) if self._again else None
        over = outgoing(step)
        gone_live = here is None and self._again and over is None and self._lands(step)
        if here is None and not gone_live:
            base_dir, base_name = split(step.base)
            with files.Cursor(self._live_fd, os.O_PATH) as cursor:
                directory = cursor.go(base_dir)
                os.link(base_name, slot, src_dir_fd=directory, dst_dir_fd=self._stage_fd, follow_symlinks=False)
        if not gone_live:
            self._touched.add(os.stat(slot, dir_fd=self._stage_fd, follow_symlinks=False).st_ino)
        if over is None:
            self._in(step)
        else:
            self._swap(step)

    def _lands(self, step: Step) -> bool:
        directory, name = split(step.path)
        try:
            return inode_at(self._live.go(directory), name) == step.base_inode
        except OSError as error:
            if not files.leads_elsewhere(error):
                raise
            return False

    def _set(self, step: Step) -> None:
        fd, name, status = self._staying(step)
        old, new = metas(step)
        with rights_to_write(step, self._rights, fd, name):
            if old.xattrs != new.xattrs and not new.is_symlink and shut(status, self._rights):
                attributes.chmod(fd, name, stat.S_IMODE(status.st_mode) | stat.S_IWUSR, old.inode)
            # The mode may be one that was opened up on the way; what is wanted is the difference to what the job saw.
            attributes.change(fd, name, old, new, old.inode)
        self._doors.set(step.path)
        self._mark(step)

    def _write(self, step: Step, *, cut: bool = False) -> None:
        fd, name, status = self._staying(step)
        old, new = metas(step)
        with rights_to_write(step, self._rights, fd, name):
            if shut(status, self._rights):
                self._begun.add(step.slot)
                attributes.chmod(fd, name, stat.S_IMODE(status.st_mode) | stat.S_IWUSR, old.inode)

            def begin() -> None:
                self._begun.add(step.slot)
                rewriting.narrow(step, self._rights, fd, name)

            slot = self._work.name_of(step.slot)
            again = self._again or cut
            longer = rewriting.forward(self._stage_fd, slot, fd, name, step, again=again, cut=cut, begin=begin)
            self._begun.add(step.slot)
            if longer:
                self._longer.append(step)
                return
            # What is append-only takes no other time than that of the writing, and no other metadata.
            if not rewriting.only_appends(step):
                attributes.change(fd, name, old, new, old.inode)
        self._mark(step)

    def _staying(self, step: Step) -> tuple[int, bytes, os.stat_result]:
        """The live object that keeps its inode, without the mark that the job has cleared, and what it was like."""
        fd, name = self._enter(step)
        old, _ = metas(step)
        status = self._expect(step, fd, name, old)
        self._unprotect(step, fd, name, old)
        return fd, name, status

    def _mark(self, step: Step) -> None:
        """The marks of what keeps its inode come at the end, also those that are the same as before."""
        old, new = metas(step)
        if new.attributes and not (_appends(step) and new.attributes == old.attributes):
            self._marked.append((step.path, new.attributes, old.inode))

    # -- around a rename ----------------------------------------------------------------------------------------------

    def _make_movable(self, fd: int, name: bytes, status: os.stat_result) -> None:
        """Let a directory of the submitter's be moved: that changes its ".." and so needs the right to write it."""
        if stat.S_ISDIR(status.st_mode) and closed(status.st_mode, status.st_uid, self._rights):
            attributes.chmod(fd, name, stat.S_IMODE(status.st_mode) | 0o300, status.st_ino)

    def _came_out(self, step: Step, slot: bytes, old: Meta | None) -> None:
        try:
            status = os.stat(slot, dir_fd=self._stage_fd, follow_symlinks=False)
        except FileNotFoundError:
            if self._again:
                return  # it was removed, or has moved on to its new place
            raise
        taken = step.change.kind is Kind.RENAMED and step.action is Action.OUT
        if old is None or status.st_ino != old.inode:
            if self._again and taken:
                return
            raise RacedError(step.path, REPLACED)
        if not stat.S_ISDIR(status.st_mode) or taken:
            return
        if closed(old.mode, old.uid, self._rights):
            files.chmod(self._stage_fd, slot, stat.S_IMODE(old.mode))
        if not self._again:
            self._nothing_new(step, slot)

    def _nothing_new(self, step: Step, slot: bytes) -> None:
        """What went out as a whole is out of reach by name now, so this look is the last word on it."""
        with acting_as(ROOT), files.Cursor(self._stage_fd) as cursor:
            cursor.enter(slot)
            for name, status in files.walk(cursor):
                if name == LAYERS and homes.is_marked(xattr.every(cursor.fd, name).items()):
                    raise RacedError(step.path, "cbx keeps the changes of jobs in it")
                late = status.ctime_ns >= self._work.t0 and step.change.path not in self._work.wins
                if late and status.ino not in self._touched:
                    raise RacedError(step.path, CHANGED)

    def _came_in(self, step: Step) -> None:
        incoming = self._work.incoming(step)
        new, mode = step.change.new, self._work.modes.get(step.slot)
        self._touched.add(incoming)
        if mode is not None:
            directory, name = split(step.path)
            try:
                attributes.chmod(self._live.go(directory), name, mode, incoming)
            except OSError as error:
                if not (self._again and error.errno in {errno.ESTALE, errno.ENOENT}):
                    raise
        if new is not None and new.attributes:
            self._marked.append((step.path, new.attributes, incoming))


def _appends(step: Step) -> bool:
    """Whether a file is written to that is append-only throughout: its mark is no matter of the step."""
    return step.action in IN_PLACE and rewriting.only_appends(step)


@contextlib.contextmanager
def _naming(step: Step) -> Iterator[None]:
    """Errors have the step's path."""
    try:
        yield
    except attributes.SwappedError as error:
        raise RacedError(step.path, REPLACED) from error
    except OSError as error:
        error.filename = step.path
        raise


def explain(error: OSError) -> str:
    """An error of the kernel's in one line."""
    return os.strerror(error.errno) if error.errno else str(error)


REFUSALS = frozenset({errno.EPERM, errno.EACCES, errno.EROFS})
