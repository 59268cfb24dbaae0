"""A line of jobs in which users take turns: who was served least goes first, and each user's jobs stand in order.

Places are brought up to date when they are looked at. That is enough because they only ever get later: what a user was
served grows, and who comes with an earlier job is put in anew.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Any)
SPARE = 32  # what a user's heap may hold of jobs that are gone, beside as many as it held when it was cleared


class _Jobs(Generic[K]):
    """One user's jobs; those that are gone are found out when they come to the front, or when they are too many."""

    __slots__ = ("heap", "most")

    def __init__(self) -> None:
        self.heap: list[K] = []
        self.most = SPARE

    def push(self, key: K, alive: Callable[[K], bool]) -> None:
        heapq.heappush(self.heap, key)
        if len(self.heap) > self.most:
            self.heap = [*{key for key in self.heap if alive(key)}]
            heapq.heapify(self.heap)
            self.most = 2 * len(self.heap) + SPARE


class Line(Generic[K]):
    """Keys of jobs, that sort as the jobs do. ``alive`` says of a key whether its job still stands here with it."""

    __slots__ = ("_alive", "_current", "_jobs", "_served", "_users")

    def __init__(self, served: Callable[[int], float], alive: Callable[[K], bool]) -> None:
        self._served = served
        self._alive = alive
        self._jobs: dict[int, _Jobs[K]] = {}  # of each user
        self._users: list[tuple[float, K, int]] = []  # what a user was served, its first key, the user
        self._current: dict[int, tuple[float, K, int]] = {}  # which of the places of a user counts

    def add(self, uid: int, key: K) -> None:
        """Put a job in; it is taken out by not being alive any more."""
        jobs = self._jobs.get(uid)
        if jobs is None:
            jobs = self._jobs[uid] = _Jobs()
        jobs.push(key, self._alive)
        self._offer(uid, key)

    def resume(self, uid: int) -> None:
        """Look again at the jobs of a user who was passed over."""
        jobs = self._jobs.get(uid)
        if jobs is not None and jobs.heap and uid not in self._current:
            self._offer(uid, jobs.heap[0])

    def first(self, stopped: Container[int]) -> tuple[float, K, int] | None:
        """What the first user was served, its first key, the user, passing over ``stopped`` ones; None: nobody."""
        users, alive = self._users, self._alive
        while users:
            top = users[0]
            uid = top[2]
            if self._current.get(uid) is not top:
                heapq.heappop(users)
                continue
            heap = self._jobs[uid].heap
            while heap and not alive(heap[0]):
                heapq.heappop(heap)
            if not heap or uid in stopped:
                heapq.heappop(users)
                del self._current[uid]
                if not heap:
                    del self._jobs[uid]
                continue
            served = self._served(uid)
            if heap[0] == top[1] and served == top[0]:
                return top
            place = self._current[uid] = (served, heap[0], uid)
            heapq.heapreplace(users, place)
        return None

    def _offer(self, uid: int, key: K) -> None:
        """See to it that the user stands here no later than with ``key``."""
        standing = self._current.get(uid)
        if standing is None or key < standing[1]:
            standing = self._current[uid] = (self._served(uid), key, uid)
            heapq.heappush(self._users, standing)
