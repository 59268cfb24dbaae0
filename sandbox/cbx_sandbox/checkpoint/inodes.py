"""Reading inodes: all that a change can be in, and what overlayfs wrote beside it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import NamedTuple

from cbx_sandbox.checkpoint.changes import Meta
from cbx_sandbox.linux import contents, files, xattr

OVERLAY = b"trusted.overlay."
# What a job sets as trusted.overlay.x arrives one level deeper: its own data, never an instruction to us.
_ESCAPED = OVERLAY + b"overlay."
_ORIGIN = OVERLAY + b"origin"
_PROTECTION = {ord("i"): files.ATTR_IMMUTABLE, ord("a"): files.ATTR_APPEND}
_ORIGIN_TYPE, _ORIGIN_HANDLE = 4, 21  # offsets in struct ovl_fb: fid type; the handle behind header and uuid
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ESTALE}


class UpperEntry(NamedTuple):
    """An entry of an upper directory. ``meta`` is as the job saw it, without overlayfs' own attributes."""

    meta: Meta
    whiteout: bool = False
    opaque: bool = False
    redirect: bytes | None = None
    copied: bool = False  # copied up from below, at some path
    origin: bytes = b""  # comparable to files.file_handle; empty if it was not recorded
    marks: tuple[tuple[bytes, bytes], ...] = ()  # overlayfs' own attributes, and those that it stored under other names


def read_upper(dir_fd: int, name: bytes = b"") -> UpperEntry:
    """Read ``name`` in an upper directory."""
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False) if name else os.fstat(dir_fd)
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return UpperEntry(_meta(status), whiteout=True)
    every = xattr.every(dir_fd, name)
    if not every:
        return UpperEntry(_meta(status, _target(dir_fd, name, status)))
    marks = tuple([(key, value) for key, value in every.items() if key.startswith(OVERLAY)])
    if len(every) == 1 and marks and marks[0][0] == _ORIGIN:
        # A file that was copied up and has nothing of its own: by far the most there are.
        return UpperEntry(
            _meta(status, _target(dir_fd, name, status)), copied=True, origin=_handle(marks[0][1]), marks=marks
        )
    own = {key[len(OVERLAY) :]: value for key, value in every.items() if _is_own(key)}
    attributes = 0
    for letter in own.get(b"protattr", b""):
        attributes |= _PROTECTION.get(letter, 0)
    origin = own.get(b"origin")
    return UpperEntry(
        meta=_meta(status, _target(dir_fd, name, status), _as_seen(every), attributes),
        opaque=own.get(b"opaque") == b"y",
        redirect=own.get(b"redirect"),
        copied=origin is not None,
        origin=_handle(origin) if origin else b"",
        marks=marks,
    )


def _is_own(key: bytes) -> bool:
    return key.startswith(OVERLAY) and not key.startswith(_ESCAPED)


def _as_seen(every: dict[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    if not every:
        return ()
    return tuple(sorted((unescape(key), value) for key, value in every.items() if not _is_own(key)))


def unescape(key: bytes) -> bytes:
    """The name that the job gave to an attribute which is stored as ``key``."""
    return OVERLAY + key[len(_ESCAPED) :] if key.startswith(_ESCAPED) else key


def _handle(origin: bytes) -> bytes:
    """The lower inode's handle out of the attribute, in the form of files.file_handle."""
    return origin[_ORIGIN_TYPE : _ORIGIN_TYPE + 1] + origin[_ORIGIN_HANDLE:]


def read_live(dir_fd: int, name: bytes = b"") -> Meta | None:
    """Read ``name`` in a directory of the live tree; None if it is not there. Never opens it."""
    try:
        status = files.statx(dir_fd, name)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    target = b""
    if stat.S_ISLNK(status.mode):
        with contextlib.suppress(OSError):  # swapped in between: whoever relies on it checks the inode again
            target = os.readlink(name, dir_fd=dir_fd)
    try:
        found = xattr.every(dir_fd, name)
    except FileNotFoundError:
        found = {}
    attributes = tuple(sorted(found.items())) if found else ()
    protection = status.attributes & (files.ATTR_IMMUTABLE | files.ATTR_APPEND)
    # By position, here and below: for each of very many files.
    return Meta(
        status.mode, status.uid, status.gid, status.size, status.mtime_ns, status.ctime_ns, status.device, status.ino,
        status.nlink, status.rdev, target, attributes, protection,
    )  # fmt: skip


def look(dir_fd: int, name: bytes = b"") -> Meta | None:
    """What ``name`` is, without attributes and target, which a change time tells of; None if it is not there."""
    try:
        return _meta(os.stat(name, dir_fd=dir_fd, follow_symlinks=False) if name else os.fstat(dir_fd))
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def _target(dir_fd: int, name: bytes, status: os.stat_result) -> bytes:
    return os.readlink(name, dir_fd=dir_fd) if stat.S_ISLNK(status.st_mode) else b""


def _meta(
    status: os.stat_result, target: bytes = b"", xattrs: tuple[tuple[bytes, bytes], ...] = (), attributes: int = 0
) -> Meta:
    return Meta(
        status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
        status.st_dev, status.st_ino, status.st_nlink, status.st_rdev, target, xattrs, attributes,
    )  # fmt: skip


def open_file(dir_fd: int, name: bytes) -> int:
    """Open a regular file for reading; anything else that turned up in its place is refused, and cannot block."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=dir_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file any more")
    return fd


def same_content(one_dir: int, one: bytes, other_dir: int, other: bytes) -> bool:
    """Whether two regular files hold the same bytes."""
    first = open_file(one_dir, one)
    try:
        second = open_file(other_dir, other)
        try:
            return contents.same_data(first, second)
        finally:
            os.close(second)
    finally:
        os.close(first)


def aspects(old: Meta, new: Meta) -> tuple[str, ...]:
    """In what the metadata of two inodes of one type differ; the content of files is not looked at."""
    found = []
    if old.target != new.target and new.is_symlink:
        found.append("target")
    if old.rdev != new.rdev and (stat.S_ISCHR(new.mode) or stat.S_ISBLK(new.mode)):
        found.append("device")
    if stat.S_IMODE(old.mode) != stat.S_IMODE(new.mode) and not new.is_symlink:
        found.append("mode")
    if old.uid != new.uid or old.gid != new.gid:
        found.append("owner")
    if old.xattrs != new.xattrs:
        found.append("xattrs")
    if old.attributes != new.attributes:
        found.append("attributes")
    if old.mtime_ns != new.mtime_ns:
        found.append("mtime")
    return tuple(found)
