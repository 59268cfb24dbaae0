"""What a job needs and no record may hold, in a file of root's own until the job is over.

A detached job may be started by another supervisor, with its true command and environment. The store has them without
secrets; where that makes a difference, the true text lies here, one file a job, on disk before the store says that the
job exists.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container

from cbx_sandbox.errors import CbxError


def keep(directory: str, job: int, text: str) -> None:
    """Have ``text`` on disk. Raises CbxError if it cannot be."""
    path = _path(directory, job)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    except OSError as error:
        forget(directory, job)
        raise CbxError(f"cannot keep what the job needs: {error.strerror}", hint="is the disk full?") from error


def find(directory: str, job: int) -> str | None:
    """What was kept of a job, or None."""
    with contextlib.suppress(FileNotFoundError), open(_path(directory, job), encoding="utf-8") as file:
        return file.read()
    return None


def forget(directory: str, job: int) -> None:
    """Remove what was kept of a job, if anything was."""
    with contextlib.suppress(OSError):
        os.unlink(_path(directory, job))


def forget_others(directory: str, wanted: Container[int]) -> None:
    """Remove what was kept of jobs that are over: their supervisor died before it came to that."""
    for name in os.listdir(directory):
        if not name.isdecimal() or int(name) not in wanted:
            with contextlib.suppress(OSError):
                os.unlink(f"{directory}/{name}")


def _path(directory: str, job: int) -> str:
    return f"{directory}/{job}"
