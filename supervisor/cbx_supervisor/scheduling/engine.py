"""Which job is started when: a state machine without I/O. Events and the time go in, actions with reasons come out.

A job is started in one step when its tier has a slot, its user's share and the start rate allow it, the jobs that it
comes after are over, nothing that it depends on is left alone for having failed, there is enough of what it uses, and
its whole lock set is free: it holds nothing while it waits, so nobody waits for who waits.

The oldest job that waits for locks reserves its set: later ones pass it only if they do not want the same. When its
locks are free the strategy decides, but only so often against it: then they are kept until it has them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling import explaining, lock_modes, strategies
from cbx_supervisor.scheduling.actions import Action, Freeze, Grant, Refuse, Start, Thaw, UnschedulableError
from cbx_supervisor.scheduling.blocked import Blocked as Sleepers
from cbx_supervisor.scheduling.breakers import Breakers, Tolerance
from cbx_supervisor.scheduling.budgets import PASSED_AT_MOST, Budgets
from cbx_supervisor.scheduling.capacity import Capacity, Usage
from cbx_supervisor.scheduling.dependencies import Dependencies
from cbx_supervisor.scheduling.lock_modes import LockKey, Want
from cbx_supervisor.scheduling.locks import Blocked, Blocker, Deadlock, Granted, LockTable
from cbx_supervisor.scheduling.order import Entry
from cbx_supervisor.scheduling.preemption import Preemption
from cbx_supervisor.scheduling.queue import Queue
from cbx_supervisor.scheduling.reasons import ForJobs, ForResume, ForRetry, ForTurn, Reason
from cbx_supervisor.scheduling.strategies import Strategy

_TIERS = tuple(Tier)


class Engine:
    """The jobs that wait and those that run. Owners of locks that are no jobs (commits) have numbers below zero."""

    def __init__(
        self,
        capacity: Capacity,
        strategy: Strategy = Strategy.WEIGHTED,
        *,
        tolerance: Tolerance | None = None,
        preemption: bool = False,
    ) -> None:
        self.capacity = capacity
        self.strategy = strategy
        self.preemption = preemption
        self.paused = False
        self.locks = LockTable()
        self.breakers = Breakers(tolerance or Tolerance())
        self.running: dict[int, Entry] = {}
        self.frozen = Preemption()
        self.usage = Usage()
        self.budgets = Budgets(capacity.budgets)
        self._coming = Dependencies()
        self._queue = Queue(self._policy())
        self._sleepers = Sleepers(self._queue.line_of, self._queue.key_of)
        self._passed: tuple[int, int] = (0, 0)  # the oldest that waits for locks, how many were started against it
        self._reserver: int | None = None
        self._held: dict[int, Entry] = {}  # somebody paused them
        self._later: dict[int, Entry] = {}  # wait for a time
        self._times: list[tuple[float, int]] = []
        self._tripped: dict[str, dict[int, Entry]] = {}  # by breaker: who waits for it
        self._waiting = dict.fromkeys(Tier, 0)
        self.next_start = 0.0

    # ── events ──

    def submit(self, entry: Entry, now: float) -> list[Action]:
        """A job asks to be started. ``after`` and ``follows`` name jobs that have not ended yet.

        Raises ValueError: it is known already; CycleError: it would wait for itself; UnschedulableError.
        """
        if entry.number in self.running or self.find(entry.number) is not None:
            raise ValueError(f"job {entry.number} is known already")
        if name := self.budgets.impossible(entry):
            raise UnschedulableError(name)
        if entry.after or entry.follows:
            self._rekey(self._coming.add(entry))
            self._waiting[entry.tier] += 1
            return []
        self._waiting[entry.tier] += 1
        self._arrive(entry, now)
        return self.decide(now)

    def adopt(self, entry: Entry) -> None:
        """A job that runs already, since before this engine was made: it holds what it held."""
        self.locks.take(entry.number, entry.wants)
        self._take(entry)

    def ended(self, number: int, now: float, *, succeeded: bool, healthy: bool | None = None) -> list[Action]:
        """A job that ran is over, or one that waited will never run: its slot, locks and place are free.

        ``healthy`` is what its end says of its circuit: None, nothing.
        """
        self._give(number, now, healthy=healthy)
        actions = self._tell_followers(number, succeeded=succeeded)
        return actions + self._release(number) + self.decide(now)

    def postponed(self, number: int, now: float, *, healthy: bool | None = None) -> list[Action]:
        """A job that was started gives everything back: it will be submitted again."""
        self._give(number, now, healthy=healthy)
        return self._release(number) + self.decide(now)

    def resize(self, capacity: Capacity, now: float) -> list[Action]:
        """Other limits from now on; what runs goes on."""
        self.capacity = capacity
        for entry in self.budgets.resize(capacity.budgets):
            self._enter(entry)
        for uid in {entry.uid for entry in self.running.values()}:
            self._queue.go_on(uid)
        self._reorder()
        return self.decide(now)

    def reorder(self, strategy: Strategy, now: float) -> list[Action]:
        """Another strategy from now on."""
        self.strategy = strategy
        self._reorder()
        return self.decide(now)

    def pause(self) -> None:
        """Start nothing any more."""
        self.paused = True

    def resume(self, now: float) -> list[Action]:
        """Start jobs again."""
        self.paused = False
        return self.decide(now)

    def hold(self, number: int) -> bool:
        """Keep a job that waits from being started; False if it does not wait for its turn."""
        entry = self.find(number)
        if entry is None or self._coming.get(number) is not None or number in self._held:
            return False
        self._withdraw(entry)
        self._held[number] = entry
        return True

    def unhold(self, number: int, now: float) -> list[Action]:
        """Let a job that was kept be started."""
        entry = self._held.pop(number, None)
        if entry is not None:
            self._arrive(entry, now)
        return self.decide(now)

    def change(self, entry: Entry, now: float) -> list[Action]:
        """Say otherwise of a job that waits: its importance, its score, its place. Raises KeyError: it does not."""
        old = self.find(entry.number)
        if old is None:
            raise KeyError(entry.number)
        if entry.number in self._held:
            self._held[entry.number] = entry
        elif entry.number in self._later:
            self._later[entry.number] = entry
        elif self._coming.get(entry.number) is not None:
            self._coming.replace(entry)
        else:
            self._withdraw(old)
            self._enter(entry)
        return self.decide(now)

    # ── locks of who runs already ──

    def request(self, owner: int, wants: Sequence[Want]) -> Granted | Blocked:
        """Locks for somebody who needs no slot (a commit): before all jobs that wait."""
        return self.locks.request(owner, wants)

    def upgrade(self, owner: int, keys: Sequence[LockKey]) -> Granted | Blocked | Deadlock:
        """Make S and U locks into X, before all jobs that wait."""
        return self.locks.upgrade(owner, keys)

    def cancel(self, owner: int, now: float) -> list[Action]:
        """Forget what an owner waits for; what it holds stays."""
        granted: list[Action] = [Grant(number) for number in self.locks.cancel(owner)]
        self._wake(owner)
        return granted + self.decide(now)

    def release(self, owner: int, now: float) -> list[Action]:
        """Let go of an owner's locks."""
        return self._release(owner) + self.decide(now)

    # ── decisions ──

    def decide(self, now: float) -> list[Action]:
        """Start what can be started."""
        actions: list[Action] = []
        if self._times or self._tripped:
            self._look_at_the_clock(now)
        while not self.paused:
            if self.frozen and (thawed := self._thaw(now)) is not None:
                actions.append(thawed)
                continue
            entry = self._next(now)
            if entry is None and self.preemption and (pair := self._preempt(now)) is not None:
                entry, victim = pair
                actions.append(self._freeze(victim, entry.number))
            if entry is None:
                break
            self._start(entry, now)
            actions.append(Start(entry.number))
        return actions

    def next_time(self, now: float) -> float | None:
        """When to call :meth:`decide` although nothing has happened; None if there is no need."""
        times = [at for at, number in self._times[:1] if number in self._later]
        if self._times and not times:
            times = [now]  # the first is gone: decide() looks for the next
        times += [at for name in self._tripped if (at := self.breakers.opens_at(name)) is not None]
        if self.capacity.rate and len(self._queue) and self.next_start > now:
            times.append(self.next_start)
        return min(times, default=None)

    def _next(self, now: float) -> Entry | None:
        if self.next_start > now or self.usage.total >= self.capacity.total:
            return None
        used, slots = self.usage.of_tier, self.capacity.slots
        free = [tier for tier in _TIERS if used[tier] < slots[tier]]
        while True:
            elder = self._elder_in_need(free)
            entry = elder if elder is not None else self._queue.first(free)
            if entry is None or not self._parked(entry, now):
                return entry

    def _start(self, entry: Entry, now: float) -> None:
        if entry.wants:
            self._count_against_the_oldest(entry)
            self.locks.take(entry.number, entry.wants)
        self._queue.started(entry)
        self._waiting[entry.tier] -= 1
        self._take(entry)
        if entry.wants:
            for woken in self._sleepers.started(entry):
                self._queue.add(woken)
            self._reserve()
        if entry.circuit:
            self.breakers.started(entry.circuit, entry.number)
        if self.capacity.rate:
            self.next_start = max(self.next_start, now) + 1 / self.capacity.rate

    def _take(self, entry: Entry) -> None:
        self.running[entry.number] = entry
        self.usage.take(entry)
        self.budgets.take(entry)

    # ── what keeps a job from being started ──

    def _parked(self, entry: Entry, now: float) -> bool:
        """Whether something keeps it; then it is put where it is found when that has changed."""
        if self.usage.exceeds(entry, self.capacity.share):
            self._queue.stop(entry.uid)
            return True
        if entry.circuit and self.breakers.blocks(entry.circuit, now):
            self._queue.remove(entry.number)
            self._tripped.setdefault(entry.circuit, {})[entry.number] = entry
            return True
        if (name := self.budgets.lacking(entry)) is not None:
            self._queue.remove(entry.number)
            self.budgets.put(entry, name)
            return True
        if entry.wants and (owners := self._in_the_way(entry)):
            self._queue.remove(entry.number)
            self._sleepers.put(entry, owners)
            self._reserve()
            return True
        return False

    def _in_the_way(self, entry: Entry) -> set[int]:
        owners = set(self.locks.in_the_way(entry.number, entry.wants))
        reserving = self._reserving()
        # Only who is older: so nobody waits for who waits for him.
        if reserving is not None and reserving.number < entry.number and lock_modes.meet(entry.wants, reserving.wants):
            owners.add(reserving.number)
        return owners

    def _reserving(self) -> Entry | None:
        """The oldest job that waits for locks, if its set is kept for it now."""
        oldest = self._sleepers.oldest()
        if oldest is None:
            return None
        return oldest if self._sleepers.sleeps(oldest.number) or self._was_passed(oldest) else None

    def _was_passed(self, oldest: Entry) -> bool:
        number, times = self._passed
        return number == oldest.number and times >= PASSED_AT_MOST

    def _count_against_the_oldest(self, started: Entry) -> None:
        oldest = self._sleepers.oldest()
        if oldest is None or oldest.number >= started.number:
            return
        if lock_modes.meet(started.wants, oldest.wants):
            number, times = self._passed
            self._passed = (oldest.number, times + 1 if number == oldest.number else 1)

    def _elder_in_need(self, free: Sequence[Tier]) -> Entry | None:
        """The oldest that waits for locks, if it was passed too often and could have a slot."""
        oldest = self._sleepers.oldest()
        if oldest is None or oldest.tier not in free or not self._was_passed(oldest):
            return None
        entry = self._queue.get(oldest.number)
        return None if entry is None or self.usage.exceeds(entry, self.capacity.share) else entry

    def _reserve(self) -> None:
        """If another one keeps its set now: who waited for the former may not have to."""
        reserving = self._reserving()
        number = None if reserving is None else reserving.number
        if number != self._reserver:
            former, self._reserver = self._reserver, number
            if former is not None and former not in self.running:
                self._wake(former)

    # ── one goes before another that runs ──

    def _preempt(self, now: float) -> tuple[Entry, Entry] | None:
        """A critical job that waits for nothing but a slot, and who is frozen for it."""
        if self.next_start > now:
            return None
        while (entry := self._queue.first_critical()) is not None:
            if self._parked(entry, now):
                continue
            tier = entry.tier if self.usage.of_tier[entry.tier] >= self.capacity.slots[entry.tier] else None
            victim = self.frozen.victim(self.running.values(), tier)
            return None if victim is None else (entry, victim)
        return None

    def _freeze(self, victim: Entry, for_: int) -> Freeze:
        self.usage.give_slot(victim.tier)
        self.frozen.freeze(victim.number)
        return Freeze(victim.number, for_)

    def _thaw(self, now: float) -> Thaw | Start | None:
        """The first frozen job gets its slot back, unless a critical one goes before it once more."""
        if self.usage.total >= self.capacity.total:
            return None
        for number in self.frozen.numbers():
            victim = self.running[number]
            if self.usage.of_tier[victim.tier] >= self.capacity.slots[victim.tier]:
                continue
            patient = self.frozen.waits_patiently(number)
            if patient and (critical := self._critical_for(victim.tier, now)) is not None:
                self.frozen.passed()
                self._start(critical, now)
                return Start(critical.number)
            self.frozen.thaw(number)
            self.usage.take_slot(victim.tier)
            return Thaw(number)
        return None

    def _critical_for(self, tier: Tier, now: float) -> Entry | None:
        while self.next_start <= now and (entry := self._queue.first_critical()) is not None:
            full = self.usage.of_tier[entry.tier] >= self.capacity.slots[entry.tier]
            if full and entry.tier is not tier:
                return None
            if not self._parked(entry, now):
                return entry
        return None

    # ── coming and going ──

    def _arrive(self, entry: Entry, now: float) -> None:
        """Into the queue, at its time."""
        if entry.not_before > now:
            self._later[entry.number] = entry
            heapq.heappush(self._times, (entry.not_before, entry.number))
        else:
            self._enter(entry)

    def _enter(self, entry: Entry) -> None:
        """Into the queue, or at once to those who wait for the same locks."""
        ahead = self._sleepers.like(entry) if entry.wants else set()
        if any(owner < entry.number for owner in ahead):
            self._sleepers.put(entry, ())
            self._reserve()
        else:
            self._queue.add(entry)

    def _give(self, number: int, now: float, *, healthy: bool | None) -> None:
        """Take a job out, wherever it is."""
        entry = self.running.pop(number, None)
        if entry is None:
            waiting = self.find(number)
            if waiting is not None:
                self._withdraw(waiting)
                self._waiting[waiting.tier] -= 1
            return
        self.usage.give(entry, slot=not self.frozen.forget(number))
        self._queue.ended(entry)
        self._queue.go_on(entry.uid)
        for woken in self.budgets.give(entry):
            self._enter(woken)
        if entry.circuit and self.breakers.ended(entry.circuit, number, now, healthy=healthy):
            self._try_again(entry.circuit, now)

    def _withdraw(self, entry: Entry) -> None:
        """Take a job that waits out of everything but the jobs' own count."""
        number = entry.number
        self._queue.remove(number)
        self._held.pop(number, None)
        self._later.pop(number, None)
        self._coming.forget(number)
        self._tripped.get(entry.circuit, {}).pop(number, None)
        for woken in self.budgets.forget(entry):
            self._enter(woken)
        if entry.wants:
            for woken in self._sleepers.forget(entry):
                self._queue.add(woken)
            self._reserve()

    def _release(self, owner: int) -> list[Action]:
        granted: list[Action] = [Grant(number) for number in self.locks.release(owner)]
        self._wake(owner)
        return granted

    def _wake(self, owner: int) -> None:
        """Look again at those who were found to wait for ``owner``."""
        woken = self._sleepers.let_go(owner)
        for entry in woken:
            self._queue.add(entry)
        if woken:
            self._reserve()

    def _look_at_the_clock(self, now: float) -> None:
        while self._times and (self._times[0][0] <= now or self._times[0][1] not in self._later):
            _, number = heapq.heappop(self._times)
            if (entry := self._later.pop(number, None)) is not None:
                self._enter(entry)
        for name in [name for name in self._tripped if (at := self.breakers.opens_at(name)) is not None and at <= now]:
            self._try_again(name, now)

    def _try_again(self, name: str, now: float) -> None:
        """Who waits for a breaker may look again: all if it is closed, one if somebody is to try."""
        waiting = self._tripped.get(name, {})
        if self.breakers.blocks(name, now):
            return
        closed = self.breakers.opens_at(name) is None
        for number in sorted(waiting) if closed else sorted(waiting)[:1]:
            self._enter(waiting.pop(number))
        if not waiting:
            self._tripped.pop(name, None)

    def _tell_followers(self, number: int, *, succeeded: bool) -> list[Action]:
        told = self._coming.over(number, succeeded=succeeded)
        if not told.ready and not told.refused:
            return []
        for entry in told.ready:
            self._enter(entry)
        for entry, _ in told.refused:
            self._waiting[entry.tier] -= 1
        return [Refuse(entry.number, because) for entry, because in told.refused]

    def _policy(self) -> strategies.Policy:
        return strategies.policy(self.strategy, cores=self.capacity.cores, tail=self._coming.tail)

    def _reorder(self) -> None:
        policy = self._policy()
        for entry in self.running.values():
            policy.started(entry, {})
        self._queue.reorder(policy)
        self._sleepers.rearrange()

    def _rekey(self, numbers: Iterable[int]) -> None:
        """More comes after these than before."""
        if self.strategy is Strategy.CRITICAL_PATH:
            for number in numbers:
                if (entry := self._queue.remove(number)) is not None:
                    self._queue.add(entry)

    # ── questions ──

    def find(self, number: int) -> Entry | None:
        """A job that waits."""
        return (
            self._queue.get(number)
            or self._sleepers.get(number)
            or self._coming.get(number)
            or self._held.get(number)
            or self._later.get(number)
            or self.budgets.get(number)
            or next((waiting[number] for waiting in self._tripped.values() if number in waiting), None)
        )

    def holds(self, number: int) -> bool:
        """Whether somebody paused a job that waits."""
        return number in self._held

    def waiting(self) -> int:
        """How many jobs wait."""
        return sum(self._waiting.values())

    def pools(self) -> dict[Tier, tuple[int, int, int]]:
        """Running, slots and waiting of each tier."""
        return {tier: (self.usage.of_tier[tier], self.capacity.slots[tier], self._waiting[tier]) for tier in Tier}

    def why(self, number: int, now: float) -> tuple[Reason, ...]:
        """What a job waits for; nothing if it does not wait."""
        if missing := self._coming.missing(number):
            entry = self._coming.get(number)
            return (ForJobs(missing, entry.after if entry is not None else frozenset()),)
        entry = self.find(number)
        if entry is None:
            return ()
        if number in self._held:
            return (ForResume(),)
        if number in self._later:
            return (ForRetry(entry.not_before),)
        return tuple(explaining.obstacles(self, entry, now)) or (ForTurn(len(self._queue) - 1),)

    def blockers(self, entry: Entry) -> tuple[Blocker, ...]:
        """Who holds, or has reserved, what a job that waits wants."""
        found = self.locks.blockers_of(entry.number, entry.wants)
        reserving = self._reserving()
        if reserving is not None and reserving.number < entry.number:
            found += self.locks.blocking(entry.wants, reserving.number, reserving.wants)
        return found
