"""Work on files, which may hang: in threads, each counted to the user whose files they are."""

from __future__ import annotations

import collections
import contextlib
import fcntl
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec, TypeVar

from cbx_sandbox.errors import CbxError
from cbx_supervisor.execution.workers import Workers

T = TypeVar("T")
P = ParamSpec("P")
LOOKING = 2  # threads that look at files, as long as none is stuck


class Files:
    """Threads that look, that work, and that close."""

    def __init__(self, patience: float) -> None:
        """``patience``: seconds after which a look counts as one that hangs."""
        self._lookups = Workers("look", patience, at_once=LOOKING)
        self._work = Workers("work", None)
        self._closers = Workers("close", None, at_once=1)
        self._closing: collections.Counter[int] = collections.Counter()

    async def look(
        self, uid: int, function: Callable[..., T], *args: object, late: Callable[[T], object] | None = None
    ) -> T:
        """Look at files for ``uid``. Raises NotStartedError if one of them hangs; ``late`` undoes what comes then."""
        return await self._lookups.run(uid, functools.partial(function, *args), late=late)

    async def work(self, uid: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Work on files for ``uid``, as long as it takes; what the system refuses becomes an error for people."""
        try:
            return await self._work.run(uid, functools.partial(function, *args, **kwargs))
        except OSError as error:
            hint = "is the disk full or read-only?"
            raise CbxError(f"cannot keep the job's changes apart: {error}", hint=hint) from error

    def close(self, fds: Iterable[int], uid: int) -> None:
        """Close descriptors that ``uid`` has passed.

        To close a file is to ask its file system, which may hang: nobody waits for that, but :meth:`closing` counts it.
        """
        files = []
        for fd in fds:
            if _is_pipe(fd):
                os.close(fd)
            else:
                files.append(fd)
        if files:
            self._closing[uid] += len(files)
            self._closers.soon(functools.partial(_close_all, files), functools.partial(self._closed, uid, len(files)))

    def closing(self, uid: int) -> int:
        """How many files that ``uid`` passed are still being closed."""
        return self._closing[uid]

    def _closed(self, uid: int, count: int) -> None:
        self._closing[uid] -= count


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):  # it is closed all the same: what it could not write is its owner's loss
            os.close(fd)


def _is_pipe(fd: int) -> bool:
    try:
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) > 0
    except OSError:
        return False
