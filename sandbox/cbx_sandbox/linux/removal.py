"""Removing trees that nobody else changes, whatever is in them."""

from __future__ import annotations

import os
import stat

from cbx_sandbox.linux import files


def remove_tree(dir_fd: int, name: bytes) -> int:
    """Remove ``name`` and all beneath it, whatever it is; return how many entries went. Missing is no error.

    For trees that nobody else changes. Follows no symlink, crosses no mount (EXDEV, EBUSY), clears immutable flags.
    """
    removed = _remove_entry(dir_fd, name)
    if removed is not None:
        return removed
    with files.Cursor(dir_fd) as cursor:
        count = remove_beneath(cursor.enter(name))
    _insist(dir_fd, name, directory=True)
    return count + 1


def remove_beneath(dir_fd: int) -> int:
    """Remove all that is in the directory, as :func:`remove_tree` does; return how many entries went."""
    with files.Cursor(dir_fd) as cursor:
        directories, count = _clear_files(cursor.fd)
        pending = [directories]
        names: list[bytes] = []
        while pending:
            if pending[-1]:
                names.append(pending[-1].pop())
                cursor.enter(names[-1])
                directories, removed = _clear_files(cursor.fd)
                pending.append(directories)
                count += removed
                continue
            pending.pop()
            if names:
                _insist(cursor.leave(), names.pop(), directory=True)
                count += 1
    return count


def _remove_entry(dir_fd: int, name: bytes) -> int | None:
    """Remove ``name`` unless it is a directory (None)."""
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if stat.S_ISDIR(status.st_mode):
        return None
    _insist(dir_fd, name, directory=False)
    return 1


def _clear_files(dir_fd: int) -> tuple[list[bytes], int]:
    """Remove what is no directory in ``dir_fd``; return the directories and the number removed."""
    directories = []
    count = 0
    with os.scandir(dir_fd) as entries:
        listed = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in listed:
        if is_directory:
            directories.append(name)
        else:
            _insist(dir_fd, name, directory=False)
            count += 1
    return directories, count


def _insist(dir_fd: int, name: bytes, *, directory: bool) -> None:
    remove = os.rmdir if directory else os.unlink
    try:
        remove(name, dir_fd=dir_fd)
    except PermissionError:
        # EPERM for root is an immutable or append-only mark, on the entry or on the directory that holds it.
        unprotect(dir_fd)
        unprotect(dir_fd, name)
        remove(name, dir_fd=dir_fd)


def unprotect(dir_fd: int, name: bytes = b"") -> None:
    """Clear the immutable and append-only marks; only regular files and directories have them."""
    if not files.statx(dir_fd, name).attributes & (files.ATTR_IMMUTABLE | files.ATTR_APPEND):
        return
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name or b".", flags, dir_fd=dir_fd)
    try:
        files.change_attributes(fd, remove=files.FS_IMMUTABLE_FL | files.FS_APPEND_FL)
    finally:
        os.close(fd)
