"""Files by descriptor and name: the calls that Python lacks, and a walk that never leaves its tree.

A function per system call, named as the call. Names are bytes: a file name is not text.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import struct
import threading
from collections.abc import Iterator
from typing import NamedTuple, Self

from cbx_sandbox.linux import libc

AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
# How a tree that somebody else may be changing is walked: no symlink, no way out, no other mount.
RESOLVE_STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

STATX_BASIC_STATS = 0x07FF
STATX_BTIME = 0x0800
STATX_MNT_ID = 0x1000
ATTR_IMMUTABLE = 0x10
ATTR_APPEND = 0x20

CLOSE_RANGE_CLOEXEC = 4
CLOSE_RANGE_MAX = 0xFFFFFFFF

_KEEP_SIZE = 1
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
FS_IMMUTABLE_FL, FS_APPEND_FL = 0x10, 0x20

_OPENAT2, _CLOSE_RANGE = 437, 436  # the same number on every architecture (asm-generic)

_MAX_HANDLE = 128  # MAX_HANDLE_SZ


class _OpenHow(ctypes.Structure):
    """struct open_how (openat2(2))."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def openat2(dir_fd: int, path: str | bytes, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """Open ``path`` relative to ``dir_fd`` under the rules of ``resolve``; always close-on-exec (openat2(2))."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    raw = os.fsencode(path)
    for attempt in range(64):
        try:
            return libc.syscall(_OPENAT2, dir_fd, raw, ctypes.byref(how), ctypes.sizeof(how), name="openat2")
        except OSError as error:
            # EAGAIN: a rename or mount somewhere on the host raced with "..", the answer would not be safe.
            if error.errno != errno.EAGAIN or attempt == 63:
                raise
    raise AssertionError


_renameat2 = libc.function(
    "renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint
)  # fmt: skip


def renameat2(old_dir: int, old: bytes, new_dir: int, new: bytes, flags: int = 0) -> None:
    """Rename, exchange, or rename without replacing (renameat2(2))."""
    libc.check(_renameat2(old_dir, old, new_dir, new, flags), "renameat2")


class Statx(NamedTuple):
    """What statx(2) tells beyond os.stat: the mount, the time of birth, the attributes. A tuple: quickly made."""

    mode: int
    uid: int
    gid: int
    nlink: int
    ino: int
    size: int
    device: int
    rdev: int
    mtime_ns: int
    ctime_ns: int
    btime_ns: int | None
    mount_id: int | None
    attributes: int


class _Scratch(threading.local):
    """Where the calls of one thread put their answers: to make a buffer takes longer than to have it filled."""

    def __init__(self) -> None:
        super().__init__()
        self.status = ctypes.create_string_buffer(256)
        self.status_at = ctypes.addressof(self.status)
        self.handle = ctypes.create_string_buffer(_HANDLE.size + _MAX_HANDLE)
        self.handle_at = ctypes.addressof(self.handle)
        self.mount_id = ctypes.c_int()
        self.mount_id_at = ctypes.addressof(self.mount_id)


