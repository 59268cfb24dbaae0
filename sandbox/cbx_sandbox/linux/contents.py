"""The contents of regular files: copied with their holes, shared where a file system can, compared."""

from __future__ import annotations

import errno
import fcntl
import os

_FICLONE = 0x40049409
_CHUNK = 1 << 20
_SECTOR = 512  # what a disk writes as a whole, or not


def ficlone(source: int, target: int) -> bool:
    """Share all data of ``source`` with ``target``; False where the file system cannot (ioctl_ficlone(2))."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY}:
            return False
        raise
    return True


def copy_data(source: int, target: int) -> None:
    """Make ``target`` hold what ``source`` holds, holes included, sharing the data where that is possible."""
    os.ftruncate(target, 0)
    if ficlone(source, target):
        return
    size = os.fstat(source).st_size
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole until the end
                break
            raise
        end = os.lseek(source, offset, os.SEEK_HOLE)
        while offset < end:
            data = os.pread(source, min(_CHUNK, end - offset), offset)
            if not data:
                break
            _write(target, data, offset)
            offset += len(data)
    os.ftruncate(target, size)


def same_data(one: int, other: int) -> bool:
    """Whether two regular files hold the same bytes."""
    offset = 0
    while True:
        first, second = os.pread(one, _CHUNK, offset), os.pread(other, _CHUNK, offset)
        # A short read is the end of the file: regular files are read in full.
        if first != second:
            return False
        if not first:
            return True
        offset += len(first)


def overwrite(source: int, target: int, size: int, reading: int = -1) -> None:
    """Make ``target`` begin with the first ``size`` bytes of ``source``; what it has beyond them stays.

    Only what differs is written, so it can go on later. Blocks that ``target`` has stay its own. ``reading`` is a
    descriptor of the same file where ``target`` cannot read.
    """
    reading = target if reading < 0 else reading
    offset = 0
    while (offset := _next_data((source, reading), offset, size)) < size:
        data = _read(source, offset, size)
        if _read(reading, offset, size) != data:
            _write(target, data, offset)
        offset += len(data)
    if os.fstat(target).st_size < size:
        os.ftruncate(target, size)


def append(source: int, target: int, offset: int) -> None:
    """Write what ``source`` has from ``offset`` on to the end of ``target``, which is open for appending."""
    while data := os.pread(source, _CHUNK, offset):
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
        offset += len(data)


def begins_as(one: int, other: int, size: int) -> bool:
    """Whether the first ``size`` bytes of two files are the same."""
    offset = 0
    while (offset := _next_data((one, other), offset, size)) < size:
        data = _read(one, offset, size)
        if data != _read(other, offset, size):
            return False
        offset += len(data)
    return True


def is_between(found: int, new: int, old: int, old_size: int) -> bool:
    """Whether ``found`` is what an :func:`overwrite` of ``old`` by ``new``, or the way back, leaves if it is cut short.

    Each sector is that of one or the other, or was never written. Of ``old`` only ``old_size`` bytes count. Anything
    else has been written by somebody else.
    """
    new_size, size = os.fstat(new).st_size, os.fstat(found).st_size
    if not min(old_size, new_size) <= size <= max(old_size, new_size):
        return False
    offset = 0
    while (offset := _next_data((found, new, old), offset, size)) < size:
        data = _read(found, offset, size)
        one, other = (
            os.pread(fd, max(0, min(len(data), end - offset)), offset) for fd, end in ((new, new_size), (old, old_size))
        )
        # The shorter one ends within the longer one until the size is set.
        pure = [content.ljust(len(data), b"\0") for content in (one, other)]
        if not _of_either(data, [*pure, one + pure[1][len(one) :], other + pure[0][len(other) :]]):
            return False
        offset += len(data)
    return True


def _of_either(data: bytes, contents: list[bytes]) -> bool:
    if data in contents:
        return True
    for at in range(0, len(data), _SECTOR):
        sector = data[at : at + _SECTOR]
        if sector.strip(b"\0") and all(sector != content[at : at + _SECTOR] for content in contents):
            return False
    return True


def _next_data(fds: tuple[int, ...], offset: int, size: int) -> int:
    """Where the next data of one of the files begins; ``size`` if there is none before."""
    found = size
    for fd in fds:
        try:
            found = min(found, os.lseek(fd, offset, os.SEEK_DATA))
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole until the end, or the end
                raise
    return found


def _read(fd: int, offset: int, end: int) -> bytes:
    """A chunk, with zeros where the file has no more."""
    length = min(_CHUNK, end - offset)
    return os.pread(fd, length, offset).ljust(length, b"\0")


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written
