"""Reading the output that was kept of a job, also while it is written."""

from __future__ import annotations

import collections
import os

CHUNK = 1 << 16


def read(fd: int, position: int, size: int) -> tuple[int, bytes]:
    """At most ``size`` bytes of a log from ``position`` on, and where they begin. No bytes: no more so far."""
    return position, os.pread(fd, size, position)


def last_lines(fd: int, count: int) -> int:
    """Where the last ``count`` lines of a log begin."""
    begins: collections.deque[int] = collections.deque([0], maxlen=count + 1)
    position = 0
    while True:
        begin, data = read(fd, position, CHUNK)
        if not data:
            break
        at = -1
        while (at := data.find(b"\n", at + 1)) >= 0:
            begins.append(begin + at + 1)
        position = begin + len(data)
    if begins[-1] == position:  # the last line is whole: nothing begins behind it
        return begins[0] if len(begins) > count else 0
    return begins[1] if len(begins) > count else 0