_HANDLE = struct.Struct("=Ii")  # struct file_handle: size of what follows, type
_scratch = _Scratch()
_statx = libc.function("statx", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
_STATX_MASK = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID
_STATX_LAYOUT = struct.Struct("=IIQIIIHxxQQQQ qIxxxx qIxxxx qIxxxx qIxxxx IIII Q")


def statx(dir_fd: int, name: bytes = b"") -> Statx:
    """Status of ``name`` in ``dir_fd`` (the descriptor itself if empty), not following a symlink (statx(2))."""
    flags = AT_SYMLINK_NOFOLLOW if name else AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH
    if _statx(dir_fd, name, flags, _STATX_MASK, _scratch.status_at) < 0:
        libc.check(-1, "statx")
    (
        got, _block, attributes, nlink, uid, gid, mode, ino, size, _blocks, _attributes_mask,
        _as, _an, bs, bn, cs, cn, ms, mn, rmajor, rminor, major, minor, mount_id,
    ) = _STATX_LAYOUT.unpack_from(_scratch.status)  # fmt: skip
    # By position: for each of very many files.
    return Statx(
        mode, uid, gid, nlink, ino, size, os.makedev(major, minor), os.makedev(rmajor, rminor),
        ms * 1_000_000_000 + mn, cs * 1_000_000_000 + cn, bs * 1_000_000_000 + bn if got & STATX_BTIME else None,
        mount_id if got & STATX_MNT_ID else None, attributes,
    )  # fmt: skip


_name_to_handle_at = libc.function(
    "name_to_handle_at", ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int
)


def file_handle(dir_fd: int, name: bytes = b"") -> bytes | None:
    """The file system's own lasting name for an inode: handle type and handle; None if it has none.

    A handle outlives renames and reboots and differs for every inode that ever was (name_to_handle_at(2)).
    """
    scratch = _scratch
    _HANDLE.pack_into(scratch.handle, 0, _MAX_HANDLE, 0)
    flags = 0 if name else AT_EMPTY_PATH
    if _name_to_handle_at(dir_fd, name, scratch.handle_at, scratch.mount_id_at, flags) < 0:
        if ctypes.get_errno() in {errno.EOPNOTSUPP, errno.EOVERFLOW}:
            return None
        libc.check(-1, "name_to_handle_at")
    size, kind = _HANDLE.unpack_from(scratch.handle)
    raw = scratch.handle.raw
    return bytes((kind & 0xFF,)) + raw[_HANDLE.size : _HANDLE.size + size]


def syncfs(fd: int) -> None:
    """Write the whole file system of ``fd`` to its disk; raises if that failed since the last call (syncfs(2))."""
    libc.call("syncfs", fd)


def fallocate(fd: int, offset: int, size: int) -> None:
    """Have the disk keep room for ``size`` bytes from ``offset`` on, behind the end of the file (fallocate(2))."""
    try:
        libc.call("fallocate", fd, _KEEP_SIZE, offset, size)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.ENOSYS}:  # then a write finds out
            raise


def close_range(first: int, last: int, flags: int = 0) -> None:
    """Close, or mark close-on-exec, all descriptors from ``first`` to ``last`` (close_range(2))."""
    libc.syscall(_CLOSE_RANGE, first, last, flags, name="close_range")


def close_others(kept: set[int]) -> None:
    """Close every descriptor from 3 on but these."""
    first = 3
    for fd in sorted(fd for fd in kept if fd >= 3):
        if fd > first:
            close_range(first, fd - 1)
        first = fd + 1
    close_range(first, CLOSE_RANGE_MAX)


@contextlib.contextmanager
def directory(path: str | bytes, flags: int = os.O_RDONLY, *, dir_fd: int | None = None) -> Iterator[int]:
    """A descriptor of the directory ``path``, which is no symlink, for the time of a with-block."""
    fd = os.open(path, flags | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def inside(dir_fd: int, name: bytes = b"") -> bytes:
    """A path for the calls that take no directory descriptor: ``name`` in ``dir_fd``, or the descriptor itself.

    The link in /proc leads straight to the descriptor's own inode, also of an O_PATH one and of a symlink.
    """
    return b"/proc/self/fd/%d/%s" % (dir_fd, name) if name else b"/proc/self/fd/%d" % dir_fd


def chmod(dir_fd: int, name: bytes, mode: int) -> None:
    """Set the permission bits of ``name`` in ``dir_fd``, which is not a symlink; never opens it for reading."""
    # fchmodat2 needs Linux 6.6. An O_PATH descriptor pins the inode, the kernel checks the caller's right to it.
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.ELOOP, "a symlink has no permission bits")
        os.chmod(inside(fd), mode)
    finally:
        os.close(fd)


def change_attributes(fd: int, *, add: int = 0, remove: int = 0) -> None:
    """Set and clear inode flags such as immutable (FS_IOC_SETFLAGS, ioctl_iflags(2))."""
    flags = struct.unpack("=I", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, b"\0" * 4))[0]
    fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("=I", (flags | add) & ~remove))


class _Level:
    __slots__ = ("fd", "identity", "name")

    def __init__(self, name: bytes, fd: int, identity: tuple[int, int]) -> None:
        self.name = name
        self.fd = fd  # -1: given back, to be had again from the level below by ".."
        self.identity = identity


