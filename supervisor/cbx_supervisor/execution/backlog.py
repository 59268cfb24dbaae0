"""How far the analysis may be behind a user who submits: sending more waits until it has caught up.

What was taken and has no place among the jobs that wait is in memory as a whole, so there must not be more and more of
it. Each user waits for the own jobs alone: they may lie on a file system that hangs.
"""

from __future__ import annotations

import asyncio
import collections

MOST = 500  # jobs of one user


class CaughtUp:
    """Who waits for fewer jobs to be behind; for the event loop."""

    def __init__(self) -> None:
        self._behind: dict[int, set[int]] = collections.defaultdict(set)  # jobs by user
        self._waiters: dict[int, list[asyncio.Future[None]]] = {}

    async def wait(self, uid: int, most: int = MOST) -> None:
        """Return when no more than ``most`` of this user's jobs are behind; not more than ``MOST``."""
        while len(self._behind.get(uid, ())) > most:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(uid, []).append(waiter)
            await waiter

    def taken(self, uid: int, job: int) -> None:
        """It has to be planned, and to wait for its place until those before it are."""
        self._behind[uid].add(job)

    def over(self, uid: int, job: int) -> None:
        """It has its place, or will not have one."""
        behind = self._behind.get(uid)
        if behind is None or job not in behind:
            return
        behind.remove(job)
        if not behind:
            del self._behind[uid]
        if len(behind) <= MOST:
            for waiter in self._waiters.pop(uid, ()):
                if not waiter.done():
                    waiter.set_result(None)
