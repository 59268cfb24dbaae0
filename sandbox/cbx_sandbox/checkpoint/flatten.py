"""One upper directory out of several stacked ones: what an overlay showed over all of them, it shows over this one.

The one above is merged into the one beneath, entry by entry, and each entry by one rename. Whatever it is interrupted
at, merging again finishes it: what was moved is no longer above, and what was not has lost nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from cbx_sandbox.checkpoint.changes import join
from cbx_sandbox.checkpoint.inodes import OVERLAY, unescape
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files, removal, xattr

_OPAQUE, _ORIGIN, _REDIRECT = OVERLAY + b"opaque", OVERLAY + b"origin", OVERLAY + b"redirect"
_PROTECTED = OVERLAY + b"protattr"
_TIMES = b"trusted.cbx.times"
_TYPE, _HANDLE = 4, 21  # offsets in struct ovl_fb, as in checkpoint.inodes
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def flatten(uppers: Sequence[str]) -> None:
    """Merge all of ``uppers``, the lowest first, into the first; the others are gone afterwards.

    Nothing may be mounted over them. Raises CbxError for a moved directory above the first: overlays over saved levels
    are mounted such that there is none.
    """
    translate(uppers)  # before anything is moved: an origin in a level beneath is known only as long as it lies there
    for upper in uppers[1:]:
        if not files.is_directory(upper):
            continue
        with files.directory(upper) as top, files.directory(uppers[0]) as base:
            _merge(top, base)
        os.rmdir(upper)


def translate(uppers: Sequence[str]) -> None:
    """Have every copy name the live original also where it was made from a copy in a level beneath its own.

    What an overlay over them shows stays what it is.
    """
    present = [upper for upper in uppers[1:] if files.is_directory(upper)]
    for place, upper in enumerate(present):
        _translate(upper, [uppers[0], *present[:place]])


# -- origins ----------------------------------------------------------------------------------------------------------


def _translate(upper: str, beneath: Sequence[str]) -> None:
    """Have each copy in ``upper`` name the live original, where it was made from a copy or a file ``beneath``."""
    wanted = dict(_origins_in(upper))
    if not wanted:
        return
    known: dict[bytes, bytes | None] = {}
    for directory in beneath:
        known |= {handle: origin for handle, origin in _handles_in(directory) if handle in wanted.values()}
    if not known:
        return
    with files.directory(upper) as root, files.Cursor(root) as cursor:
        for path, handle in wanted.items():
            if handle in known:
                parent, _, name = path.rpartition(b"/")
                _set(cursor.go(parent), name, _ORIGIN, known[handle])


def _origins_in(upper: str) -> Iterator[tuple[bytes, bytes]]:
    """Path and origin of everything that was copied up."""
    with files.directory(upper) as root, files.Cursor(root) as cursor:
        for name, status in files.walk(cursor):
            if not _is_whiteout(status) and (origin := xattr.every(cursor.fd, name).get(_ORIGIN)):
                yield b"/".join([*cursor.names, name]), origin[_TYPE : _TYPE + 1] + origin[_HANDLE:]


def _handles_in(upper: str) -> Iterator[tuple[bytes, bytes | None]]:
    """The handle of everything, and what it names as its own origin."""
    with files.directory(upper) as root, files.Cursor(root) as cursor:
        for name, status in files.walk(cursor):
            if not _is_whiteout(status) and (handle := files.file_handle(cursor.fd, name)) is not None:
                yield handle, xattr.every(cursor.fd, name).get(_ORIGIN)


# -- merging ----------------------------------------------------------------------------------------------------------


def _merge(top: int, base: int) -> None:
    with files.Cursor(top) as above, files.Cursor(base) as beneath:
        todo = [(b"", False)]
        while todo:
            path, read = todo.pop()
            from_fd, to_fd = above.go(path), beneath.go(path)
            if read:
                _like(from_fd, to_fd)
                if path:
                    directory, _, name = path.rpartition(b"/")
                    os.rmdir(name, dir_fd=above.go(directory))
                continue
            todo.append((path, True))
            _note_times(from_fd)
            names = sorted(map(os.fsencode, os.listdir(from_fd)))
            todo += [(join(path, name), False) for name in names if not _moved(from_fd, to_fd, name)]


def _moved(from_fd: int, to_fd: int, name: bytes) -> bool:
    """Put one entry into the place of the one beneath; False for a directory that shows what is beneath it."""
    mode = os.stat(name, dir_fd=from_fd, follow_symlinks=False).st_mode
    below = _mode(to_fd, name)
    if not stat.S_ISDIR(mode):
        if below is not None and stat.S_ISDIR(below):
            removal.remove_tree(to_fd, name)
        os.rename(name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
        return True
    own = xattr.every(from_fd, name)
    if _REDIRECT in own:
        raise CbxError("cannot join the levels of a transaction: a directory was moved in one of them")
    if own.get(_OPAQUE) != b"y":
        if below is not None and stat.S_ISDIR(below):
            return False
        if below is not None:
            # It took the place of a file, or of what had been removed: nothing shows through, also without that entry.
            xattr.put(from_fd, name, _OPAQUE, b"y")
    if below is not None:
        removal.remove_tree(to_fd, name)
    os.rename(name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
    return True


def _mode(dir_fd: int, name: bytes) -> int | None:
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _like(from_fd: int, to_fd: int) -> None:
    """Give the directory beneath what the one above it was given; what overlayfs noted about it stays."""
    status = os.fstat(from_fd)
    wanted, there = _own_to_job(xattr.every(from_fd)), _own_to_job(xattr.every(to_fd))
    os.fchown(to_fd, status.st_uid, status.st_gid)
    for key in there.keys() - wanted.keys():
        xattr.remove(to_fd, b"", key)
    for key, value in wanted.items():
        if there.get(key) != value:
            xattr.put(to_fd, b"", key, value)
    os.fchmod(to_fd, stat.S_IMODE(status.st_mode))
    accessed, modified = map(int, xattr.every(from_fd)[_TIMES].split())
    os.utime(to_fd, ns=(accessed, modified))


def _note_times(fd: int) -> None:
    """Moving what is in a directory changes its times: what they were is kept with it, also for the next try."""
    if _TIMES not in xattr.every(fd):
        status = os.fstat(fd)
        xattr.put(fd, b"", _TIMES, b"%d %d" % (status.st_atime_ns, status.st_mtime_ns))


def _own_to_job(xattrs: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {
        key: value
        for key, value in xattrs.items()
        if key != _TIMES and (key == _PROTECTED or not key.startswith(OVERLAY) or unescape(key) != key)
    }


def _set(dir_fd: int, name: bytes, key: bytes, value: bytes | None) -> None:
    if value is None:
        xattr.remove(dir_fd, name, key)
    else:
        xattr.put(dir_fd, name, key, value)


def _is_whiteout(status: files.Statx) -> bool:
    return stat.S_ISCHR(status.mode) and status.rdev == 0
