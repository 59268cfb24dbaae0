"""What a strategy is judged by: how long jobs waited, how busy the slots were, how fair it was."""

from __future__ import annotations

import dataclasses
from array import array
from collections import defaultdict
from collections.abc import Sequence

from cbx_supervisor.model.distribution import Distribution, distribution
from cbx_supervisor.scheduling.simulation.host import Day

QUICK = 10.0  # s; a slowdown is held against at least so long a run, or the shortest would decide all


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """One strategy on all hosts. ``waits`` are in seconds, ``by_rank`` those of each class.

    ``slowdown`` is the mean of (wait + run) / max(run, 10 s), at least 1. ``busy`` is the share of all slots in use
    while jobs waited: locks and the slots of single tiers keep it from 1. ``fairness`` is Jain's index of the users'
    mean slowdowns: 1 when all are served alike, 1/n when one of n alone is (Jain, Chiu, Hawe 1984).
    """

    waits: Distribution
    by_rank: dict[str, Distribution]
    slowdown: float
    busy: float
    fairness: float
    refused: int


class Collector:
    """Takes one host's day after the other; keeps eight bytes for each job."""

    def __init__(self, total: int) -> None:
        """``total`` is the number of slots of each host."""
        self._total = total
        self._waits: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self._slowdowns: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._busy = self._backlogged = 0.0
        self._refused = 0

    def add(self, day: Day) -> None:
        """Count one host's day."""
        self._busy += day.busy
        self._backlogged += day.backlogged
        self._refused += day.refused
        for served in day.served:
            seconds = served.job.seconds
            self._waits[served.job.entry.rank.value].append(served.waited)
            slowdown = self._slowdowns[served.job.entry.uid]
            slowdown[0] += max(1.0, (served.waited + seconds) / max(seconds, QUICK))
            slowdown[1] += 1

    def figures(self) -> Figures:
        """All that was counted."""
        means = [total / jobs for total, jobs in self._slowdowns.values()]
        jobs = sum(count for _, count in self._slowdowns.values())
        return Figures(
            waits=distribution(wait for waits in self._waits.values() for wait in waits),
            by_rank={rank: distribution(waits) for rank, waits in sorted(self._waits.items())},
            slowdown=sum(total for total, _ in self._slowdowns.values()) / jobs if jobs else 1.0,
            busy=self._busy / (self._backlogged * self._total) if self._backlogged else 1.0,
            fairness=jain(means),
            refused=self._refused,
        )


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness, 1/n to 1."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0
