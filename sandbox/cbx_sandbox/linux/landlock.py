"""Landlock: what this process and its children may write, signal and connect to (landlock(7))."""

from __future__ import annotations

import ctypes
import os

from cbx_sandbox.linux import libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

WRITE_FILE = 1 << 1
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_CHAR = 1 << 6
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
MAKE_SOCK = 1 << 9
MAKE_FIFO = 1 << 10
MAKE_BLOCK = 1 << 11
MAKE_SYM = 1 << 12
REFER = 1 << 13  # ABI 2
TRUNCATE = 1 << 14  # ABI 3
IOCTL_DEV = 1 << 15  # ABI 5

_FILE_RIGHTS = WRITE_FILE | TRUNCATE | IOCTL_DEV

BIND_TCP, CONNECT_TCP = 1 << 0, 1 << 1
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1 << 0, 1 << 1
ABI_TCP, ABI_SCOPES = 4, 6


class _RulesetAttr(ctypes.Structure):
    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),  # ABI 4
        ("scoped", ctypes.c_uint64),  # ABI 6
    ]


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def abi() -> int:
    """The host's Landlock ABI; 0 where it has none or it is switched off."""
    try:
        return libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION, name="landlock")
    except OSError:
        return 0


def write_rights(version: int) -> int:
    """Every right to change a file system that ABI ``version`` can take away."""
    rights = WRITE_FILE | REMOVE_DIR | REMOVE_FILE
    rights |= MAKE_CHAR | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_BLOCK | MAKE_SYM
    if version >= 2:
        rights |= REFER
    if version >= 3:
        rights |= TRUNCATE
    if version >= 5:
        rights |= IOCTL_DEV
    return rights


def restrict(version: int, beneath: list[int], *, tcp: bool, signals: bool = False) -> None:
    """Take away all writing but beneath the open descriptors ``beneath`` (directories or files), and ways to others.

    From ABI 6 on signals reach, and abstract sockets lead to, processes under this restriction only; from ABI 4 on
    without ``tcp`` no TCP port can be bound or connected to. With ``signals`` they reach whom they may.
    The caller must have set no_new_privs. Descriptors that
    are already open keep working; opening them anew through /proc/self/fd is an opening like any other.
    """
    rights = write_rights(version)
    scopes = SCOPE_ABSTRACT_UNIX_SOCKET | (0 if signals else SCOPE_SIGNAL)
    attributes = _RulesetAttr(
        rights,
        BIND_TCP | CONNECT_TCP if version >= ABI_TCP and not tcp else 0,
        scopes if version >= ABI_SCOPES else 0,
    )
    # An older kernel refuses a structure that is longer than its own, even if the rest is zero.
    size = 24 if version >= ABI_SCOPES else 16 if version >= ABI_TCP else 8
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), size, 0, name="landlock_create_ruleset")
    try:
        for fd in beneath:
            is_directory = os.fstat(fd).st_mode & 0o170000 == 0o040000
            rule = _PathBeneathAttr(rights if is_directory else rights & _FILE_RIGHTS, fd)
            libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0, name="landlock_add_rule")
        libc.syscall(_RESTRICT_SELF, ruleset, 0, name="landlock_restrict_self")
    finally:
        os.close(ruleset)
