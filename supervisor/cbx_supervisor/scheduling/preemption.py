"""Who is stopped for a critical job: the least important, and nobody too often."""

from __future__ import annotations

from collections.abc import Iterable

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.budgets import PASSED_AT_MOST
from cbx_supervisor.scheduling.order import Entry, Importance, Rank

FROZEN_AT_MOST = 3  # times that one job is frozen for others


class Preemption:
    """The jobs that have lent their slot, the first one first."""

    def __init__(self) -> None:
        self._passed: dict[int, int] = {}  # how many were started before it while it was frozen
        self._times: dict[int, int] = {}  # how often a job that runs was frozen

    def __len__(self) -> int:
        return len(self._passed)

    def __contains__(self, number: object) -> bool:
        return number in self._passed

    def numbers(self) -> tuple[int, ...]:
        """All of them, in the order in which they were frozen."""
        return tuple(self._passed)

    def victim(self, running: Iterable[Entry], tier: Tier | None) -> Entry | None:
        """The least important running job, of ``tier`` or of any; the one started last among equals."""
        ranks = list(Rank)
        found = [
            (ranks.index(entry.rank), place, entry)
            for place, entry in enumerate(running)
            if entry.importance is not Importance.CRITICAL
            and tier in {None, entry.tier}
            and entry.number not in self._passed
            and self._times.get(entry.number, 0) < FROZEN_AT_MOST
        ]
        return max(found, key=lambda one: one[:2])[2] if found else None

    def freeze(self, number: int) -> None:
        """It lends its slot."""
        self._passed[number] = 0
        self._times[number] = self._times.get(number, 0) + 1

    def thaw(self, number: int) -> None:
        """It has it again."""
        del self._passed[number]

    def waits_patiently(self, number: int) -> bool:
        """Whether one more may go before it."""
        return self._passed[number] < PASSED_AT_MOST

    def passed(self) -> None:
        """One more went before all of them."""
        self._passed = {number: times + 1 for number, times in self._passed.items()}

    def forget(self, number: int) -> bool:
        """A job is over; True if it was frozen."""
        self._times.pop(number, None)
        return self._passed.pop(number, None) is not None
