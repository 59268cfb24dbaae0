"""What threads hand to the event loop: one call for all that has come until the loop looks."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """To wake the loop is a system call, and the thread that makes it loses its turn: so it is done once for many."""

    def __init__(self, take: Callable[[T], None]) -> None:
        """``take`` is called in the loop that runs now, with each thing that was put, in order."""
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._things: collections.deque[T] = collections.deque()
        self._called = False

    def put(self, thing: T) -> None:
        """Hand something over, from any thread."""
        self._things.append(thing)
        if not self._called:
            self._called = True
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is there to be told
                self._loop.call_soon_threadsafe(self._empty)

    def _empty(self) -> None:
        self._called = False  # before the look: what comes after it calls again
        try:
            while self._things:
                self._take(self._things.popleft())
        finally:
            if self._things:  # to take one has failed: it keeps nothing from the others
                self._loop.call_soon(self._empty)
