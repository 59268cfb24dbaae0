"""Copying what cannot be renamed out of a layer: whole trees with all metadata, holes, and links among themselves.

What overlayfs has written for itself is left behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Mapping
from typing import Self

from cbx_sandbox.checkpoint import inodes
from cbx_sandbox.checkpoint.changes import split
from cbx_sandbox.linux import contents, files, xattr

# What a new file takes over from a default ACL of its directory, acl(5).
_INHERITED = frozenset({b"system.posix_acl_access", b"system.posix_acl_default"})
# Descriptors of files without a name, by inode and change time of what they have the content of.
Contents = Mapping[tuple[int, int], int]


class Copier:
    """Copies entries of one directory to another on any file system. Neither side may be changed by others."""

    def __init__(self, source_fd: int, target_fd: int, ready: Contents | None = None) -> None:
        self._source_fd = source_fd
        self._target_fd = target_fd
        self._ready = ready or {}  # files without a name
        self._links: dict[tuple[int, int], bytes] = {}

    def __enter__(self) -> Self:
        self._source = files.Cursor(self._source_fd)
        self._target = files.Cursor(self._target_fd)
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()
        self._target.close()

    def copy(self, path: bytes, as_name: bytes) -> None:
        """Copy ``path`` and all beneath it to ``as_name``, which must be free."""
        directory, name = split(path)
        self._source.go(directory)
        self._target.go(b"")
        status = files.statx(self._source.fd, name)
        self._entry(name, status, as_name)
        if not stat.S_ISDIR(status.mode):
            return
        self._source.enter(name)
        above = self._source.depth
        walked: list[bytes] = [as_name]
        for inner, entry in files.walk(self._source):
            here = b"/".join([as_name, *self._source.names[above:]])
            self._target.go(here)
            self._entry(inner, entry, inner)
            if stat.S_ISDIR(entry.mode):
                walked.append(here + b"/" + inner)
        # Times of directories, and their modes, come when nothing is put into them any more: the deepest first.
        for made in reversed(walked):
            self._finish(path + made[len(as_name) :], made)

    def _entry(self, name: bytes, status: files.Statx, as_name: bytes) -> None:
        target = self._target.fd
        kind = stat.S_IFMT(status.mode)
        if kind == stat.S_IFCHR and status.rdev == 0:
            return  # overlayfs' mark for what is not there
        if kind != stat.S_IFDIR and status.nlink > 1:
            key = status.device, status.ino
            if key in self._links:
                self._link(self._links[key], as_name)
                return
            self._links[key] = b"/".join([*self._target.names, as_name])
        if kind == stat.S_IFDIR:
            os.mkdir(as_name, 0o700, dir_fd=target)
            return
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=self._source.fd), as_name, dir_fd=target)
        elif kind == stat.S_IFREG:
            self._data(name, status, as_name)
        else:
            os.mknod(as_name, kind | 0o600, status.rdev, dir_fd=target)
        copy_metadata(self._source.fd, name, target, as_name)

    def _link(self, first: bytes, as_name: bytes) -> None:
        directory, name = split(first)
        with files.Cursor(self._target_fd, os.O_PATH) as cursor:
            os.link(name, as_name, src_dir_fd=cursor.go(directory), dst_dir_fd=self._target.fd, follow_symlinks=False)

    def _data(self, name: bytes, status: files.Statx, as_name: bytes) -> None:
        ready = self._ready.get((status.ino, status.ctime_ns))
        if ready is not None:
            os.link(files.inside(ready), as_name, dst_dir_fd=self._target.fd, follow_symlinks=True)
            return
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._source.fd)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(as_name, flags, 0o600, dir_fd=self._target.fd)
            try:
                contents.copy_data(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _finish(self, original: bytes, path: bytes) -> None:
        source_dir, source_name = split(original)
        target_dir, target_name = split(path)
        copy_metadata(self._source.go(source_dir), source_name, self._target.go(target_dir), target_name)


def copy_metadata(source_dir: int, source: bytes, target_dir: int, target: bytes) -> None:
    """Owner, attributes, mode and times, in the order in which the kernel lets them stand."""
    status = os.stat(source, dir_fd=source_dir, follow_symlinks=False)
    os.chown(target, status.st_uid, status.st_gid, dir_fd=target_dir, follow_symlinks=False)
    attributes = xattr.every(source_dir, source)
    for inherited in xattr.every(target_dir, target).keys() & _INHERITED - attributes.keys():
        xattr.remove(target_dir, target, inherited)
    for stored, value in attributes.items():
        key = inodes.unescape(stored)
        if key == stored and key.startswith(inodes.OVERLAY):
            continue  # overlayfs' own
        with _tolerating(errno.EOPNOTSUPP):  # the target's file system may lack this kind
            xattr.put(target_dir, target, key, value)
    if not stat.S_ISLNK(status.st_mode):
        files.chmod(target_dir, target, stat.S_IMODE(status.st_mode))
    times = status.st_atime_ns, status.st_mtime_ns
    os.utime(target, ns=times, dir_fd=target_dir, follow_symlinks=False)


@contextlib.contextmanager
def _tolerating(*numbers: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise
