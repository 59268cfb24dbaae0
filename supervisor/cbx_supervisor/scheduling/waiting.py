"""Where a job waits: for others, a time, somebody to let it go on, locks, a budget, a breaker, or its turn.

Each job that waits stands in one place, where it is found when what keeps it has changed. Whoever is found to wait for
nothing any more stands in the queue.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable, Sequence

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling import strategies
from cbx_supervisor.scheduling.blocked import Blocked as Sleepers
from cbx_supervisor.scheduling.breakers import Breakers
from cbx_supervisor.scheduling.budgets import Budgets
from cbx_supervisor.scheduling.dependencies import Dependencies, Told
from cbx_supervisor.scheduling.order import Entry
from cbx_supervisor.scheduling.queue import Queue
from cbx_supervisor.scheduling.reservation import Reservation
from cbx_supervisor.scheduling.strategies import Strategy


class Waiting:
    """All jobs that wait. ``running`` is asked who runs; budgets and breakers are the engine's."""

    def __init__(
        self, strategy: Strategy, cores: int, budgets: Budgets, breakers: Breakers, running: Container[int]
    ) -> None:
        self._budgets = budgets
        self._breakers = breakers
        self._running = running
        self.coming = Dependencies()
        self.queue = Queue(self._policy(strategy, cores))
        self.sleepers = Sleepers(self.queue.line_of, self.queue.key_of)
        self.reservation = Reservation(self.sleepers)
        self.counts = dict.fromkeys(Tier, 0)
        self._held: dict[int, Entry] = {}  # somebody paused them
        self._unwelcome: set[int] = set()  # somebody paused them before they asked for their turn
        self._later: dict[int, Entry] = {}  # wait for a time
        self._times: list[tuple[float, int]] = []
        self._tripped: dict[str, dict[int, Entry]] = {}  # by breaker: who waits for it

    # ── coming and going ──

    def come_after(self, entry: Entry) -> set[int]:
        """A job that waits for others; returns those that more comes after than before. Raises CycleError."""
        longer = self.coming.add(entry)
        self.counts[entry.tier] += 1
        return longer

    def come(self, entry: Entry, now: float) -> None:
        """A job that waits for nobody."""
        self.counts[entry.tier] += 1
        self._arrive(entry, now)

    def enter(self, entry: Entry) -> None:
        """Into the queue, or at once to those who wait for the same locks."""
        ahead = self.sleepers.like(entry) if entry.wants else set()
        if any(owner < entry.number for owner in ahead):
            self.sleepers.put(entry, ())
            self.reserve()
        else:
            self.queue.add(entry)

    def started(self, entry: Entry) -> None:
        """A job of the queue is started; its locks are taken."""
        self.queue.started(entry)
        self.counts[entry.tier] -= 1

    def woken_by_start(self, entry: Entry) -> None:
        """One that wanted locks has them: look at those that wanted the same."""
        for woken in self.sleepers.started(entry):
            self.queue.add(woken)
        self.reserve()

    def forget(self, number: int) -> None:
        """A job that will not be started."""
        self._unwelcome.discard(number)
        if (entry := self.find(number)) is not None:
            self.withdraw(entry)
            self.counts[entry.tier] -= 1

    def withdraw(self, entry: Entry) -> None:
        """Take a job out of its place, not out of the count."""
        number = entry.number
        self.queue.remove(number)
        self._held.pop(number, None)
        self._later.pop(number, None)
        self.coming.forget(number)
        self._tripped.get(entry.circuit, {}).pop(number, None)
        for woken in self._budgets.forget(entry):
            self.enter(woken)
        if entry.wants:
            for woken in self.sleepers.forget(entry):
                self.queue.add(woken)
            self.reserve()

    def over(self, number: int, now: float, *, succeeded: bool) -> Told:
        """A job is over: those that came after it enter, or are refused and gone."""
        self._unwelcome.discard(number)
        told = self.coming.over(number, succeeded=succeeded)
        for entry in told.ready:
            self._arrive(entry, now)
        for entry, _ in told.refused:
            self.counts[entry.tier] -= 1
        return told

    def _arrive(self, entry: Entry, now: float) -> None:
        """Into the queue, at its time."""
        if entry.number in self._unwelcome:
            self._held[entry.number] = entry
        elif entry.not_before > now:
            self._later[entry.number] = entry
            heapq.heappush(self._times, (entry.not_before, entry.number))
        else:
            self.enter(entry)

    # ── by hand ──

    def hold(self, number: int) -> bool:
        """Keep a job from being started, also one that is still to come; False if it is kept already."""
        if self.holds(number):
            return False
        entry = self.find(number)
        if entry is None or self.coming.get(number) is not None:
            self._unwelcome.add(number)
        else:
            self.withdraw(entry)
            self._held[number] = entry
        return True

    def unhold(self, number: int, now: float) -> None:
        """Let a job that was kept be started."""
        self._unwelcome.discard(number)
        if (entry := self._held.pop(number, None)) is not None:
            self._arrive(entry, now)

    def holds(self, number: int) -> bool:
        """Whether somebody keeps it."""
        return number in self._held or number in self._unwelcome

    def change(self, entry: Entry) -> None:
        """Say otherwise of a job that waits: its importance, its score, its place. Raises KeyError: it does not."""
        number = entry.number
        old = self.find(number)
        if old is None:
            raise KeyError(number)
        if number in self._held:
            self._held[number] = entry
        elif number in self._later:
            self._later[number] = entry
        elif self.coming.get(number) is not None:
            self.coming.replace(entry)
        else:
            self.withdraw(old)
            self.enter(entry)

    # ── what keeps a job of the queue ──

    def trip(self, entry: Entry) -> None:
        """It waits for its breaker."""
        self.queue.remove(entry.number)
        self._tripped.setdefault(entry.circuit, {})[entry.number] = entry

    def starve(self, entry: Entry, name: str) -> None:
        """It waits for more of a budget."""
        self.queue.remove(entry.number)
        self._budgets.put(entry, name)

    def block(self, entry: Entry, owners: Iterable[int]) -> None:
        """It waits for locks that these hold or keep."""
        self.queue.remove(entry.number)
        self.sleepers.put(entry, owners)
        self.reserve()

    def elder_in_need(self, free: Sequence[Tier]) -> Entry | None:
        """The oldest that waits for locks, if it was passed too often and stands in the queue."""
        oldest = self.reservation.in_need(free)
        return None if oldest is None else self.queue.get(oldest.number)

    def reserve(self) -> None:
        """If another one keeps its set now: who waited for the former may not have to."""
        former = self.reservation.moved()
        if former is not None and former not in self._running:
            self.wake(former)

    def wake(self, owner: int) -> None:
        """Look again at those who were found to wait for ``owner``."""
        woken = self.sleepers.let_go(owner)
        for entry in woken:
            self.queue.add(entry)
        if woken:
            self.reserve()

    # ── the time ──

    def look_at_the_clock(self, now: float) -> None:
        """Those whose time has come enter."""
        while self._times and (self._times[0][0] <= now or self._times[0][1] not in self._later):
            _, number = heapq.heappop(self._times)
            if (entry := self._later.pop(number, None)) is not None:
                self.enter(entry)
        if self._tripped:
            opens_at = self._breakers.opens_at
            for name in [name for name in self._tripped if (at := opens_at(name)) is not None and at <= now]:
                self.try_again(name, now)

    def next_time(self, now: float) -> float | None:
        """When to look at the clock again."""
        if not self._times and not self._tripped:
            return None
        times = [at for at, number in self._times[:1] if number in self._later]
        if self._times and not times:
            times = [now]  # the first is gone: the next is found by looking
        times += [at for name in self._tripped if (at := self._breakers.opens_at(name)) is not None]
        return min(times, default=None)

    def try_again(self, name: str, now: float) -> None:
        """Who waits for a breaker may look again: all if it is closed, one if somebody is to try."""
        waiting = self._tripped.get(name, {})
        if self._breakers.blocks(name, now):
            return
        closed = self._breakers.opens_at(name) is None
        for number in sorted(waiting) if closed else sorted(waiting)[:1]:
            self.enter(waiting.pop(number))
        if not waiting:
            self._tripped.pop(name, None)

    # ── the order ──

    def reorder(self, strategy: Strategy, cores: int, running: Iterable[Entry]) -> None:
        """Go on by another strategy."""
        policy = self._policy(strategy, cores)
        for entry in running:
            policy.started(entry, {})
        self.queue.reorder(policy)
        self.sleepers.rearrange()

    def rekey(self, numbers: Iterable[int]) -> None:
        """More comes after these than before."""
        for number in numbers:
            if (entry := self.queue.remove(number)) is not None:
                self.queue.add(entry)

    def _policy(self, strategy: Strategy, cores: int) -> strategies.Policy:
        return strategies.policy(strategy, cores=cores, tail=self.coming.tail)

    # ── questions ──

    def find(self, number: int) -> Entry | None:
        """A job that waits, wherever."""
        return (
            self.queue.get(number)
            or self.sleepers.get(number)
            or self.coming.get(number)
            or self._held.get(number)
            or self._later.get(number)
            or self._budgets.get(number)
            or next((waiting[number] for waiting in self._tripped.values() if number in waiting), None)
        )

    def entries(self) -> list[Entry]:
        """All jobs that wait, in no order."""
        tripped = [entry for waiting in self._tripped.values() for entry in waiting.values()]
        places = (self.queue, self.sleepers, self.coming, self._budgets)
        return [
            *(entry for place in places for entry in place.entries()),
            *self._held.values(),
            *self._later.values(),
            *tripped,
        ]

    def until(self, number: int) -> float | None:
        """The time that a job waits for; None if it waits for none."""
        entry = self._later.get(number)
        return None if entry is None else entry.not_before
