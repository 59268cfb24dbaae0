"""Things that jobs take so much of: memory, and whatever the configuration gives a number (a semaphore).

A job that finds too little waits without holding anything; smaller ones may pass it, but only so often: then what it
waits for is kept for it. Memory is an estimate and no limit: who wants more than there is runs when nobody else does.
What each user but root may have of it is a budget of its own: it holds up only who wants too much of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

from cbx_supervisor.scheduling.order import Entry

MEMORY = "memory"  # in MiB, of the jobs' expected peaks
OF_USER = "memory of user "  # and its number: a share of it
PASSED_AT_MOST = 10  # starts of others that a job lets pass when it waits for a budget or for locks


class _Budget:
    __slots__ = ("ages", "needs", "passed", "size", "used", "waiting")

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self.waiting: dict[int, tuple[Entry, int]] = {}
        self.needs: list[tuple[int, int]] = []
        self.ages: list[int] = []
        self.passed: dict[int, int] = {}

    def oldest(self) -> int | None:
        while self.ages and self.ages[0] not in self.passed:
            heapq.heappop(self.ages)
        return self.ages[0] if self.ages else None


class Budgets:
    """How much of each there is, how much is taken, and who waits for it."""

    def __init__(self, sizes: Mapping[str, int], memory_of_each: int = 0) -> None:
        """``memory_of_each`` user: MiB, 0: no limit."""
        self._memory_of_each = memory_of_each
        self._budgets = {name: _Budget(size) for name, size in sizes.items()}

    def uses(self, entry: Entry) -> tuple[tuple[str, int], ...]:
        """What a job takes, and of what: also of its user's share."""
        if self._memory_of_each and entry.uid:
            for name, amount in entry.uses:
                if name == MEMORY:
                    return (*entry.uses, (f"{OF_USER}{entry.uid}", amount))
        return entry.uses

    def impossible(self, entry: Entry) -> str | None:
        """The budget that would never be enough for a job, if there is one; an unknown one has nothing."""
        for name, amount in entry.uses:
            budget = self._budgets.get(name)
            if name != MEMORY and (budget is None or amount > budget.size):
                return name
        return None

    def lacking(self, entry: Entry) -> str | None:
        """The budget that has too little left now, or keeps it for an older job."""
        for name, amount in self.uses(entry):
            budget = self._budgets.get(name)
            if budget is None:
                continue  # memory that nobody counts, or a user's of whom nothing runs
            oldest = budget.oldest()
            kept = oldest is not None and oldest < entry.number and budget.passed[oldest] >= PASSED_AT_MOST
            if (budget.used and budget.used + amount > budget.size) or kept:
                return name
        return None

    def left(self, name: str) -> tuple[int, int]:
        """How much of a budget is free, and how much there is."""
        budget = self._budgets[name]
        return budget.size - budget.used, budget.size

    def state(self) -> list[tuple[str, int, int, int]]:
        """Of each but the users' shares its name, how much is taken, how much there is, how many jobs wait for it."""
        return [
            (name, one.used, one.size, len(one.waiting))
            for name, one in self._budgets.items()
            if not name.startswith(OF_USER)
        ]

    def put(self, entry: Entry, name: str) -> None:
        """A job that waits for more of ``name``."""
        budget, number = self._budgets[name], entry.number
        amount = dict(self.uses(entry))[name]
        budget.waiting[number] = (entry, amount)
        heapq.heappush(budget.needs, (amount, number))
        if number not in budget.passed:
            budget.passed[number] = 0
            heapq.heappush(budget.ages, number)

    def get(self, number: int) -> Entry | None:
        """One that waits."""
        for budget in self._budgets.values():
            if number in budget.waiting:
                return budget.waiting[number][0]
        return None

    def entries(self) -> list[Entry]:
        """All that wait."""
        return [entry for budget in self._budgets.values() for entry, _ in budget.waiting.values()]

    def take(self, entry: Entry) -> None:
        """A job is started."""
        for name, amount in self.uses(entry):
            if (budget := self._find(name)) is not None:
                budget.used += amount
                budget.passed.pop(entry.number, None)
                oldest = budget.oldest()
                if oldest is not None and oldest < entry.number:
                    budget.passed[oldest] += 1

    def give(self, entry: Entry) -> list[Entry]:
        """It is over; who is to be looked at again: the smallest as long as they fit, and the oldest."""
        woken: list[Entry] = []
        for name, amount in self.uses(entry):
            if (budget := self._budgets.get(name)) is not None:
                budget.used -= amount
                woken += self._wake(budget)
                self._drop(name, budget)
        return woken

    def forget(self, entry: Entry) -> list[Entry]:
        """A job that does not wait any more; what was kept for it is free for these."""
        woken: list[Entry] = []
        for name, _ in self.uses(entry):
            budget = self._budgets.get(name)
            if budget is not None and budget.passed.pop(entry.number, None) is not None:
                budget.waiting.pop(entry.number, None)
                woken += self._wake(budget)
                self._drop(name, budget)
        return woken

    def resize(self, sizes: Mapping[str, int], memory_of_each: int, running: Iterable[Entry]) -> list[Entry]:
        """Other sizes from now on; returns all who waited."""
        woken = self.entries()
        self._memory_of_each = memory_of_each
        self._budgets = {name: _Budget(size) for name, size in sizes.items()}
        for entry in running:
            self.take(entry)
        return woken

    def _find(self, name: str) -> _Budget | None:
        """A budget; that of a user is there as long as somebody takes something of it, or waits for it."""
        if name.startswith(OF_USER):
            return self._budgets.setdefault(name, _Budget(self._memory_of_each))
        return self._budgets.get(name)

    def _drop(self, name: str, budget: _Budget) -> None:
        if name.startswith(OF_USER) and not (budget.used or budget.passed):
            del self._budgets[name]

    @staticmethod
    def _wake(budget: _Budget) -> list[Entry]:
        woken, room = [], budget.size - budget.used
        oldest = budget.oldest()
        if oldest is not None and oldest in budget.waiting:
            entry, amount = budget.waiting.pop(oldest)
            woken.append(entry)
            room -= amount
        while budget.needs:
            amount, number = budget.needs[0]
            if number in budget.waiting:
                if amount > room and budget.used:
                    break
                woken.append(budget.waiting.pop(number)[0])
                room -= amount
            heapq.heappop(budget.needs)
        return woken
