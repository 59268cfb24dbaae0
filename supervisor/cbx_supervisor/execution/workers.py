"""Threads for what touches files: a file system that does not answer holds up who asked for it, and nobody else.

A thread that waits for a dead server cannot be ended. So every user has a bounded number of them, and who waits for
one gives up after a time; the thread goes on waiting, and what it brings then is thrown away. The threads are daemonic:
they do not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from cbx_sandbox.errors import NotStartedError

T = TypeVar("T")
_Told = Callable[[Any, BaseException | None], None]

EACH = 8  # calls of one user at once
ROOTS = 48
MOST = 256  # threads; only many users with dead file systems at once come to it


class Workers:
    """A pool of threads, made as they are needed. All methods are for the event loop."""

    def __init__(self, name: str, patience: float | None) -> None:
        """``patience`` is how long a caller waits at most, in seconds; None: as long as it takes."""
        self._name = name
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[Callable[[], Any], _Told | None]] = queue.SimpleQueue()
        self._rooms: dict[int, asyncio.Semaphore] = {}
        self._busy = 0
        self._threads = 0

    async def run(self, uid: int, function: Callable[[], T], *, late: Callable[[T], object] | None = None) -> T:
        """Call ``function`` in a thread, on behalf of ``uid``.

        Raises NotStartedError when that took too long. If it returns after all, ``late`` is called with what it
        returned, in a thread, too.
        """
        try:
            async with asyncio.timeout(self._patience):
                room = self._rooms.setdefault(uid, asyncio.Semaphore(EACH if uid else ROOTS))
                await room.acquire()
                return await self._call(room, function, late)
        except TimeoutError:
            raise NotStartedError(
                f"cannot go on: a file system has not answered for {self._patience:g} s",
                hint="the command, its directory or its output lies on a mount that hangs; try again when it answers",
            ) from None

    def soon(self, function: Callable[[], object], then: Callable[[], None] | None = None) -> None:
        """Call ``function`` in a thread, and ``then`` in the loop; nobody waits for it."""
        self._put(function, None if then is None else lambda *_: then())

    async def _call(self, room: asyncio.Semaphore, function: Callable[[], T], late: Callable[[T], object] | None) -> T:
        answer: asyncio.Future[T] = self._loop.create_future()

        def told(value: Any, error: BaseException | None) -> None:
            room.release()
            if not answer.done():
                answer.set_result(value) if error is None else answer.set_exception(error)
            elif error is None and late is not None:
                self.soon(functools.partial(late, value))

        self._put(function, told)
        return await answer

    def _put(self, function: Callable[[], Any], told: _Told | None) -> None:
        self._busy += 1
        if self._threads < min(self._busy, MOST):
            self._threads += 1
            threading.Thread(target=self._work, name=f"cbx-{self._name}-{self._threads}", daemon=True).start()
        self._queue.put((function, told))

    def _work(self) -> None:
        while True:
            function, told = self._queue.get()
            value, error = None, None
            try:
                value = function()
            except BaseException as raised:  # noqa: BLE001  # it belongs to who asked
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is there to be told
                self._loop.call_soon_threadsafe(self._done, told, value, error)
            del function, told, value, error

    def _done(self, told: _Told | None, value: Any, error: BaseException | None) -> None:
        self._busy -= 1
        if told is not None:
            told(value, error)
