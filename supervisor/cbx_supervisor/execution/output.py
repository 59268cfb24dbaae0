"""The output of a job that nobody reads: through a pipe into a log of its own, up to a size.

A pipe and not the log itself: a file that can be written lies in no lock set, so no job is given one.
"""

from __future__ import annotations

import asyncio
import os

CHUNK = 1 << 16
DRAIN_SECONDS = 5.0  # for what is still in the pipe when every process of the job has ended


class OutputLog:
    """Copies from a pipe to a log until everybody has closed the pipe."""

    def __init__(self, path: str, limit: int) -> None:
        """Begin the log and make the pipe; ``writer`` is the caller's to close."""
        self._left = limit
        self._log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(self._log)
            raise
        os.set_blocking(self._reader, False)
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._reader, self._copy)

    async def drained(self) -> None:
        """Wait until all of it is in the log."""
        await asyncio.wait([self._end], timeout=DRAIN_SECONDS)

    def close(self) -> None:
        """Copy no more."""
        if self._reader < 0:
            return
        self._loop.remove_reader(self._reader)
        os.close(self._reader)
        os.close(self._log)
        self._reader = -1
        if not self._end.done():
            self._end.set_result(None)

    def _copy(self) -> None:
        try:
            data = os.read(self._reader, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        if self._left > 0:
            self._write(data[: self._left])
            self._left -= len(data)
            if self._left <= 0:
                self._write(b"\n[cbx: the rest of the output was not kept]\n")

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._log, data) :]
        except OSError:
            self._left = 0  # the disk is full: the job goes on without its log
