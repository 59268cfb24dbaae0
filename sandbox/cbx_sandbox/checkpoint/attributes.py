"""Changing the metadata of a live inode, with the rights of the calling thread.

By descriptor throughout: whoever owns the directory can put another inode under the name at any moment, so the inode is
opened once (O_PATH, no symlink followed), compared with the one that was verified, and everything is done to that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from cbx_sandbox.checkpoint.changes import Meta
from cbx_sandbox.linux import files, xattr

_FLAGS = ((files.ATTR_IMMUTABLE, files.FS_IMMUTABLE_FL), (files.ATTR_APPEND, files.FS_APPEND_FL))
_CAPABILITY = b"security.capability"


class SwappedError(OSError):
    """Another inode has the name now."""

    def __init__(self) -> None:
        super().__init__(errno.ESTALE, "somebody replaced it")


@contextlib.contextmanager
def _opened(dir_fd: int, name: bytes, flags: int = os.O_PATH) -> Iterator[int]:
    """``name`` in ``dir_fd``, or the directory itself if that is empty; a symlink is opened itself."""
    if not name and flags == os.O_PATH:
        yield dir_fd  # to open "." takes a right to search the directory, which its owner may not have
        return
    fd = files.openat2(dir_fd, name or b".", flags | os.O_NOFOLLOW, resolve=files.RESOLVE_STRICT)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _verified(dir_fd: int, name: bytes, inode: int, flags: int = os.O_PATH) -> Iterator[int]:
    with _opened(dir_fd, name, flags) as fd:
        if os.fstat(fd).st_ino != inode:
            raise SwappedError
        yield fd


def change(dir_fd: int, name: bytes, old: Meta, new: Meta, inode: int) -> None:
    """Make what differs between ``old`` and ``new`` so for ``name``, which is ``inode``.

    Raises OSError; SwappedError if it is another inode by now.
    """
    with _verified(dir_fd, name, inode) as fd:
        if (old.uid, old.gid) != (new.uid, new.gid):
            uid = new.uid if new.uid != old.uid else -1
            gid = new.gid if new.gid != old.gid else -1
            os.chown(files.inside(fd), uid, gid)
        before, after = dict(old.xattrs), dict(new.xattrs)
        for key in before.keys() - after.keys():
            _remove(fd, key)
        for key, value in after.items():
            # A change of owner takes capabilities away, and so did contents that were written before this.
            lost = key == _CAPABILITY and xattr.every(fd).get(key) != value
            if before.get(key) != value or lost:
                xattr.put(fd, b"", key, value)
        # After the owner, which clears setuid bits, and after access lists, which share bits with the mode.
        if not new.is_symlink:
            os.chmod(files.inside(fd), stat.S_IMODE(new.mode))
        _set_mtime(fd, new.mtime_ns)


def _remove(fd: int, key: bytes) -> None:
    # Removing a capability twice is an error: a change of owner has already taken it.
    if key in xattr.every(fd):
        xattr.remove(fd, b"", key)


def set_mtime(dir_fd: int, name: bytes, mtime_ns: int) -> None:
    """Set the modification time of a directory and keep the access time."""
    with _opened(dir_fd, name) as fd:
        _set_mtime(fd, mtime_ns)


def _set_mtime(fd: int, mtime_ns: int) -> None:
    os.utime(files.inside(fd), ns=(os.fstat(fd).st_atime_ns, mtime_ns))


def chmod(dir_fd: int, name: bytes, mode: int, inode: int) -> None:
    """Set the permission bits of ``name``, which is ``inode`` and no symlink. Raises OSError, SwappedError."""
    with _verified(dir_fd, name, inode) as fd:
        os.chmod(files.inside(fd), mode)


def protect(dir_fd: int, name: bytes, attributes: int, inode: int) -> None:
    """Make the immutable and append-only marks of a file or directory what ``attributes`` (as in statx(2)) says."""
    with _verified(dir_fd, name, inode, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) as fd:
        add = sum(flag for attribute, flag in _FLAGS if attributes & attribute)
        files.change_attributes(fd, add=add, remove=sum(flag for _, flag in _FLAGS) & ~add)
