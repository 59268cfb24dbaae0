"""The steps of one layer, done to the live tree in order, each of them reversible while this process lives.

Everything here runs with the submitter's rights, so the kernel refuses what the submitter could not do; the few places
that need more say so. Each name is checked when its turn comes, and what comes out is checked again: if it is not what
was verified, it goes back and the commit ends as a conflict.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Callable, Sequence
from typing import Self

from cbx_sandbox.checkpoint import attributes, homes
from cbx_sandbox.checkpoint.changes import Change, Kind, Meta, split
from cbx_sandbox.checkpoint.conflicts import CHANGED, GONE, MADE, PARENT, REPLACED
from cbx_sandbox.checkpoint.stage import FEW, Action, Staging, Step, sync_entry
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files
from cbx_sandbox.linux.credentials import ROOT, Submitter, acting_as, may_write

_LAYERS = os.fsencode(homes.OWN_DIRECTORY)
_SETID = stat.S_ISUID | stat.S_ISGID


class RacedError(CbxError):
    """The live tree changed between the check and the step; nothing is left changed."""

    def __init__(self, path: bytes, reason: str) -> None:
        super().__init__(f"cannot commit: {reason}")
        self.path = path
        self.reason = reason


class Applier:
    """Does the steps of one layer. Use it inside ``acting_as(rights)``, but :meth:`undo` as root."""

    def __init__(
        self, live_fd: int, staging: Staging, rights: Submitter, t0: int, wins: frozenset[bytes] = frozenset()
    ) -> None:
        self._live_fd = live_fd
        self._staging = staging
        self._stage_fd = staging.fd
        self._rights = rights
        self._t0 = t0
        self._wins = wins  # paths of changes that stand whatever somebody else did there since
        self._undo: list[Callable[[], None]] = []
        self._touched: set[int] = set()  # inodes whose change time is our own doing
        self._parents: dict[bytes, tuple[int, int]] = {}  # modification and change time before the first step
        self._loosened: dict[
            bytes, int
        ] = {}  # directories of the submitter's that were not open to him, and their modes
        self._marked: list[tuple[bytes, int, int]] = []  # path, marks, inode
        self._actions = {
            Action.OUT: self._out,
            Action.IN: self._in,
            Action.SWAP: self._swap,
            Action.LINK: self._link,
            Action.SET: self._set,
        }

    def __enter__(self) -> Self:
        self._live = files.Cursor(self._live_fd, os.O_PATH)
        if self._staging.root_times is not None:
            self._parents[b""] = self._staging.root_times
        return self

    def __exit__(self, *_: object) -> None:
        self._live.close()

    def run(self, steps: Sequence[Step]) -> None:
        """Do all ``steps``. Raises RacedError or OSError; call :meth:`undo` then."""
        for step in steps:
            try:
                self._actions[step.action](step)
            except attributes.SwappedError as error:
                raise RacedError(step.path, REPLACED) from error
            except OSError as error:
                error.filename = step.path
                raise

    def undo(self) -> None:
        """Take everything back, the last step first."""
        while self._undo:
            self._undo.pop()()
        for path in sorted(self._parents, key=len, reverse=True):
            self._restore_time(path, self._parents[path][0])

    # -- getting there ------------------------------------------------------------------------------------------------

    def _enter(self, step: Step) -> tuple[int, bytes]:
        """The directory that holds the step's path, checked to be the one that the job saw."""
        directory, name = split(step.path)
        try:
            fd = self._live.go(directory)
        except PermissionError:
            fd = self._open_up(directory)
        except OSError as error:
            raise RacedError(step.path, PARENT) from error
        status = os.fstat(fd)
        if directory not in self._parents:
            expected = (
                step.change.parent if not (step.action is Action.OUT and step.change.kind is Kind.RENAMED) else b""
            )
            handle = files.file_handle(fd)
            if expected and handle and handle != expected and step.change.path not in self._wins:
                raise RacedError(step.path, PARENT)
            self._parents[directory] = status.st_mtime_ns, status.st_ctime_ns
        self._touched.add(status.st_ino)
        if self._closed(status):
            self._loosen(directory, fd, status)
        return fd, name

    def _closed(self, status: os.stat_result) -> bool:
        """A directory of the submitter's own that its mode keeps him out of: he could open it, so it is opened."""
        return not self._rights.is_root and status.st_uid == self._rights.uid and status.st_mode & 0o300 != 0o300

    def _open_up(self, directory: bytes) -> int:
        names = directory.split(b"/")
        for depth in range(len(names) + 1):
            path = b"/".join(names[:depth])
            fd = self._live.go(path)
            status = os.fstat(fd)
            if self._closed(status):
                self._loosen(path, fd, status)
        return self._live.fd

    def _loosen(self, path: bytes, fd: int, status: os.stat_result) -> None:
        mode = stat.S_IMODE(status.st_mode)
        os.chmod(files.inside(fd), mode | 0o300)
        self._touched.add(status.st_ino)
        self._loosened[path] = mode
        self._undo.append(functools.partial(self._chmod, path, mode))

    def _chmod(self, path: bytes, mode: int) -> None:
        with files.Cursor(self._live_fd, os.O_PATH) as cursor:
            os.chmod(files.inside(cursor.go(path)), mode)

    def _expect(self, step: Step, fd: int, name: bytes, old: Meta | None) -> os.stat_result:
        """Look at the live object once more: it must be the inode that was verified, unchanged but by ourselves."""
        try:
            status = os.stat(name or files.inside(fd), dir_fd=fd if name else None, follow_symlinks=not name)
        except FileNotFoundError:
            raise RacedError(step.path, GONE) from None
        if old is None or status.st_ino != old.inode:
            raise RacedError(step.path, REPLACED)
        if status.st_ctime_ns != old.ctime_ns and status.st_ino not in self._touched:
            raise RacedError(step.path, CHANGED)
        self._touched.add(status.st_ino)
        return status

    def _rights_for(self, change: Change) -> contextlib.AbstractContextManager[None]:
        # Allowed by name (commit has checked it), and nothing that the submitter's own rights reach.
        if any(flag.privileged for flag in change.flags):
            return acting_as(ROOT)
        return contextlib.nullcontext()

    def _unprotect(self, step: Step, fd: int, name: bytes, old: Meta | None) -> None:
        """Clear the immutable mark where the job has cleared it; only root's jobs can."""
        if old is None or not old.attributes or (step.change.new and step.change.new.attributes):
            return
        attributes.protect(fd, name, 0, old.inode)
        self._touched.add(old.inode)
        self._undo.append(functools.partial(self._protect, step.path, old.attributes, old.inode))

    def _protect(self, path: bytes, marks: int, inode: int) -> None:
        directory, name = split(path)
        with files.Cursor(self._live_fd, os.O_PATH) as cursor:
            attributes.protect(cursor.go(directory), name, marks, inode)

    # -- the steps ----------------------------------------------------------------------------------------------------

    def _out(self, step: Step) -> None:
        fd, name = self._enter(step)
        old = step.change.old
        status = self._expect(step, fd, name, old)
        self._unprotect(step, fd, name, old)
        slot = b"%d" % step.slot
        mode = self._movable(step.path, fd, name, status)
        try:
            files.renameat2(fd, name, self._stage_fd, slot, files.RENAME_NOREPLACE)
        except PermissionError:
            if not stat.S_ISDIR(status.st_mode) or step.change.kind is Kind.RENAMED:
                raise
            # Somebody else's empty directory may be removed by who may not move it.
            os.rmdir(name, dir_fd=fd)
            self._undo.append(functools.partial(self._make_again, step.path, old))
            return
        self._undo.append(functools.partial(self._rename_back, step.path, slot, old))
        self._came_out(step, slot, old, mode)

    def _in(self, step: Step) -> None:
        fd, name = self._enter(step)
        slot = b"%d" % step.slot
        try:
            with self._rights_for(step.change):
                files.renameat2(self._stage_fd, slot, fd, name, files.RENAME_NOREPLACE)
        except FileExistsError:
            raise RacedError(step.path, MADE) from None
        self._undo.append(functools.partial(self._rename_back_in, step.path, slot))
        self._came_in(step, fd, name)

    def _swap(self, step: Step) -> None:
        fd, name = self._enter(step)
        slot = b"%d" % step.slot
        old = step.change.over if step.change.kind is Kind.RENAMED else step.change.old
        status = self._expect(step, fd, name, old)
        self._unprotect(step, fd, name, old)
        mode = self._movable(step.path, fd, name, status)
        with self._rights_to_write(step, fd, name):
            files.renameat2(self._stage_fd, slot, fd, name, files.RENAME_EXCHANGE)
        self._undo.append(functools.partial(self._swap_back, step.path, slot, old))
        self._came_out(step, slot, old, mode)
        self._came_in(step, fd, name)

    def _link(self, step: Step) -> None:
        base_dir, base_name = split(step.base)
        slot = b"%d" % step.slot
        with files.Cursor(self._live_fd, os.O_PATH) as cursor:
            directory = cursor.go(base_dir)
            os.link(base_name, slot, src_dir_fd=directory, dst_dir_fd=self._stage_fd, follow_symlinks=False)
        status = os.stat(slot, dir_fd=self._stage_fd, follow_symlinks=False)
        self._touched.add(status.st_ino)
        self._undo.append(functools.partial(self._unlink_slot, slot))
        if step.change.old is None:
            self._in(step)
        else:
            self._swap(step)

    def _set(self, step: Step) -> None:
        fd, name = self._enter(step)
        old, new = step.change.old, step.change.new
        assert old is not None
        assert new is not None
        status = self._expect(step, fd, name, old)
        # The mode may be one that was opened up on the way; what is wanted is the difference to what the job saw.
        self._unprotect(step, fd, name, old)
        with self._rights_to_write(step, fd, name):
            self._undo.append(functools.partial(self._set_back, step.path, new, old))
            if (
                not self._rights.is_root
                and old.xattrs != new.xattrs
                and status.st_uid == self._rights.uid
                and not (new.is_symlink or status.st_mode & stat.S_IWUSR)
            ):
                attributes.chmod(fd, name, stat.S_IMODE(status.st_mode) | stat.S_IWUSR, old.inode)
            attributes.change(fd, name, old, new, old.inode)
        self._loosened.pop(step.path, None)
        if new.attributes != old.attributes and new.attributes:
            self._marked.append((step.path, new.attributes, old.inode))

    def _rights_to_write(self, step: Step, fd: int, name: bytes) -> contextlib.AbstractContextManager[None]:
        """The submitter's rights; root's to write a file that the submitter may write, but not exchange.

        Such is a file of somebody else's, and one of his own in a directory of somebody else's.

        The job has written its copy of such a file, and could write the file itself: the kernel is asked by opening
        it. Exchanging it would take a right to its directory, which writing does not, and would be no proof either:
        who may rename in a directory may not make files there that belong to others.
        """
        change, old, new = step.change, step.change.old, step.change.new
        if any(flag.privileged for flag in change.flags):
            return acting_as(ROOT)
        if self._rights.is_root or change.kind is Kind.RENAMED or new is None:
            return contextlib.nullcontext()
        kept = old is not None and old.is_file and new.is_file and _same_but_content(old, new)
        if new.uid == self._rights.uid and not (kept and not may_write(files.inside(fd))):
            return contextlib.nullcontext()
        if kept:
            os.close(os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=fd))
            return acting_as(ROOT)
        if step.action is Action.SET:
            return contextlib.nullcontext()
        raise PermissionError(errno.EACCES, "only their owner can make such files")

    # -- around a rename ----------------------------------------------------------------------------------------------

    def _movable(self, path: bytes, fd: int, name: bytes, status: os.stat_result) -> int | None:
        """Let a directory of the submitter's be moved: that changes its ".." and so needs the right to write it."""
        if not stat.S_ISDIR(status.st_mode) or not self._closed(status):
            return None
        mode = stat.S_IMODE(status.st_mode)
        attributes.chmod(fd, name, mode | 0o300, status.st_ino)
        self._undo.append(functools.partial(self._chmod, path, mode))
        return mode

    def _came_out(self, step: Step, slot: bytes, old: Meta | None, mode: int | None) -> None:
        status = os.stat(slot, dir_fd=self._stage_fd, follow_symlinks=False)
        if old is None or status.st_ino != old.inode:
            raise RacedError(step.path, REPLACED)
        taken = step.change.kind is Kind.RENAMED and step.action is Action.OUT
        if mode is not None and taken:
            self._staging.modes[step.slot] = mode
        elif mode is not None:
            files.chmod(self._stage_fd, slot, mode)
        if stat.S_ISDIR(status.st_mode) and not taken:
            self._nothing_new(step, slot)

    def _nothing_new(self, step: Step, slot: bytes) -> None:
        """What went out as a whole is out of reach by name now, so this look is the last word on it."""
        with acting_as(ROOT), files.Cursor(self._stage_fd) as cursor:
            cursor.enter(slot)
            for name, status in files.walk(cursor):
                if name == _LAYERS and homes.is_marked(files.xattrs(cursor.fd, name).items()):
                    raise RacedError(step.path, "cbx keeps the changes of jobs in it")
                late = status.ctime_ns >= self._t0 and step.change.path not in self._wins
                if late and status.ino not in self._touched:
                    raise RacedError(step.path, CHANGED)

    def _came_in(self, step: Step, fd: int, name: bytes) -> None:
        mode = self._staging.modes.get(step.slot)
        inode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_ino
        if mode is not None:
            attributes.chmod(fd, name, mode, inode)
        self._touched.add(inode)
        new = step.change.new
        if new is not None and new.attributes and step.change.kind is not Kind.RENAMED:
            self._marked.append((step.path, new.attributes, inode))

    # -- the end ------------------------------------------------------------------------------------------------------

    def finish(self, changes: Sequence[Change]) -> None:
        """Give directories the times and modes that they have for the job; marks that forbid changes come last."""
        wanted = {change.path: change.new for change in changes if change.new is not None and change.new.is_dir}
        shared = set(self._parents) - wanted.keys()  # where somebody else may have put something, too
        for change in changes:
            if change.implied and change.old is not None:
                self._parents.setdefault(change.path, (change.old.mtime_ns, change.old.ctime_ns))
                shared.add(change.path)
            elif not change.carried and change.new is not None and change.new.is_dir:
                # Some file systems count a new parent as a change of the directory (xfs).
                self._parents.setdefault(change.path, (0, 0))
        for path in sorted(self._parents, key=len, reverse=True):
            before, changed = self._parents[path]
            new = wanted.get(path)
            if path in shared and changed >= self._t0:
                continue
            self._restore_time(path, before if new is None else new.mtime_ns)
        for path, mode in sorted(self._loosened.items(), key=lambda item: len(item[0]), reverse=True):
            self._chmod(path, mode)
        for path, marks, inode in self._marked:
            with acting_as(ROOT) if self._rights.is_root else contextlib.nullcontext():
                self._protect(path, marks, inode)

    def sync(self, steps: Sequence[Step]) -> None:
        """Put what was done on disk. As root."""
        paths = {step.path for step in steps} | {split(step.path)[0] for step in steps}
        if len(paths) > FEW:
            files.syncfs(self._stage_fd)
            return
        for path in paths:
            directory, name = split(path)
            try:
                fd = self._live.go(directory)
            except OSError:
                continue  # moved away by somebody in the meantime: no longer ours to keep
            sync_entry(fd, name or b".")
        os.fsync(self._stage_fd)

    def _restore_time(self, path: bytes, mtime_ns: int) -> None:
        # Who may write a directory of somebody else's may not set its time: it keeps the time of the commit.
        with contextlib.suppress(PermissionError, FileNotFoundError, NotADirectoryError):
            attributes.set_mtime(self._live.go(path), b"", mtime_ns)

    # -- the way back -------------------------------------------------------------------------------------------------

    def _at(self, path: bytes) -> tuple[int, bytes]:
        directory, name = split(path)
        return self._live.go(directory), name

    def _rename_back(self, path: bytes, slot: bytes, old: Meta | None) -> None:
        fd, name = self._at(path)
        files.renameat2(self._stage_fd, slot, fd, name, files.RENAME_NOREPLACE)
        if old is not None and old.is_dir:
            attributes.set_mtime(fd, name, old.mtime_ns)

    def _rename_back_in(self, path: bytes, slot: bytes) -> None:
        fd, name = self._at(path)
        files.renameat2(fd, name, self._stage_fd, slot, files.RENAME_NOREPLACE)

    def _swap_back(self, path: bytes, slot: bytes, old: Meta | None) -> None:
        fd, name = self._at(path)
        files.renameat2(self._stage_fd, slot, fd, name, files.RENAME_EXCHANGE)
        if old is not None and old.is_dir:
            attributes.set_mtime(fd, name, old.mtime_ns)

    def _set_back(self, path: bytes, new: Meta, old: Meta) -> None:
        fd, name = self._at(path)
        # Somebody has put another object there: that is not ours to change.
        with contextlib.suppress(attributes.SwappedError):
            attributes.change(fd, name, new, old, old.inode)

    def _unlink_slot(self, slot: bytes) -> None:
        os.unlink(slot, dir_fd=self._stage_fd)

    def _make_again(self, path: bytes, old: Meta | None) -> None:
        fd, name = self._at(path)
        os.mkdir(name, 0o700, dir_fd=fd)
        if old is not None:
            made = files.statx(fd, name)
            bare = old._replace(uid=made.uid, gid=made.gid, xattrs=())
            attributes.change(fd, name, bare, old, made.ino)


def _same_but_content(old: Meta, new: Meta) -> bool:
    """Whether writing alone makes one of the other: it changes the time, and clears setuid bits."""
    if (old.uid, old.gid, old.xattrs, old.attributes) != (new.uid, new.gid, new.xattrs, new.attributes):
        return False
    return old.mode & ~_SETID == new.mode & ~_SETID and not new.mode & _SETID & ~old.mode


def explain(error: OSError) -> str:
    """An error of the kernel's in one line."""
    return os.strerror(error.errno) if error.errno else str(error)


REFUSALS = frozenset({errno.EPERM, errno.EACCES, errno.EROFS})
