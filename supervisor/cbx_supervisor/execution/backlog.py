"""How far the analysis may be behind those who submit: whoever sends more waits for his answer until it has caught up.

What was taken and is not planned yet is in memory as a whole, so there must not be more and more of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

MOST = 500  # jobs


class CaughtUp:
    """Who waits for fewer jobs to be behind; for the event loop."""

    def __init__(self, behind: Callable[[], int]) -> None:
        self._behind = behind
        self._waiters: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Return when no more than ``MOST`` are behind."""
        while self._behind() > MOST:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def look(self) -> None:
        """One less may be behind."""
        if self._waiters and self._behind() <= MOST:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