class Cursor:
    """A place in a directory tree: goes down by name and up again, never through a symlink or onto another mount.

    However deep it is, it holds few descriptors: the way up is "..", and each directory must be the one it was.
    """

    def __init__(self, root_fd: int, flags: int = os.O_RDONLY, *, keep: int = 24) -> None:
        self._flags = flags | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._keep = keep
        root = os.open(b".", self._flags, dir_fd=root_fd)
        self._levels = [_Level(b"", root, _identity(root))]
        self._path: bytes | None = b""  # where the cursor is, if go() led there
        self.moves = 0  # how often the cursor has gone up or down

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every descriptor."""
        for level in self._levels:
            if level.fd >= 0:
                os.close(level.fd)
        self._levels.clear()

    @property
    def fd(self) -> int:
        """The directory where the cursor is; valid until it moves."""
        return self._levels[-1].fd

    @property
    def names(self) -> list[bytes]:
        """The names that lead from the root to the cursor."""
        return [level.name for level in self._levels[1:]]

    @property
    def depth(self) -> int:
        """How many directories below the root the cursor is."""
        return len(self._levels) - 1

    def enter(self, name: bytes) -> int:
        """Go down into ``name``. Raises OSError: ELOOP or ENOTDIR if it is no directory, EXDEV if a mount is there."""
        self._path = None
        self.moves += 1
        fd = openat2(self.fd, name, self._flags, resolve=RESOLVE_STRICT)
        self._levels.append(_Level(name, fd, _identity(fd)))
        spare = len(self._levels) - 1 - self._keep
        if spare > 0 and self._levels[spare].fd >= 0:
            os.close(self._levels[spare].fd)
            self._levels[spare].fd = -1
        return fd

    def leave(self) -> int:
        """Go up. Raises OSError (ESTALE) if the directory is no longer where it was."""
        self._path = None
        self.moves += 1
        below = self._levels.pop()
        level = self._levels[-1]
        try:
            if level.fd < 0:
                fd = openat2(below.fd, b"..", self._flags, resolve=RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS)
                if _identity(fd) != level.identity:
                    os.close(fd)
                    raise OSError(errno.ESTALE, "a directory was moved during the walk")
                level.fd = fd
        finally:
            os.close(below.fd)
        return level.fd

    def go(self, path: bytes) -> int:
        """Go to the directory ``path``, given from the root; cheap if it is near in the order of a walk."""
        if path == self._path:
            return self._levels[-1].fd
        wanted = path.split(b"/") if path else []
        common = 0
        for level, name in zip(self._levels[1:], wanted, strict=False):
            if level.name != name:
                break
            common += 1
        while self.depth > common:
            self.leave()
        for name in wanted[common:]:
            self.enter(name)
        self._path = path
        return self.fd


_ELSEWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ESTALE})


def leads_elsewhere(error: OSError) -> bool:
    """Whether a path does not lead where it did. Any other error, a disk's say, is no word about what is there."""
    return error.errno in _ELSEWHERE


def is_there(path: str) -> bool:
    """Whether the path leads to something, a symlink too.

    Raises OSError: that cannot be seen. os.path takes a disk that fails for a file that is not there.
    """
    return _mode_at(path) is not None


def is_directory(path: str) -> bool:
    """Whether the path leads to a directory, not to a symlink. Raises OSError: that cannot be seen."""
    mode = _mode_at(path)
    return mode is not None and stat.S_ISDIR(mode)


def _mode_at(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except OSError as error:
        if not leads_elsewhere(error):
            raise
        return None


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def walk(cursor: Cursor) -> Iterator[tuple[bytes, Statx]]:
    """Yield name and status of everything beneath the directory where ``cursor`` is, parents first.

    An entry's directory is where the cursor is when it is yielded; at the end the cursor is back at the start. Raises
    OSError for a mount in the way (EXDEV) and for a tree that is being moved (ESTALE).
    """
    pending: list[list[bytes]] = []
    while True:
        directories = []
        for name in sorted(map(os.fsencode, os.listdir(cursor.fd))):
            try:
                status = statx(cursor.fd, name)
            except FileNotFoundError:
                continue
            yield name, status
            if stat.S_ISDIR(status.mode):
                directories.append(name)
        directories.reverse()
        pending.append(directories)
        while pending and not pending[-1]:
            pending.pop()
            if pending:
                cursor.leave()
        if not pending:
            return
        cursor.enter(pending[-1].pop())
