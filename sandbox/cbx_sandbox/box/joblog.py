"""The output that is kept of a job that nobody waits for: its beginning and its end, in one file of bounded size.

Init copies it from the job's pipe, so it needs no supervisor. The first 512 KiB of the file are the first bytes of the
output, as they came; a shorter output is just that. What follows goes into two segments behind them, in turn: when
one is full the other one begins anew. A segment begins with a line of 80 bytes, ::

    cbx-log start=P size=S length=L

and blanks before its end of line: its bytes are those from position P of the whole output on, L of them so far, and
it has room for S. The second segment lies 80 + S bytes behind the first.
"""

from __future__ import annotations

import os
import re

HEAD = 512 << 10
HEADER = 80
_LINE = re.compile(rb"cbx-log start=(\d+) size=(\d+) length=(\d+) *\n")


class Writer:
    """Appends to a log that it is the only writer of."""

    def __init__(self, fd: int, limit: int) -> None:
        """``limit`` is the most bytes that the file may have, at least 1 MiB."""
        self._fd = fd
        self._room = max((limit - HEAD) // 2, 256 << 10) - HEADER
        self._total = 0

    def write(self, data: bytes) -> None:
        """Append. A full disk loses output; the job goes on."""
        while data:
            try:
                written = self._head(data) if self._total < HEAD else self._tail(data)
            except OSError:
                return
            self._total += written
            data = data[written:]

    def _head(self, data: bytes) -> int:
        return os.pwrite(self._fd, data[: HEAD - self._total], self._total)

    def _tail(self, data: bytes) -> int:
        segment, used = divmod(self._total - HEAD, self._room)
        begin = HEAD + segment % 2 * (HEADER + self._room)
        if used == 0:
            # Empty before it is overwritten: who reads meanwhile must not take the new bytes for the old ones.
            self._mark(begin, self._total, 0)
        written = os.pwrite(self._fd, data[: self._room - used], begin + HEADER + used)
        self._mark(begin, self._total - used, used + written)
        return written

    def _mark(self, begin: int, start: int, length: int) -> None:
        line = f"cbx-log start={start} size={self._room} length={length}"
        os.pwrite(self._fd, line.encode().ljust(HEADER - 1) + b"\n", begin)


def read(fd: int, position: int, size: int) -> tuple[int, bytes]:
    """At most ``size`` bytes of the output from ``position`` on, and where they really begin.

    That is later than asked for where the middle of a long output was not kept. No bytes: there are no more so far.
    """
    if position < HEAD:
        if data := os.pread(fd, min(size, HEAD - position), position):
            return position, data
        return position, b""
    for begin, start, length in sorted(_segments(fd), key=lambda segment: segment[1]):
        if position < start + length:
            at = max(position, start)
            data = os.pread(fd, min(size, start + length - at), begin + HEADER + at - start)
            if any(other[:2] == (begin, start) for other in _segments(fd)):
                return at, data
            return read(fd, position, size)  # it was overwritten meanwhile
    return position, b""


def _segments(fd: int) -> list[tuple[int, int, int]]:
    """Where in the file, from which position of the output, how many bytes: of the segments that there are."""
    found = []
    begin = HEAD
    for _ in range(2):
        line = _LINE.fullmatch(os.pread(fd, HEADER, begin))
        if line is None:
            break
        start, room, length = map(int, line.groups())
        found.append((begin, start, length))
        begin += HEADER + room
    return found
