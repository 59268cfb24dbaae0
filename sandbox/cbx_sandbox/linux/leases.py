"""Whether anybody has a file open, asked of the kernel: it grants a lease only if nobody is in its way (fcntl(2))."""

from __future__ import annotations

import errno
import fcntl
import os
import signal


def open_for_writing(dir_fd: int, name: bytes) -> bool:
    """Whether somebody has the regular file ``name`` open for writing: a process anywhere, or a loop device.

    False where the file system has no leases. The caller must be its owner or root, and must not have it open so.
    """
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        # Who opens it in the moment that the lease lasts is told to us by a signal: one that does nothing.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(fd)
    return False
