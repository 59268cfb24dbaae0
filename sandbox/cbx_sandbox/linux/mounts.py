"""Mounts: the new mount API and the three old calls that it did not replace."""

from __future__ import annotations

import ctypes
import os

from cbx_sandbox.linux import libc

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC

MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

ATTR_RDONLY = 0x01
ATTR_NOSUID = 0x02
ATTR_NODEV = 0x04
ATTR_NOEXEC = 0x08
ATTR_IDMAP = 0x100000

MS_PRIVATE = 1 << 18
MNT_DETACH = 2

# linux/unistd.h (asm-generic): from 424 on the numbers are the same on every architecture.
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}


class _MountAttr(ctypes.Structure):
    """struct mount_attr (mount_setattr(2))."""

    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def open_tree(path: str, *, dir_fd: int = AT_FDCWD, recursive: bool = False) -> int:
    """Clone the mount at ``path`` ("" with ``dir_fd``: at that descriptor) as a detached tree; return its fd."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return libc.syscall(_OPEN_TREE, dir_fd, os.fsencode(path), flags, name=f"open_tree {path}")


def move_mount(fd: int, target: str, *, dir_fd: int = AT_FDCWD) -> None:
    """Attach the detached mount ``fd`` at ``target`` ("" with ``dir_fd``: on that descriptor)."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if target else MOVE_MOUNT_T_EMPTY_PATH)
    libc.syscall(_MOVE_MOUNT, fd, b"", dir_fd, os.fsencode(target), flags, name=f"move_mount {target}")


def mount_setattr(
    fd: int,
    path: str = "",
    *,
    set_: int = 0,
    clear: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
    recursive: bool = False,
) -> None:
    """Change the attributes of a mount, or of a whole tree of them, in one step (mount_setattr(2))."""
    attributes = _MountAttr(set_, clear, propagation, userns_fd)
    flags = (0 if path else AT_EMPTY_PATH) | (AT_RECURSIVE if recursive else 0)
    size = ctypes.sizeof(attributes)
    raw = os.fsencode(path)
    libc.syscall(_MOUNT_SETATTR, fd, raw, flags, ctypes.byref(attributes), size, name=f"mount_setattr {path}")


def new_mount(kind: str, options: dict[str, str | None], attributes: int = 0) -> int:
    """Create a file system of ``kind`` and return a detached mount of it; an option of None is a flag.

    Raises OSError with the kernel's own log line when it has one (fsopen(2), fsconfig(2), fsmount(2)).
    """
    context = libc.syscall(_FSOPEN, kind.encode(), FSOPEN_CLOEXEC, name=f"fsopen {kind}")
    try:
        for key, value in options.items():
            if value is None:
                libc.syscall(_FSCONFIG, context, FSCONFIG_SET_FLAG, key.encode(), None, 0, name=f"{kind} option {key}")
            else:
                raw = os.fsencode(value)
                libc.syscall(_FSCONFIG, context, FSCONFIG_SET_STRING, key.encode(), raw, 0, name=f"{kind} option {key}")
        libc.syscall(_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0, name=f"mount {kind}")
        return libc.syscall(_FSMOUNT, context, FSMOUNT_CLOEXEC, attributes, name=f"fsmount {kind}")
    except OSError as error:
        log = _context_log(context)
        if not log:
            raise
        raise OSError(error.errno, f"{error.strerror} ({log})") from error
    finally:
        os.close(context)


def _context_log(context: int) -> str:
    # Reading a context returns one message a call, ENODATA when there is none (fsopen(2)).
    lines = []
    while True:
        try:
            lines.append(os.read(context, 4096).decode(errors="replace").strip())
        except OSError:
            return "; ".join(lines)


def umount(target: str, flags: int = 0) -> None:
    """Unmount what is on top at ``target`` (umount2(2))."""
    libc.call("umount2", os.fsencode(target), flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make ``new_root`` the root of the mount namespace (pivot_root(2))."""
    number = _PIVOT_ROOT[os.uname().machine]
    libc.syscall(number, os.fsencode(new_root), os.fsencode(put_old), name="pivot_root")
