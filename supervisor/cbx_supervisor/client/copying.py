"""Copies bytes between descriptors without blocking the loop that also forwards signals."""

import _socket
import posix

CHUNK = 1 << 16


class Copier:
    """One direction: reads only when what was read before is written."""

    def __init__(self, source: int, target: int, *, end: bytes = b"") -> None:
        self.source = source
        self._target = target
        self._end = end  # written after the last byte: a terminal's end-of-file character
        self._buffer = b""
        self.reading = True
        self.done = False
        self._socket = _as_socket(target)
        self._writer = target if self._socket else _own_description(target)

    def wants(self) -> tuple[int, bool] | None:
        """Return the descriptor to wait for, and whether for writing."""
        if self.done:
            return None
        return (self._writer, True) if self._buffer else (self.source, False)

    def step(self) -> None:
        """Do the one thing that wants() waited for."""
        if self._buffer:
            self._write()
        else:
            self._read()

    def _read(self) -> None:
        try:
            self._buffer = posix.read(self.source, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: the pty's other side is closed; ECONNRESET
            self._buffer = b""
        if not self._buffer and self.reading:
            self.reading = False
            self._buffer, self._end = self._end, b""
            if not self._buffer:
                self.finish()

    def _write(self) -> None:
        try:
            if self._socket is not None:
                sent = self._socket.send(self._buffer, _socket.MSG_DONTWAIT)
            else:
                sent = posix.write(self._writer, self._buffer)
        except BlockingIOError:
            return
        except OSError:  # EPIPE, ENOSPC …: as if the job had written there itself, it learns by its own next write
            sent = 0
        if not sent:  # 0 is also what a file takes that never will take anything (the memory of an ended process)
            self._end = self._buffer = b""
            self.finish()
            return
        self._buffer = self._buffer[sent:]
        if not self._buffer and not self.reading:
            self.finish()

    def finish(self) -> None:
        """Stop, and close the pipes that are ours, so that the other side sees the end."""
        if self.done:
            return
        self.done = True
        for number in {self.source, self._target, self._writer}:
            if number > 2:
                posix.close(number)


def _own_description(target: int) -> int:
    """Return a descriptor of the same file that does not block.

    O_NONBLOCK belongs to the open file, which the caller shares, so a terminal or a pipe is opened once more.
    """
    kind = posix.fstat(target).st_mode & 0o170000
    if kind not in {0o020000, 0o010000} or target > 2:
        if target > 2:
            posix.set_blocking(target, False)
        return target
    flags = posix.O_WRONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
    try:
        return posix.open(f"/proc/self/fd/{target}", flags)
    except OSError:  # somebody else's terminal after su: blocking is what is left
        return target


def _as_socket(target: int) -> _socket.socket | None:
    if posix.fstat(target).st_mode & 0o170000 != 0o140000:
        return None
    return _socket.socket(fileno=posix.dup(target))
