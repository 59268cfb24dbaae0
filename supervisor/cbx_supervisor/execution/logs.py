"""Reading the output that was kept of a job, also while it is written."""

from __future__ import annotations

import collections

from cbx_sandbox.box.joblog import read

__all__ = ["CHUNK", "last_lines", "read"]

CHUNK = 1 << 16


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
