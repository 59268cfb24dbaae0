"""Opening files where a job may have prepared the path, and closing what must not be inherited."""

from __future__ import annotations

import ctypes

from cbx_sandbox.linux import libc

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

CLOSE_RANGE_MAX = 0xFFFFFFFF
CLOSE_RANGE_CLOEXEC = 4

_CLOSE_RANGE, _OPENAT2 = 436, 437  # the same numbers on every architecture


class _OpenHow(ctypes.Structure):
    """struct open_how (openat2(2))."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def openat2(dir_fd: int, path: str | bytes, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """Open ``path`` below ``dir_fd`` under the ``RESOLVE_*`` restrictions (openat2(2))."""
    raw = path if isinstance(path, bytes) else path.encode(errors="surrogateescape")
    how = _OpenHow(flags, mode, resolve)
    return libc.syscall(_OPENAT2, dir_fd, raw, ctypes.byref(how), ctypes.sizeof(how), name=f"open {path!r}")


def close_range(first: int, last: int, flags: int = 0) -> None:
    """Close (or mark close-on-exec) all descriptors from ``first`` to ``last`` (close_range(2))."""
    libc.syscall(_CLOSE_RANGE, first, last, flags, name="close_range")
