"""Changing the metadata of a live inode, with the rights of the calling thread."""

from __future__ import annotations

import os
import stat

from cbx_sandbox.checkpoint.changes import Meta
from cbx_sandbox.linux import files

_FLAGS = ((files.ATTR_IMMUTABLE, files.FS_IMMUTABLE_FL), (files.ATTR_APPEND, files.FS_APPEND_FL))


def change(dir_fd: int, name: bytes, old: Meta, new: Meta) -> None:
    """Make what differs between ``old`` and ``new`` so for ``name``, and nothing else. Raises OSError."""
    if (old.uid, old.gid) != (new.uid, new.gid):
        uid = new.uid if new.uid != old.uid else -1
        gid = new.gid if new.gid != old.gid else -1
        os.chown(name or files.inside(dir_fd), uid, gid, dir_fd=dir_fd if name else None, follow_symlinks=not name)
    before, after = dict(old.xattrs), dict(new.xattrs)
    for key in before.keys() - after.keys():
        _remove(dir_fd, name, key)
    for key, value in after.items():
        # A change of owner takes capabilities away, so they are set again.
        if before.get(key) != value or (key == b"security.capability" and old.uid != new.uid):
            files.set_xattr(dir_fd, name, key, value)
    # After the owner, which clears setuid bits, and after access lists, which share bits with the mode.
    if not new.is_symlink:
        files.chmod(dir_fd, name or b".", stat.S_IMODE(new.mode))
    set_mtime(dir_fd, name, new.mtime_ns)


def _remove(dir_fd: int, name: bytes, key: bytes) -> None:
    # Removing a capability twice is an error: a change of owner has already taken it.
    if key in files.xattrs(dir_fd, name):
        files.remove_xattr(dir_fd, name, key)


def set_mtime(dir_fd: int, name: bytes, mtime_ns: int) -> None:
    """Set the modification time and keep the access time."""
    status = os.stat(name or files.inside(dir_fd), dir_fd=dir_fd if name else None, follow_symlinks=not name)
    times = status.st_atime_ns, mtime_ns
    os.utime(name or files.inside(dir_fd), ns=times, dir_fd=dir_fd if name else None, follow_symlinks=not name)


def protect(dir_fd: int, name: bytes, attributes: int) -> None:
    """Make the immutable and append-only marks of a file or directory what ``attributes`` (as in statx(2)) says."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name or b".", flags, dir_fd=dir_fd)
    try:
        add = sum(flag for attribute, flag in _FLAGS if attributes & attribute)
        files.change_attributes(fd, add=add, remove=sum(flag for _, flag in _FLAGS) & ~add)
    finally:
        os.close(fd)
