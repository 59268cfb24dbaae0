"""A line of jobs in which users take turns: who was served least goes first, and each user's jobs stand in order.

Places are brought up to date when they are looked at. That is enough because they only ever get later: what a user was
served grows, and who comes with an earlier job is put in anew.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container
from typing import Any

Place = tuple[float, Any, int]  # what the user was served, its first job's key, the user


class Line:
    """Jobs by number. ``alive`` says of a key and a number whether that job still stands here with that key."""

    __slots__ = ("_alive", "_current", "_jobs", "_keys", "_served", "_users")

    def __init__(self, served: Callable[[int], float], alive: Callable[[Any, int], bool]) -> None:
        self._served = served
        self._alive = alive
        self._jobs: dict[int, list[tuple[Any, int]]] = {}  # of each user, in order
        self._users: list[Place] = []
        self._current: dict[int, Place] = {}  # which of the places of a user counts
        self._keys: dict[int, Any] = {}  # by number: the key that it is in its heap with

    def add(self, uid: int, key: Any, number: int) -> None:
        """Put a job in; it is taken out by not being alive any more."""
        heap = self._jobs.get(uid)
        if heap is None:
            heap = self._jobs[uid] = []
        if self._keys.get(number) != key:
            self._keys[number] = key
            heapq.heappush(heap, (key, number))
        self._offer(uid, key)

    def resume(self, uid: int) -> None:
        """Look again at the jobs of a user who was passed over."""
        if (heap := self._jobs.get(uid)) and uid not in self._current:
            self._offer(uid, heap[0][0])

    def first(self, stopped: Container[int]) -> tuple[Place, int] | None:
        """The first place and the number of the job in it, passing over ``stopped`` users; None: nobody stands here."""
        users = self._users
        while users:
            top = users[0]
            uid = top[2]
            if self._current.get(uid) is not top:
                heapq.heappop(users)
                continue
            heap = self._live(uid)
            if not heap or uid in stopped:
                heapq.heappop(users)
                del self._current[uid]
                if not heap:
                    del self._jobs[uid]
                continue
            place = (self._served(uid), heap[0][0], uid)
            if place == top:
                return top, heap[0][1]
            self._current[uid] = place
            heapq.heapreplace(users, place)
        return None

    def _offer(self, uid: int, key: Any) -> None:
        """See to it that the user stands here no later than with ``key``."""
        standing = self._current.get(uid)
        if standing is None or key < standing[1]:
            standing = self._current[uid] = (self._served(uid), key, uid)
            heapq.heappush(self._users, standing)

    def _live(self, uid: int) -> list[tuple[Any, int]]:
        """A user's jobs, the first of them alive."""
        heap = self._jobs[uid]
        while heap and not self._alive(*heap[0]):
            key, number = heapq.heappop(heap)
            if self._keys.get(number) == key:
                del self._keys[number]
        return heap
