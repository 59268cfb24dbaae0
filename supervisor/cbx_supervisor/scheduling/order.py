"""Who comes first: three classes that share the starts 60/30/10, fair between users, by score or by expected time.

    critical            before everybody else
    high, medium, low   the class of the score (8-10, 5-7, 1-4); starts are shared among those that wait
    deferred            when nobody else waits

Within a class the user goes first who was served least, in expected seconds; within a user the strategy decides. Every
tenth start of a tier goes to its oldest job, whatever its class: so each job starts after a bounded number of others.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Iterator
from enum import StrEnum

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.lock_modes import Want


class Importance(StrEnum):
    """What the submitter says of a job."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    DEFERRED = "deferred"

    @property
    def score(self) -> float:
        """On the scale of 1-10 that the whole score is made from."""
        return _SCORES[self]


_SCORES = {
    Importance.CRITICAL: 10.0,
    Importance.HIGH: 8.5,
    Importance.NORMAL: 6.0,
    Importance.LOW: 3.5,
    Importance.DEFERRED: 1.5,
}


class Rank(StrEnum):
    """The queue that a job stands in."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    DEFERRED = "deferred"


SHARES = {Rank.HIGH: 60, Rank.MEDIUM: 30, Rank.LOW: 10}
OLDEST_EVERY = 10  # starts of a tier
LEAST_COST = 0.1  # s; a job that is expected to take less counts as that, or the quick would cost nothing


class Strategy(StrEnum):
    """How the jobs of one user and class are ordered."""

    PRIORITY = "priority"
    SHORTEST_FIRST = "shortest-first"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One job that waits to be started. Times are in seconds."""

    number: int
    uid: int
    tier: Tier
    wants: tuple[Want, ...] = ()
    score: float = 6.0  # 1-10, the higher the sooner
    importance: Importance = Importance.NORMAL
    seconds: float = 1.0  # expected
    submitted: float = 0.0
    after: frozenset[int] = frozenset()  # jobs that must have succeeded

    @property
    def rank(self) -> Rank:
        """The queue it stands in."""
        if self.importance is Importance.CRITICAL:
            return Rank.CRITICAL
        if self.importance is Importance.DEFERRED:
            return Rank.DEFERRED
        return Rank.HIGH if self.score >= 7.5 else Rank.MEDIUM if self.score >= 4.5 else Rank.LOW


Key = tuple[float, int]


def _by_priority(entry: Entry) -> Key:
    return (-entry.score, entry.number)


def _shortest_first(entry: Entry) -> Key:
    # Who waits gains on who is shorter: four seconds of waiting make up for one of running. Since all age alike, the
    # order of two jobs never changes, and the key is a constant.
    return (entry.submitted + 4 * entry.seconds, entry.number)


_KEYS: dict[Strategy, Callable[[Entry], Key]] = {
    Strategy.PRIORITY: _by_priority,
    Strategy.SHORTEST_FIRST: _shortest_first,
}


class Queue:
    """Jobs of all tiers that could be started as far as is known. ``remove`` is lazy: what is gone is skipped later."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.entries: dict[int, Entry] = {}
        self._heaps: dict[tuple[Tier, Rank], dict[int, list[tuple[Key, int]]]] = {}
        self._oldest: dict[Tier, list[int]] = {tier: [] for tier in Tier}
        self._served: dict[int, float] = {}
        self._credit = dict.fromkeys(SHARES, 0.0)
        self._starts = dict.fromkeys(Tier, 0)

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, entry: Entry) -> None:
        """Put a job in its place."""
        if entry.uid not in self._served:
            # Who was away has saved nothing up.
            self._served[entry.uid] = min(self._served.values(), default=0.0)
        self.entries[entry.number] = entry
        users = self._heaps.setdefault((entry.tier, entry.rank), {})
        heapq.heappush(users.setdefault(entry.uid, []), (_KEYS[self.strategy](entry), entry.number))
        heapq.heappush(self._oldest[entry.tier], entry.number)

    def remove(self, number: int) -> None:
        """Take a job out: started, withdrawn, or found to wait for something."""
        self.entries.pop(number, None)

    def reorder(self, strategy: Strategy) -> None:
        """Go on by another strategy."""
        waiting = list(self.entries.values())
        self.strategy = strategy
        self.entries.clear()
        self._heaps.clear()
        self._oldest = {tier: [] for tier in Tier}
        for entry in waiting:
            self.add(entry)

    def candidates(self, free: tuple[Tier, ...]) -> Iterator[Entry]:
        """Who would be next among the tiers with a free slot, and so on: ask again after each change."""
        for tier in free:
            if self._starts[tier] % OLDEST_EVERY == OLDEST_EVERY - 1 and (oldest := self._head(tier)) is not None:
                yield oldest
        for rank in self._ranks():
            best = self._best(rank, free)
            if best is not None:
                yield best

    def started(self, entry: Entry) -> None:
        """Charge a start to its user and class."""
        self.remove(entry.number)
        self._starts[entry.tier] += 1
        self._served[entry.uid] = self._served.get(entry.uid, 0.0) + max(entry.seconds, LEAST_COST)
        if entry.rank in SHARES:
            waiting = {rank: weight for rank, weight in self._weights().items() if weight or rank is entry.rank}
            total = sum(waiting.values()) or 1.0
            for rank, weight in waiting.items():
                self._credit[rank] += weight / total
            self._credit[entry.rank] -= 1.0

    def forget(self, uid: int) -> None:
        """Nothing of this user waits or runs any more."""
        self._served.pop(uid, None)

    def _weights(self) -> dict[Rank, float]:
        """The shares of the classes that have somebody waiting, a tenth of the way to the lengths of their queues."""
        lengths = {
            rank: sum(len(heap) for tier in Tier for heap in self._heaps.get((tier, rank), {}).values())
            for rank in SHARES
        }
        total = sum(lengths.values())
        return {
            rank: 0.9 * SHARES[rank] + 0.1 * 100 * lengths[rank] / total if lengths[rank] else 0.0 for rank in SHARES
        }

    def _ranks(self) -> list[Rank]:
        shared = sorted(SHARES, key=lambda rank: (-self._credit[rank], -SHARES[rank]))
        return [Rank.CRITICAL, *shared, Rank.DEFERRED]

    def _best(self, rank: Rank, free: tuple[Tier, ...]) -> Entry | None:
        """The first job of the user who was served least, over the tiers with a free slot."""
        best: tuple[float, Key] | None = None
        chosen: Entry | None = None
        for tier in free:
            users = self._heaps.get((tier, rank), {})
            for uid in list(users):
                heap = users[uid]
                while heap and heap[0][1] not in self.entries:
                    heapq.heappop(heap)
                if not heap:
                    del users[uid]
                    continue
                place = (self._served.get(uid, 0.0), heap[0][0])
                if best is None or place < best:
                    best, chosen = place, self.entries[heap[0][1]]
        return chosen

    def _head(self, tier: Tier) -> Entry | None:
        heap = self._oldest[tier]
        while heap and heap[0] not in self.entries:
            heapq.heappop(heap)
        return self.entries[heap[0]] if heap else None
