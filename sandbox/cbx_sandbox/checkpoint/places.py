"""The directories of the live tree that steps change: found, checked to be the right ones, and opened up.

With the submitter's rights: a directory of his own that its mode closes is opened, as he could do, and closed again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from cbx_sandbox.checkpoint import attributes, homes
from cbx_sandbox.checkpoint.changes import Change, Kind, Meta
from cbx_sandbox.checkpoint.plan import IN_PLACE, Action, Step
from cbx_sandbox.checkpoint.record import LayerWork, closed
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files
from cbx_sandbox.linux.credentials import ROOT, Submitter, acting_as, may_write

LAYERS = os.fsencode(homes.OWN_DIRECTORY)
_SETID = stat.S_ISUID | stat.S_ISGID


class RacedError(CbxError):
    """The live tree changed between the check and the step; nothing is left changed."""

    def __init__(self, path: bytes, reason: str) -> None:
        super().__init__(f"cannot commit: {reason}")
        self.path = path
        self.reason = reason


class Doors:
    """Opens the submitter's own directories for as long as the steps need it."""

    def __init__(self, live_fd: int, work: LayerWork, rights: Submitter) -> None:
        self._live_fd = live_fd
        self._rights = rights
        self._modes = {parent.path: stat.S_IMODE(parent.mode) for parent in work.parents}
        self._sources = {parent.source: stat.S_IMODE(parent.mode) for parent in work.parents}
        self.opened: set[int] = set()  # inodes whose change time is our own doing
        self._loosened: dict[bytes, int] = {}

    def open(self, path: bytes, fd: int) -> None:
        """Open the directory at ``path``, which is ``fd``, if it is closed."""
        status = os.fstat(fd)
        if not closed(status.st_mode, status.st_uid, self._rights):
            return
        mode = stat.S_IMODE(status.st_mode)
        os.chmod(files.inside(fd), mode | 0o300)
        self.opened.add(status.st_ino)
        self._loosened.setdefault(path, self._modes.get(path, mode))

    def way(self, live: files.Cursor, path: bytes) -> int:
        """Go to ``path``, and open what is closed on the way."""
        names = path.split(b"/")
        for depth in range(len(names) + 1):
            here = b"/".join(names[:depth])
            self.open(here, live.go(here))
        return live.fd

    def set(self, path: bytes) -> None:
        """The mode of ``path`` is what the job made it."""
        self._loosened.pop(path, None)
        self._modes.pop(path, None)

    def close(self) -> None:
        """Close what was opened, at the paths that the steps have led to; also what an earlier process opened."""
        earlier = {
            path: mode for path, mode in self._modes.items() if closed(mode, self._rights.uid, self._rights)
        }  # fmt: skip
        self._close({**earlier, **self._loosened})

    def close_before(self) -> None:
        """Close what was opened, where it was before the steps."""
        self._close({path: mode for path, mode in self._sources.items() if mode & 0o300 != 0o300})

    def _close(self, modes: dict[bytes, int]) -> None:
        with files.Cursor(self._live_fd, os.O_PATH) as cursor:
            for path, mode in sorted(modes.items(), key=lambda item: len(item[0]), reverse=True):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    fd = cursor.go(path)
                    status = os.fstat(fd)
                    if status.st_uid == self._rights.uid and stat.S_IMODE(status.st_mode) == mode | 0o300:
                        os.chmod(files.inside(fd), mode)


def rights_for(change: Change) -> contextlib.AbstractContextManager[None]:
    """Root's rights for what is allowed by name (commit has checked it), else those that the thread has."""
    if any(flag.privileged for flag in change.flags):
        return acting_as(ROOT)
    return contextlib.nullcontext()


def rights_to_write(step: Step, rights: Submitter, fd: int, name: bytes) -> contextlib.AbstractContextManager[None]:
    """The submitter's rights; root's to write a file that the submitter may write, but not exchange.

    Such is a file of somebody else's, and one of his own in a directory of somebody else's.

    The job has written its copy of such a file, and could write the file itself: the kernel is asked by opening
    it. Exchanging it would take a right to its directory, which writing does not, and would be no proof either:
    who may rename in a directory may not make files there that belong to others.
    """
    change, old, new = step.change, step.change.old, step.change.new
    if any(flag.privileged for flag in change.flags):
        return acting_as(ROOT)
    if rights.is_root or change.kind is Kind.RENAMED or new is None:
        return contextlib.nullcontext()
    kept = old is not None and old.is_file and new.is_file and _same_but_content(old, new)
    if new.uid == rights.uid and not (kept and not may_write(files.inside(fd))):
        return contextlib.nullcontext()
    if kept:
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=fd))
        except OSError as error:
            # It is being executed, which comes after the question of rights; maybe nothing is to be written there.
            if error.errno != errno.ETXTBSY or step.action not in IN_PLACE:
                raise
        return acting_as(ROOT)
    if step.action is Action.SET:
        return contextlib.nullcontext()
    raise PermissionError(errno.EACCES, "only their owner can make such files")


def _same_but_content(old: Meta, new: Meta) -> bool:
    """Whether writing alone makes one of the other: it changes the time, and clears setuid bits."""
    if (old.uid, old.gid, old.xattrs, old.attributes) != (new.uid, new.gid, new.xattrs, new.attributes):
        return False
    return old.mode & ~_SETID == new.mode & ~_SETID and not new.mode & _SETID & ~old.mode


def shut(status: os.stat_result, rights: Submitter) -> bool:
    """Whether its mode keeps the submitter from writing a file of his own: he could open it, so it is opened."""
    return not rights.is_root and status.st_uid == rights.uid and not status.st_mode & stat.S_IWUSR


def set_time(live: files.Cursor, path: bytes, mtime_ns: int) -> None:
    """Give a directory its time."""
    # Who may write a directory of somebody else's may not set its time: it keeps the time of the commit.
    with contextlib.suppress(PermissionError, FileNotFoundError, NotADirectoryError):
        attributes.set_mtime(live.go(path), b"", mtime_ns)


def protect(live: files.Cursor, path: bytes, marks: int, inode: int) -> None:
    """Make the immutable and append-only marks what ``marks`` says."""
    directory, _, name = path.rpartition(b"/")
    attributes.protect(live.go(directory), name, marks, inode)
