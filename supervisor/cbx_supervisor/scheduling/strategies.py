"""Who comes first: a strategy sorts jobs into bands, orders the bands at each start, and orders the jobs of a band.

    weighted-round-robin  three classes by score share the starts 60/30/10, a tenth of it by the lengths of their queues
    shortest-first        the expected time counts; waiting makes up for it
    resource-aware        next is what the machine has most room for: computing as many as there are cores, one that
                          fills the memory at a time, reading and writing in parallel, networking together
    critical-path         the longest chain of jobs that come after it counts

In each, `critical` goes before and `deferred` after all others, users of a band take turns by what they were served,
and every tenth start goes to the oldest (see queue).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from cbx_sandbox.shell.estimate import Bound
from cbx_supervisor.scheduling.order import Entry, Rank

Key = tuple[int, float, int]  # by hand, by the strategy, by age


class Strategy(StrEnum):
    """The names, as the configuration has them."""

    WEIGHTED = "weighted-round-robin"
    SHORTEST_FIRST = "shortest-first"
    RESOURCE_AWARE = "resource-aware"
    CRITICAL_PATH = "critical-path"


class Policy(Protocol):
    """One strategy at work."""

    def band(self, entry: Entry) -> str:
        """Where a job stands; neither `critical` nor `deferred`, which no strategy decides."""

    def key(self, entry: Entry) -> float:
        """Its place there: the lowest first."""

    def order(self, lengths: Mapping[str, int]) -> Sequence[str]:
        """The bands, first to last, now that so many wait in each."""

    def started(self, entry: Entry, lengths: Mapping[str, int]) -> None:
        """One of them was started; ``lengths`` are those from before."""

    def ended(self, entry: Entry) -> None:
        """One that was started is over."""


class _Plain:
    """What most strategies do: one band, nothing to remember."""

    def band(self, entry: Entry) -> str:
        """Where a job stands."""
        del entry
        return "all"

    def order(self, lengths: Mapping[str, int]) -> Sequence[str]:
        """The bands, first to last."""
        del lengths
        return ("all",)

    def started(self, entry: Entry, lengths: Mapping[str, int]) -> None:
        """Nothing to remember."""

    def ended(self, entry: Entry) -> None:
        """Nothing to remember."""


@functools.lru_cache(maxsize=1024)
def _highest_first(score: float) -> float:
    """One object for all jobs of that score: very many may wait."""
    return -score


SHARES = {Rank.HIGH: 60, Rank.MEDIUM: 30, Rank.LOW: 10}


class WeightedRoundRobin(_Plain):
    """Smooth weighted round-robin: each start adds its share to every class that waits and takes one from its own."""

    def __init__(self) -> None:
        self._credit: dict[str, float] = dict.fromkeys(SHARES, 0.0)

    def band(self, entry: Entry) -> str:
        """Where a job stands."""
        return entry.rank

    def key(self, entry: Entry) -> float:
        """Its place there."""
        return _highest_first(entry.score)

    def order(self, lengths: Mapping[str, int]) -> Sequence[str]:
        """The bands, first to last."""
        del lengths
        return sorted(SHARES, key=self._credit.__getitem__, reverse=True)  # stable: of equals the larger share

    def started(self, entry: Entry, lengths: Mapping[str, int]) -> None:
        """Remember a start."""
        own = entry.rank
        if own not in SHARES:
            return
        there = [(rank, lengths.get(rank, 0)) for rank in SHARES]
        total = sum([length for _, length in there]) or 1
        weights = [
            (rank, 0.9 * SHARES[rank] + 10.0 * length / total) for rank, length in there if length or rank is own
        ]
        whole = sum([weight for _, weight in weights])
        for rank, weight in weights:
            self._credit[rank] += weight / whole
        self._credit[own] -= 1.0


AGING = 4.0  # seconds of waiting that make up for one of running


class ShortestFirst(_Plain):
    """By expected time; since all age alike, the order of two jobs never changes, and the key is a constant."""

    def key(self, entry: Entry) -> float:
        """Its place there."""
        return entry.submitted + AGING * entry.seconds


class CriticalPath(_Plain):
    """By the expected time from a job's start to the end of the longest chain that comes after it, then by score."""

    def __init__(self, tail: Callable[[int], float]) -> None:
        self._tail = tail

    def key(self, entry: Entry) -> float:
        """Its place there."""
        tail = self._tail(entry.number)
        # What nothing comes after is on no path: by score, behind all that are (scores are 10 at most).
        return -(entry.seconds + tail) - 1.0 if tail else -entry.score / 10


class ResourceAware(_Plain):
    """By the share of what its kind may fill that is running already; within a kind by score."""

    def __init__(self, cores: int) -> None:
        self._room = {
            Bound.CPU: float(cores),
            Bound.MEMORY: 1.0,
            Bound.IO: 4.0 * cores,
            Bound.NETWORK: 8.0 * cores,
            Bound.NOTHING: 8.0 * cores,
        }
        self._running: dict[str, int] = dict.fromkeys(Bound, 0)

    def band(self, entry: Entry) -> str:
        """Where a job stands."""
        return entry.bound

    def key(self, entry: Entry) -> float:
        """Its place there."""
        return _highest_first(entry.score)

    def order(self, lengths: Mapping[str, int]) -> Sequence[str]:
        """The bands, first to last."""
        return sorted(
            (bound for bound in self._room if lengths.get(bound)),
            key=lambda bound: (self._running[bound] + 1) / self._room[bound],
        )

    def started(self, entry: Entry, lengths: Mapping[str, int]) -> None:
        """Remember a start."""
        del lengths
        self._running[entry.bound] += 1

    def ended(self, entry: Entry) -> None:
        """Remember an end."""
        self._running[entry.bound] -= 1


def policy(strategy: Strategy, *, cores: int, tail: Callable[[int], float]) -> Policy:
    """The strategy of that name; ``tail`` says how long what comes after a job will take."""
    match strategy:
        case Strategy.WEIGHTED:
            return WeightedRoundRobin()
        case Strategy.SHORTEST_FIRST:
            return ShortestFirst()
        case Strategy.RESOURCE_AWARE:
            return ResourceAware(cores)
        case Strategy.CRITICAL_PATH:
            return CriticalPath(tail)
