"""Which names an archive holds, read from its table; for archives that anybody may have prepared, with bounded work."""

from __future__ import annotations

import bz2
import io
import lzma
import posixpath
import tarfile
import zipfile
import zlib
from typing import IO

MAX_PACKED = 1 << 20  # bytes of a compressed archive that are unpacked to read the names in it
MAX_UNPACKED = 4 << 20  # bytes that this may make
MAX_MEMBERS = 1000
MAX_TABLE = 256 << 10  # bytes that are read at once: of a zip's table, of a name in a tar
_GZIP, _BZIP, _XZ, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", (b"PK\x03\x04", b"PK\x05\x06")


def members(file: IO[bytes]) -> tuple[str, ...] | None:
    """Return the paths in a tar or zip archive, relative, directories among them.

    None where it is neither, is too large, or where one of its links may lead the others elsewhere.
    """
    try:
        head = file.read(8)
        file.seek(0)
        if head.startswith(_ZIP):
            return _names([entry.filename for entry in zipfile.ZipFile(_Bounded(file)).infolist()], [])
        plain = _unpacked(file, head)
        return None if plain is None else _tar(plain)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError):
        return None
    except (RuntimeError, NotImplementedError, UnicodeDecodeError, OverflowError):  # zipfile, of what it cannot read
        return None


class _Bounded(io.RawIOBase):
    """A file of which little is read: both libraries read what an archive says to be the size of a name or a table."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = MAX_UNPACKED

    def read(self, size: int = -1, /) -> bytes:
        """As the file; ValueError where that would be too much."""
        if size > MAX_TABLE or self._left <= 0:
            raise ValueError("too much to read")
        data = self._file.read(size if size >= 0 else MAX_TABLE + 1)
        if len(data) > MAX_TABLE:
            raise ValueError("too much to read")
        self._left -= len(data)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As the file."""
        return self._file.tell()

    def seekable(self) -> bool:
        """As every archive that is not unpacked."""
        return True


def _unpacked(file: IO[bytes], head: bytes) -> IO[bytes] | None:
    """Return a plain archive; None where unpacking it would be too much."""
    if not head.startswith((_GZIP, _BZIP, _XZ)):
        return file
    packed = file.read(MAX_PACKED + 1)
    if len(packed) > MAX_PACKED:
        return None
    if head.startswith(_GZIP):
        data = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(packed, MAX_UNPACKED)
    elif head.startswith(_BZIP):
        data = bz2.BZ2Decompressor().decompress(packed, MAX_UNPACKED)
    else:
        data = lzma.LZMADecompressor(memlimit=64 << 20).decompress(packed, MAX_UNPACKED)
    return io.BytesIO(data) if len(data) < MAX_UNPACKED else None


def _tar(file: IO[bytes]) -> tuple[str, ...] | None:
    names, links = [], []
    with tarfile.TarFile(fileobj=_Bounded(file), mode="r") as archive:
        for member in archive:
            names.append(member.name)
            if member.issym():
                links.append(member.name)
            if len(names) > MAX_MEMBERS:
                return None
    return _names(names, links)


def _names(names: list[str], links: list[str]) -> tuple[str, ...] | None:
    """Make names relative and plain; what would go up is left out by those who unpack it."""
    if len(names) > MAX_MEMBERS:
        return None
    plain = [posixpath.normpath(name.lstrip("/") or ".") for name in names]
    inside = dict.fromkeys(name for name in plain if ".." not in name.split("/"))
    through = tuple(posixpath.normpath(name.lstrip("/")) + "/" for name in links)
    if any(name.startswith(through) for name in inside) or len(inside) != len(dict.fromkeys(plain)):
        return None
    return tuple(inside)
