"""The job's private terminal: made inside the box, so nothing of it leads to the caller's own."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from cbx_sandbox.box.spec import TerminalSpec

_TIOCSPTLCK, _TIOCGPTN = 0x40045431, 0x80045430  # ioctl_tty(2)


def open_master(size: TerminalSpec) -> tuple[int, str]:
    """A new master on the box's own devpts, sized; returns it and the path of its other end."""
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    (number,) = struct.unpack("i", fcntl.ioctl(master, _TIOCGPTN, struct.pack("i", 0)))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", size["rows"], size["columns"], 0, 0))
    return master, f"/dev/pts/{number}"


def adopt(path: str) -> None:
    """Make the terminal ``path`` the controlling terminal and the standard descriptors of this session leader."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
    for standard in (0, 1, 2):
        os.dup2(fd, standard)
    os.close(fd)
