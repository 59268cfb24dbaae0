"""fanotify in its descriptor mode: what was read through mounts that were named, told after it happened (fanotify(7)).

Events carry open files: whoever reads them closes them. The mode that carries names instead is refused for overlays.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import termios
from typing import NamedTuple

from cbx_sandbox.linux import libc

ACCESS = 0x1
CLOSE_NOWRITE = 0x10
OPEN_EXEC = 0x1000
Q_OVERFLOW = 0x4000
ONDIR = 0x40000000

_CLOEXEC, _NONBLOCK = 0x1, 0x2
_MARK_ADD, _MARK_DONT_FOLLOW, _MARK_MOUNT = 0x1, 0x4, 0x10
_AT_FDCWD = -100
_EVENT = struct.Struct("=IBBHQii")  # struct fanotify_event_metadata
MOST = 64  # events that one read returns: each is a descriptor until it is closed


class Event(NamedTuple):
    """One event: what happened, an open file that was touched (-1: events were lost), and which process did it."""

    mask: int
    fd: int
    pid: int


def group() -> int:
    """A new group; its queue is bounded, and an event says so when events were lost. Needs CAP_SYS_ADMIN."""
    # Without O_NONBLOCK to open a file for an event could wait for others: for a lease on it, or a FIFO's writer.
    flags = os.O_RDONLY | os.O_LARGEFILE | os.O_CLOEXEC | os.O_NONBLOCK
    return libc.call("fanotify_init", _CLOEXEC | _NONBLOCK, flags)


def mark_mount(group_fd: int, path: str, mask: int) -> None:
    """Have what happens through the mount at ``path`` told; through other mounts of its file system is not."""
    flags = _MARK_ADD | _MARK_MOUNT | _MARK_DONT_FOLLOW
    libc.call("fanotify_mark", group_fd, flags, ctypes.c_uint64(mask), _AT_FDCWD, os.fsencode(path))


def pending(group_fd: int) -> bool:
    """Whether there are events that were not read."""
    left = bytearray(4)
    fcntl.ioctl(group_fd, termios.FIONREAD, left)
    return any(left)


def read(group_fd: int) -> list[Event]:
    """The next events, at most ``MOST``; the caller closes their files. Raises OSError: one could not be opened."""
    data = os.read(group_fd, MOST * _EVENT.size)
    events = []
    at = 0
    while at + _EVENT.size <= len(data):
        length, _version, _reserved, _header, mask, fd, pid = _EVENT.unpack_from(data, at)
        events.append(Event(mask, fd, pid))
        at += length
    return events
