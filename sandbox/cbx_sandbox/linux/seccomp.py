"""A seccomp filter as plain classic BPF (seccomp(2), linux/filter.h): small, no library, no compiler."""

from __future__ import annotations

import ctypes
import errno
import struct

from cbx_sandbox.linux import libc

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_LOAD_WORD, _JUMP_EQUAL, _JUMP_GE, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_NR, _ARCH, _ARG1_LOW = 0, 4, 24  # offsets into struct seccomp_data (little-endian)
_X32_BIT = 0x40000000

TIOCSTI = 0x5412
TIOCLINUX = 0x541C

# machine: (AUDIT_ARCH constant, number of ioctl) from linux/audit.h and the system call tables
_MACHINES = {"x86_64": (0xC000003E, 16), "aarch64": (0xC00000B7, 29), "riscv64": (0xC00000F3, 29)}


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def terminal_filter(machine: str) -> bytes:
    """Refuse typing into a terminal (TIOCSTI, TIOCLINUX), and system calls of another architecture.

    The command of ioctl is 32 bits wide in the kernel, so only the low half is compared: setting high bits does not
    get around it. Other architectures' numbers would pass unseen, so they are refused as a whole (ENOSYS).
    """
    architecture, ioctl = _MACHINES[machine]
    foreign = _instruction(_RETURN, _ERRNO | errno.ENOSYS)
    refused = _instruction(_RETURN, _ERRNO | errno.EPERM)
    allowed = _instruction(_RETURN, _ALLOW)
    return b"".join(
        (
            _instruction(_LOAD_WORD, _ARCH),
            _instruction(_JUMP_EQUAL, architecture, 1, 0),
            foreign,
            _instruction(_LOAD_WORD, _NR),
            _instruction(_JUMP_GE, _X32_BIT, 0, 1),
            foreign,
            _instruction(_JUMP_EQUAL, ioctl, 1, 0),
            allowed,
            _instruction(_LOAD_WORD, _ARG1_LOW),
            _instruction(_JUMP_EQUAL, TIOCSTI, 1, 0),
            _instruction(_JUMP_EQUAL, TIOCLINUX, 0, 1),
            refused,
            allowed,
        )
    )


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install(program: bytes) -> None:
    """Put ``program`` on this process and its children; no_new_privs must be set (PR_SET_SECCOMP)."""
    argument = _Program(len(program) // 8, program)
    libc.call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(argument), 0, 0)
