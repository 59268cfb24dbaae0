"""The steps of one layer taken back, the last one first. The record is all that it goes by.

What is done is seen from which inode is where, so it may be called after any number of the steps, and twice. Nothing
that somebody else has put into the place of a committed object is touched: such names are listed in ``stuck``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Collection, Iterator
from typing import Self

from msgspec.structs import replace

from cbx_sandbox.checkpoint import attributes, rewriting
from cbx_sandbox.checkpoint.changes import Kind, Meta, split
from cbx_sandbox.checkpoint.inodes import aspects, read_live
from cbx_sandbox.checkpoint.places import Doors, protect, rights_for, rights_to_write, set_time, shut
from cbx_sandbox.checkpoint.plan import Action, Step
from cbx_sandbox.checkpoint.record import LayerWork, closed, outgoing
from cbx_sandbox.checkpoint.rewriting import Back
from cbx_sandbox.checkpoint.stage import inode_at
from cbx_sandbox.linux import files
from cbx_sandbox.linux.credentials import ROOT, Submitter, acting_as


class Retractor:
    """Takes back the steps of one layer, with the rights of the calling thread; ``rights`` are the submitter's.

    ``begun`` are the slots of what was begun to be written in place, from the process that has done so; None: anything
    may have been. A change time is no proof: after a power cut the disk may have new contents with an old one.
    """

    def __init__(
        self, live_fd: int, stage_fd: int, rights: Submitter, work: LayerWork, begun: Collection[int] | None = None
    ) -> None:
        self._live_fd = live_fd
        self._stage_fd = stage_fd
        self._rights = rights
        self._work = work
        self._begun = begun
        self._doors = Doors(live_fd, work, rights)
        self.stuck: list[bytes] = []
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
        """Take back everything that was done."""
        for path, inode in self._marked():
            with acting_as(ROOT) if self._rights.is_root else contextlib.nullcontext(), contextlib.suppress(OSError):
                protect(self._live, path, 0, inode)
        for step in reversed(self._work.steps):
            if step.action in {Action.OUT, Action.IN, Action.SWAP}:
                self._cut()  # from here on directories change their names; what needs room is behind us
            with _naming(step):
                self._actions[step.action](step)
        self._cut()
        for parent in sorted(self._work.parents, key=lambda parent: len(parent.source), reverse=True):
            set_time(self._live, parent.source, parent.mtime_ns)
        self._doors.close_before()
        self._protect_again()

    def _marked(self) -> Iterator[tuple[bytes, int]]:
        """What the commit may have marked and would be in the way: a directory's mark forbids all steps in it."""
        for path, _, inode in self._work.marked:
            yield path, inode
        for step in self._work.steps:
            new = step.change.new
            if new is not None and new.is_dir and new.attributes:
                yield step.path, self._work.incoming(step) or (step.change.old or new).inode

    def _cut(self) -> None:
        longer, self._longer = self._longer, []
        for step in longer:
            with _naming(step):
                self._write(step, cut=True)

    def _at(self, path: bytes) -> tuple[int, bytes] | None:
        directory, name = split(path)
        try:
            fd = self._live.go(directory)
        except PermissionError:
            fd = self._doors.way(self._live, directory)
        except OSError as error:
            if not files.leads_elsewhere(error):
                raise
            return None  # its directory is still in the stage, or is no more
        self._doors.open(directory, fd)
        return fd, name

    def _slot(self, step: Step) -> int | None:
        return inode_at(self._stage_fd, self._work.name_of(step.slot))

    def _unprotect(self, step: Step, fd: int, name: bytes, inode: int) -> None:
        new = step.change.new
        if new is not None and new.attributes and inode_at(fd, name) == inode:
            with acting_as(ROOT) if self._rights.is_root else contextlib.nullcontext():
                attributes.protect(fd, name, 0, inode)

    def _out(self, step: Step) -> None:
        place, slot = self._at(step.path), self._work.name_of(step.slot)
        if place is None:
            return
        fd, name = place
        old = step.change.old
        if self._slot(step) is not None:
            self._movable(slot, old)
            try:
                files.renameat2(self._stage_fd, slot, fd, name, files.RENAME_NOREPLACE)
            except FileExistsError:
                self.stuck.append(step.path)
                return
            self._settle(fd, name, old)
        elif old is not None and old.is_dir and step.change.kind is not Kind.RENAMED and inode_at(fd, name) is None:
            self._make_again(fd, name, old)
        elif old is not None and inode_at(fd, name) == old.inode:
            self._settle(fd, name, old)

    def _in(self, step: Step) -> None:
        place = self._at(step.path)
        if place is None or self._slot(step) is not None:
            return
        fd, name = place
        incoming = self._work.incoming(step)
        if inode_at(fd, name) != incoming:
            return
        self._unprotect(step, fd, name, incoming)
        self._movable_live(fd, name, incoming)
        with rights_for(step.change):
            files.renameat2(fd, name, self._stage_fd, self._work.name_of(step.slot), files.RENAME_NOREPLACE)

    def _swap(self, step: Step) -> None:
        place, slot = self._at(step.path), self._work.name_of(step.slot)
        if place is None:
            return
        fd, name = place
        incoming, old = self._work.incoming(step), outgoing(step)
        here, there = self._slot(step), inode_at(fd, name)
        if here is not None and here != incoming:
            if there not in {incoming, None}:
                self.stuck.append(step.path)
                return
            self._movable(slot, old)
            if there == incoming:
                self._unprotect(step, fd, name, incoming)
                self._movable_live(fd, name, incoming)
                with rights_to_write(step, self._rights, fd, name):
                    files.renameat2(self._stage_fd, slot, fd, name, files.RENAME_EXCHANGE)
            else:
                with rights_for(step.change):
                    files.renameat2(self._stage_fd, slot, fd, name, files.RENAME_NOREPLACE)
        self._settle(fd, name, old)

    def _link(self, step: Step) -> None:
        if outgoing(step) is None:
            self._in(step)
        else:
            self._swap(step)
        if self._slot(step) == step.base_inode:
            os.unlink(self._work.name_of(step.slot), dir_fd=self._stage_fd)

    def _set(self, step: Step) -> None:
        place, old, new = self._at(step.path), step.change.old, step.change.new
        if place is None or old is None or new is None:
            return
        fd, name = place
        # Somebody has put another object there: that is not ours to change.
        with contextlib.suppress(attributes.SwappedError, FileNotFoundError):
            now = read_live(fd, name)
            if now is not None and now.inode == old.inode and not aspects(old, now):
                return
            self._unprotect(step, fd, name, old.inode)
            with rights_to_write(step, self._rights, fd, name):
                attributes.change(fd, name, new, old, old.inode)

    def _write(self, step: Step, *, cut: bool = False) -> None:
        if self._begun is not None and step.slot not in self._begun:
            return
        place, old, new = self._at(step.path), step.change.old, step.change.new
        if place is None or old is None or new is None:
            return
        fd, name = place
        now = read_live(fd, name)
        if now is None or now.inode != old.inode:
            return  # somebody has put another object there
        self._unprotect(step, fd, name, old.inode)
        with contextlib.suppress(attributes.SwappedError), rights_to_write(step, self._rights, fd, name):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if opened := shut(status, self._rights):
                attributes.chmod(fd, name, stat.S_IMODE(status.st_mode) | stat.S_IWUSR, old.inode)
            begin = functools.partial(rewriting.narrow, step, self._rights, fd, name)
            slot = self._work.name_of(step.slot)
            found = rewriting.back(self._stage_fd, slot, fd, name, step, cut=cut, begin=begin)
            if found is Back.FOREIGN:
                self.stuck.append(step.path)
            elif found is Back.LONGER:
                self._longer.append(step)
            elif found is Back.WRITTEN or opened or aspects(old, now):
                attributes.change(fd, name, new, old, old.inode)

    # -- around a rename ----------------------------------------------------------------------------------------------

    def _movable(self, slot: bytes, old: Meta | None) -> None:
        if old is not None and old.is_dir and closed(old.mode, old.uid, self._rights):
            with contextlib.suppress(FileNotFoundError):
                files.chmod(self._stage_fd, slot, stat.S_IMODE(old.mode) | 0o300)

    def _movable_live(self, fd: int, name: bytes, inode: int) -> None:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode) and closed(status.st_mode, status.st_uid, self._rights):
            attributes.chmod(fd, name, stat.S_IMODE(status.st_mode) | 0o300, inode)

    def _settle(self, fd: int, name: bytes, old: Meta | None) -> None:
        """A directory that is back has its time and mode: some file systems count a new parent as a change (xfs)."""
        if old is None or not old.is_dir or inode_at(fd, name) != old.inode:
            return
        with contextlib.suppress(attributes.SwappedError):
            if old.attributes:  # an earlier process may have marked it again already
                with acting_as(ROOT) if self._rights.is_root else contextlib.nullcontext():
                    attributes.protect(fd, name, 0, old.inode)
            if closed(old.mode, old.uid, self._rights):
                attributes.chmod(fd, name, stat.S_IMODE(old.mode), old.inode)
        attributes.set_mtime(fd, name, old.mtime_ns)

    def _make_again(self, fd: int, name: bytes, old: Meta) -> None:
        os.mkdir(name, 0o700, dir_fd=fd)
        made = files.statx(fd, name)
        bare = replace(old, uid=made.uid, gid=made.gid, xattrs=())
        attributes.change(fd, name, bare, old, made.ino)

    def _protect_again(self) -> None:
        for step in self._work.steps:
            old = outgoing(step)
            if old is None or not old.attributes:
                continue
            with acting_as(ROOT) if self._rights.is_root else contextlib.nullcontext():
                self._protect(step.path, old)

    def _protect(self, path: bytes, old: Meta) -> None:
        try:
            protect(self._live, path, old.attributes, old.inode)
        except PermissionError:
            return  # only root's jobs clear such marks, so this one has not
        except OSError as error:
            if not files.leads_elsewhere(error):
                raise


@contextlib.contextmanager
def _naming(step: Step) -> Iterator[None]:
    """Errors have the step's path."""
    try:
        yield
    except OSError as error:
        error.filename = step.path
        raise
