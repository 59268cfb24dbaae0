"""Acting on files as somebody else, in one thread of a root process: the kernel decides what that user may do."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from cbx_sandbox.linux import libc

# By raw system call: the C library's functions would change all threads of the process (nptl(7)).
_NUMBERS = {
    "x86_64": {"setgroups": 116, "setfsuid": 122, "setfsgid": 123, "capget": 125, "capset": 126},
    "aarch64": {"setgroups": 159, "setfsuid": 151, "setfsgid": 152, "capget": 90, "capset": 91},
    "riscv64": {"setgroups": 159, "setfsuid": 151, "setfsgid": 152, "capget": 90, "capset": 91},
}
_SYSCALLS = _NUMBERS[os.uname().machine]
_FACCESSAT2 = 439  # the same number on every architecture (asm-generic)
_AT_FDCWD, _AT_EACCESS = -100, 0x200
_CAPABILITY_VERSION_3 = 0x20080522
_HEADER = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)


class Submitter(NamedTuple):
    """The ids with which a user touches files."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @property
    def is_root(self) -> bool:
        """True for the one whom permissions do not hold."""
        return self.uid == 0


ROOT = Submitter(0, 0)


def _call(name: str, *arguments: object) -> int:
    return libc.syscall(_SYSCALLS[name], *arguments, name=name)


def _capabilities() -> bytes:
    buffer = ctypes.create_string_buffer(24)
    _call("capget", ctypes.create_string_buffer(_HEADER, 8), buffer)
    return buffer.raw


def _capset(sets: bytes) -> None:
    _call("capset", ctypes.create_string_buffer(_HEADER, 8), ctypes.create_string_buffer(sets, 24))


def _set_effective(sets: bytes, *, full: bool) -> None:
    # Two words each of effective, permitted, inheritable (capget(2)); permitted stays, so there is a way back.
    words = list(struct.unpack("=6I", sets))
    words[0], words[3] = (words[1], words[4]) if full else (0, 0)
    _call(
        "capset", ctypes.create_string_buffer(_HEADER, 8), ctypes.create_string_buffer(struct.pack("=6I", *words), 24)
    )


def _set_fsid(name: str, value: int) -> int:
    """Set one id and return the one before. These calls report no failure: the result is read back."""
    before = _call(name, value)
    if _call(name, -1) != value:
        raise PermissionError(f"cannot act on files as {name[3:]} {value}")
    return before


@contextlib.contextmanager
def acting_as(who: Submitter) -> Iterator[None]:
    """Touch files with the rights of ``who``, and no capability unless that is root, in the calling thread only.

    May be nested, with root inside too. Keep the block small: everything the thread does runs with these rights,
    and a thread that is started inside inherits them.
    """
    sets = _capabilities()
    groups = os.getgroups()
    _set_effective(sets, full=True)
    uid = _call("setfsuid", -1)
    gid = _call("setfsgid", -1)
    try:
        _become(who.uid, who.gid, who.groups)
        if not who.is_root:
            _set_effective(sets, full=False)
        yield
    finally:
        _set_effective(sets, full=True)
        _become(uid, gid, tuple(groups))
        _capset(sets)


def _become(uid: int, gid: int, groups: tuple[int, ...]) -> None:
    array = (ctypes.c_uint32 * max(len(groups), 1))(*groups)
    _call("setgroups", len(groups), array)
    _set_fsid("setfsgid", gid)
    # Last: leaving fsuid 0 takes the file capabilities out of the effective set (capabilities(7)).
    _set_fsid("setfsuid", uid)


def may_write(path: str | bytes) -> bool:
    """Whether the calling thread could write the file at ``path``, or make and remove entries if it is a directory.

    The kernel says so, by the rights that the thread has now (:func:`acting_as`), by access lists and read-only mounts.
    """
    # Not os.access: the C library may emulate it, and then it looks at the ids of the process (access(2)).
    wanted = os.W_OK | (os.X_OK if os.path.isdir(path) else 0)
    try:
        libc.syscall(_FACCESSAT2, _AT_FDCWD, os.fsencode(path), wanted, _AT_EACCESS, name="faccessat2")
    except (OSError, ValueError):
        return False
    return True
