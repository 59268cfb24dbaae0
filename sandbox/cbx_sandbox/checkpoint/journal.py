"""The file that decides what became of a commit: one record that is on disk whole, or is not there.

A record is a frame: mark, length, CRC-32, then JSON. What is torn, at whatever byte, ends the journal before it.
COMMIT is the atomic point: until it is on disk nothing has been changed, and from then on a commit is finished, however
often it is interrupted. A later record says in which direction the work goes, or that it is done.
"""

from __future__ import annotations

import enum
import os
import struct
import zlib
from typing import Any

import msgspec

from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files

NAME = "journal"
_FRAME = struct.Struct("<4sIII")  # mark, kind, length, CRC of kind and payload
_MARK = b"cbxJ"
_LARGEST = 1 << 30
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


class Entry(enum.IntEnum):
    """A kind of record. The last one says where the commit stands."""

    COMMIT = 1  # with the Record: to be done
    ABORT = 2  # to be taken back, and the layers made what they were
    DONE = 3  # everything is in the live tree, and on disk; the stage holds what was there before
    UNDO = 4  # to be taken back, the layers are gone
    UNDONE = 5  # taken back, and on disk; the stage holds what was committed
    REDO = 6  # to be done again


class InDoubtError(CbxError):
    """The disk failed at the atomic point: whether the record will be there after a restart, nobody can say."""


class Journal:
    """An open journal."""

    def __init__(self, directory: str, fd: int) -> None:
        self.directory = directory
        self._fd = fd

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def append(self, entry: Entry, value: dict[str, Any] | None = None) -> None:
        """Write a record, on disk when this returns. Raises OSError: the disk did not take it."""
        _write(self._fd, frame(entry, value or {}))
        os.fsync(self._fd)

    def reserve(self, size: int) -> None:
        """Have room on the disk for ``size`` more bytes. Raises OSError: there is none."""
        files.fallocate(self._fd, os.fstat(self._fd).st_size, size)

    def remove(self) -> None:
        """End it: gone from the disk when this returns."""
        remove(self.directory)


def create(directory: str, value: dict[str, Any]) -> Journal:
    """Begin a journal with its COMMIT record; this is the atomic point of a commit.

    Raises OSError: not written, and nothing is left of it; InDoubtError: the disk failed and may have kept it.
    """
    fd = os.open(f"{directory}/{NAME}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | _FLAGS, 0o600)
    journal = Journal(directory, fd)
    try:
        _write(fd, frame(Entry.COMMIT, value))
        os.fsync(fd)
        _sync_directory(directory)
    except BaseException as error:
        # A failed fsync may have written all the same, and is not tried again: the next one would call it clean. Only
        # a name that is gone, and is known to be, makes the record void.
        journal.close()
        try:
            journal.remove()
        except OSError as second:
            raise InDoubtError(
                f"the commit is in doubt: {second.strerror} at its journal",
                details=f"nothing was changed so far; what {directory}/{NAME} says will be done at the next start",
                hint="look after the disk, then restart the supervisor: it finishes the commit or calls it off",
            ) from error
        raise
    return journal


def opened(directory: str) -> Journal | None:
    """The journal in ``directory``, to write on; None if there is none."""
    try:
        fd = os.open(f"{directory}/{NAME}", os.O_RDWR | os.O_APPEND | _FLAGS)
    except FileNotFoundError:
        return None
    return Journal(directory, fd)


def read(directory: str) -> list[tuple[Entry, dict[str, Any]]]:
    """All whole records; none if there is no journal."""
    try:
        fd = os.open(f"{directory}/{NAME}", os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return []
    with os.fdopen(fd, "rb") as file:
        return parse(file.read())


def parse(raw: bytes) -> list[tuple[Entry, dict[str, Any]]]:
    """The whole records at the beginning of ``raw``."""
    return _whole(raw)[0]


def _whole(raw: bytes) -> tuple[list[tuple[Entry, dict[str, Any]]], int]:
    """The whole records, and where they end."""
    found = []
    offset = 0
    while len(raw) - offset >= _FRAME.size:
        mark, kind, length, crc = _FRAME.unpack_from(raw, offset)
        payload = raw[offset + _FRAME.size : offset + _FRAME.size + length]
        if mark != _MARK or length > _LARGEST or len(payload) != length or crc != _crc(kind, payload):
            break
        found.append((Entry(kind), msgspec.json.decode(payload)))
        offset += _FRAME.size + length
    return found, offset


class Tail(enum.Enum):
    """What follows the last whole record of a journal."""

    NOTHING = "nothing"
    TORN = "torn"  # the beginning of a record, or blocks that were never written
    DAMAGED = "damaged"  # a record of the right length with other contents than were written


def tail(directory: str) -> Tail:
    """What follows the whole records; NOTHING if there is no journal."""
    try:
        fd = os.open(f"{directory}/{NAME}", os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return Tail.NOTHING
    with os.fdopen(fd, "rb") as file:
        raw = file.read()
    rest = raw[_whole(raw)[1] :]
    if not rest:
        return Tail.NOTHING
    if len(rest) < _FRAME.size or not rest.strip(b"\0"):
        return Tail.TORN
    mark, _kind, length, _sum = _FRAME.unpack_from(rest)
    return Tail.TORN if mark == _MARK and len(rest) < _FRAME.size + length else Tail.DAMAGED


def frame(entry: Entry, value: dict[str, Any]) -> bytes:
    """One record."""
    payload = msgspec.json.encode(value)
    return _FRAME.pack(_MARK, entry, len(payload), _crc(entry, payload)) + payload


def trim(directory: str) -> None:
    """Cut off what a crash left of a record, so that the next one is found."""
    with open(f"{directory}/{NAME}", "r+b", opener=_opener) as file:
        raw = file.read()
        whole = _whole(raw)[1]
        if len(raw) != whole:
            os.ftruncate(file.fileno(), whole)
            os.fsync(file.fileno())


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | _FLAGS)


def remove(directory: str) -> None:
    """Remove the journal in ``directory``, on disk when this returns; none there is no error."""
    try:
        os.unlink(f"{directory}/{NAME}")
    except FileNotFoundError:
        return
    _sync_directory(directory)


def _crc(kind: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack("<I", kind)))


def _write(fd: int, raw: bytes) -> None:
    view = memoryview(raw)
    while view:
        view = view[os.write(fd, view) :]


def _sync_directory(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
