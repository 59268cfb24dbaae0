"""So much a second, of look-ups or of bytes."""

from __future__ import annotations

import asyncio
import time


class Budget:
    """So many units a second, with what one second gives in reserve."""

    def __init__(self, rate: float) -> None:
        self._rate = self._level = rate
        self._at = time.monotonic()

    def _fill(self) -> None:
        now = time.monotonic()
        self._level = min(self._rate, self._level + (now - self._at) * self._rate)
        self._at = now

    def try_take(self) -> bool:
        """Take one unit if there is one."""
        self._fill()
        if self._level < 1:
            return False
        self._level -= 1
        return True

    async def take(self, count: int) -> None:
        """Take ``count`` units, and wait until they are paid for."""
        if not self._rate:
            return
        self._fill()
        self._level -= count
        if self._level < 0:
            await asyncio.sleep(-self._level / self._rate)
