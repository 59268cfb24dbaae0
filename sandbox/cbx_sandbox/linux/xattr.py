"""Extended attributes by directory and name, without opening the file: it may be a device, or closed to everybody.

For looking, Linux 6.13 has calls that take a directory descriptor. Before, and where they are filtered out, the path
goes through /proc, which takes twice as long: much for the attributes of very many files.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import threading

from cbx_sandbox.linux import libc
from cbx_sandbox.linux.files import AT_SYMLINK_NOFOLLOW, inside

_GETXATTRAT, _LISTXATTRAT = 464, 465  # the same number on every architecture (asm-generic)
_NAMES, _VALUE = 1024, 1024  # bytes: what is longer goes through /proc


class _Arguments(ctypes.Structure):
    """struct xattr_args (linux/xattr.h)."""

    _fields_ = [("value", ctypes.c_uint64), ("size", ctypes.c_uint32), ("flags", ctypes.c_uint32)]


class _Scratch(threading.local):
    """Where the calls of one thread put their answers: to make a buffer takes longer than to have it filled."""

    def __init__(self) -> None:
        super().__init__()
        self.names = ctypes.create_string_buffer(_NAMES)
        self.names_at = ctypes.addressof(self.names)
        self.value = ctypes.create_string_buffer(_VALUE)
        self.value_at = ctypes.addressof(self.value)
        self.arguments = _Arguments(self.value_at, _VALUE, 0)
        self.arguments_at = ctypes.addressof(self.arguments)


_scratch = _Scratch()
_AT = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)  # number, directory, name, flags
_list = libc.function("syscall", *_AT, ctypes.c_void_p, ctypes.c_size_t)
_get = libc.function("syscall", *_AT, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)


@functools.cache
def by_directory() -> bool:
    """Whether the kernel has the calls that take a directory descriptor."""
    return _list(_LISTXATTRAT, -1, b"/", 0, None, 0) >= 0


def every(dir_fd: int, name: bytes = b"") -> dict[bytes, bytes]:
    """All extended attributes of ``name`` in ``dir_fd``, or of the descriptor's own inode; follows no symlink."""
    if name and by_directory():
        found = _every(dir_fd, name)
        if found is not None:
            return found
    path, follow = inside(dir_fd, name), not name
    try:
        names = os.listxattr(path, follow_symlinks=follow)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return {}
        raise
    return {os.fsencode(key): os.getxattr(path, key, follow_symlinks=follow) for key in names} if names else {}


def _every(dir_fd: int, name: bytes) -> dict[bytes, bytes] | None:
    """None if they are larger than the buffers, or if it fails: /proc then says why."""
    scratch = _scratch
    size = _list(_LISTXATTRAT, dir_fd, name, AT_SYMLINK_NOFOLLOW, scratch.names_at, _NAMES)
    if size <= 0:
        return None if size else {}
    found = {}
    for key in ctypes.string_at(scratch.names_at, size - 1).split(b"\0"):
        got = _get(_GETXATTRAT, dir_fd, name, AT_SYMLINK_NOFOLLOW, key, scratch.arguments_at, 16)
        if got < 0:
            return None
        found[key] = ctypes.string_at(scratch.value_at, got)
    return found


def put(dir_fd: int, name: bytes, key: bytes, value: bytes) -> None:
    """Set one extended attribute of ``name`` in ``dir_fd``, not following a symlink."""
    os.setxattr(inside(dir_fd, name), key, value, follow_symlinks=not name)


def remove(dir_fd: int, name: bytes, key: bytes) -> None:
    """Remove one extended attribute of ``name`` in ``dir_fd``, not following a symlink."""
    os.removexattr(inside(dir_fd, name), key, follow_symlinks=not name)
