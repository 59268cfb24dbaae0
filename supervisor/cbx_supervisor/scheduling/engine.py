"""Which job is started when: a state machine without I/O. Events and the time go in, actions with reasons come out.

A job is started in one step when its tier has a slot, its user's share and the start rate allow it, the jobs that it
comes after are over, nothing that it depends on is left alone for having failed, there is enough of what it uses, and
its whole lock set is free: it holds nothing while it waits, so nobody waits for who waits.

The oldest job that waits for locks reserves its set: later ones pass it only if they do not want the same. When its
locks are free the strategy decides, but only so often against it: then they are kept until it has them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling import explaining, moving
from cbx_supervisor.scheduling.actions import Action, Freeze, Grant, Refuse, Start, Thaw, UnschedulableError
from cbx_supervisor.scheduling.breakers import Breakers, Tolerance
from cbx_supervisor.scheduling.budgets import Budgets
from cbx_supervisor.scheduling.capacity import Capacity, Usage
from cbx_supervisor.scheduling.lock_modes import LockKey, Want
from cbx_supervisor.scheduling.locks import Blocked, Deadlock, Granted, LockTable
from cbx_supervisor.scheduling.moving import Where
from cbx_supervisor.scheduling.order import Entry
from cbx_supervisor.scheduling.preemption import Preemption
from cbx_supervisor.scheduling.reasons import Reason
from cbx_supervisor.scheduling.strategies import Strategy
from cbx_supervisor.scheduling.utilisation import Utilisation
from cbx_supervisor.scheduling.waiting import Waiting

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
        self.budgets = Budgets(capacity.budgets, capacity.share.memory)
        self.waiters = Waiting(strategy, capacity.cores, self.budgets, self.breakers, self.running)
        self.next_start = 0.0
        self.utilisation = Utilisation()

    # ── events ──

    def submit(self, entry: Entry, now: float) -> list[Action]:
        """A job asks to be started. ``after`` and ``follows`` name jobs that have not ended yet.

        Raises ValueError: it is known already; CycleError: it would wait for itself; UnschedulableError.
        """
        if entry.number in self.running or self.find(entry.number) is not None:
            raise ValueError(f"job {entry.number} is known already")
        if name := self.budgets.impossible(entry):
            raise UnschedulableError(name)
        self._account(now)
        if entry.after or entry.follows:
            longer = self.waiters.come_after(entry)
            if self.strategy is Strategy.CRITICAL_PATH:
                self.waiters.rekey(longer)
            return []
        self.waiters.come(entry, now)
        return self.decide(now)

    def adopt(self, entry: Entry) -> None:
        """A job that runs already, since before this engine was made: it holds what it held."""
        self.locks.take(entry.number, entry.wants)
        self._take(entry)
        if entry.circuit:
            self.breakers.adopted(entry.circuit, entry.number)

    def ended(self, number: int, now: float, *, succeeded: bool, healthy: bool | None = None) -> list[Action]:
        """A job that ran is over, or one that waited will never run: its slot, locks and place are free.

        ``healthy`` is what its end says of its circuit: None, nothing.
        """
        self._account(now)
        self._give(number, now, healthy=healthy)
        told = self.waiters.over(number, now, succeeded=succeeded)
        actions: list[Action] = [Refuse(entry.number, because) for entry, because in told.refused]
        actions += self._release(number)
        actions += self.decide(now)
        return actions

    def postponed(self, number: int, now: float, *, healthy: bool | None = None) -> list[Action]:
        """A job that was started gives everything back: it will be submitted again."""
        self._account(now)
        self._give(number, now, healthy=healthy)
        return self._release(number) + self.decide(now)

    def resize(self, capacity: Capacity, now: float) -> list[Action]:
        """Other limits from now on; what runs goes on."""
        self.capacity = capacity
        for entry in self.budgets.resize(capacity.budgets, capacity.share.memory, self.running.values()):
            self.waiters.enter(entry)
        for uid in {entry.uid for entry in self.running.values()}:
            self.waiters.queue.go_on(uid)
        self.waiters.reorder(self.strategy, self.capacity.cores, self.running.values())
        return self.decide(now)

    def reorder(self, strategy: Strategy, now: float) -> list[Action]:
        """Another strategy from now on."""
        self.strategy = strategy
        self.waiters.reorder(self.strategy, self.capacity.cores, self.running.values())
        return self.decide(now)

    def pause(self) -> None:
        """Start nothing any more."""
        self.paused = True

    def resume(self, now: float) -> list[Action]:
        """Start jobs again."""
        self.paused = False
        return self.decide(now)

    def hold(self, number: int) -> bool:
        """Keep a job from being started, also one that is still to be submitted; False if it runs, or is kept already.

        That is forgotten when it has ended.
        """
        return number not in self.running and self.waiters.hold(number)

    def unhold(self, number: int, now: float) -> list[Action]:
        """Let a job that was kept be started."""
        self.waiters.unhold(number, now)
        return self.decide(now)

    def change(self, entry: Entry, now: float) -> list[Action]:
        """Say otherwise of a job that waits: its importance, its score, its place. Raises KeyError: it does not."""
        self.waiters.change(entry)
        return self.decide(now)

    def move(self, number: int, where: Where, now: float) -> list[Action]:
        """Put a job that waits elsewhere in its line. Raises KeyError: it, or the other, does not; OtherLineError."""
        entry = self.find(number)
        if entry is None:
            raise KeyError(number)
        queue = self.waiters.queue
        for other in moving.moved(entry, where, self.waiters.entries(), queue.line_of, queue.key_of):
            self.waiters.change(other)
        return self.decide(now)

    def reset_breaker(self, name: str, now: float) -> list[Action] | None:
        """Forget the failures of a circuit; None if there are none."""
        if not self.breakers.forget(name):
            return None
        self.waiters.try_again(name, now)
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
        self.waiters.wake(owner)
        return granted + self.decide(now)

    def release(self, owner: int, now: float) -> list[Action]:
        """Let go of an owner's locks."""
        return self._release(owner) + self.decide(now)

    # ── decisions ──

    def decide(self, now: float) -> list[Action]:
        """Start what can be started."""
        actions: list[Action] = []
        self._account(now)
        self.waiters.look_at_the_clock(now)
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
        self.utilisation.decided(now, len(actions), None if self.paused else self.next_time(now))
        return actions

    def _account(self, now: float) -> None:
        if now != self.utilisation.last:  # several steps of one event are one moment
            self.utilisation.until(now, self.usage.total, waiting=any(self.waiters.counts.values()))

    def next_time(self, now: float) -> float | None:
        """When to call :meth:`decide` although nothing has happened; None if there is no need."""
        at = self.waiters.next_time(now)
        if self.capacity.rate and len(self.waiters.queue) and self.next_start > now:
            return self.next_start if at is None else min(at, self.next_start)
        return at

    def _next(self, now: float) -> Entry | None:
        if self.next_start > now or self.usage.total >= self.capacity.total:
            return None
        used, slots = self.usage.of_tier, self.capacity.slots
        free = [tier for tier in _TIERS if used[tier] < slots[tier]]
        while True:
            entry = self.waiters.elder_in_need(free)
            if entry is None or self.usage.exceeds(entry, self.capacity.share):
                entry = self.waiters.queue.first(free)
            if entry is None or not self._parked(entry, now):
                return entry

    def _start(self, entry: Entry, now: float) -> None:
        if entry.wants:
            self.waiters.reservation.count(entry)
            self.locks.grant(entry.number, entry.wants)
        self.waiters.started(entry)
        self._take(entry)
        if entry.wants:
            self.waiters.woken_by_start(entry)
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
            self.waiters.queue.stop(entry.uid)
            return True
        if entry.circuit and self.breakers.blocks(entry.circuit, now):
            self.waiters.trip(entry)
            return True
        if (name := self.budgets.lacking(entry)) is not None:
            self.waiters.starve(entry, name)
            return True
        if entry.wants and (owners := self._in_the_way(entry)):
            self.waiters.block(entry, owners)
            return True
        return False

    def _in_the_way(self, entry: Entry) -> set[int]:
        owners = set(self.locks.in_the_way(entry.number, entry.wants))
        if (reserving := self.waiters.reservation.against(entry)) is not None:
            owners.add(reserving.number)
        return owners

    # ── one goes before another that runs ──

    def _preempt(self, now: float) -> tuple[Entry, Entry] | None:
        """A critical job that waits for nothing but a slot, and who is frozen for it."""
        if self.next_start > now:
            return None
        while (entry := self.waiters.queue.first_critical()) is not None:
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
        while self.next_start <= now and (entry := self.waiters.queue.first_critical()) is not None:
            full = self.usage.of_tier[entry.tier] >= self.capacity.slots[entry.tier]
            if full and entry.tier is not tier:
                return None
            if not self._parked(entry, now):
                return entry
        return None

    # ── coming and going ──

    def _give(self, number: int, now: float, *, healthy: bool | None) -> None:
        """Take a job out, wherever it is."""
        entry = self.running.pop(number, None)
        if entry is None:
            self.waiters.forget(number)
            return
        self.usage.give(entry, slot=not self.frozen.forget(number))
        self.waiters.queue.ended(entry)
        self.waiters.queue.go_on(entry.uid)
        for woken in self.budgets.give(entry):
            self.waiters.enter(woken)
        if entry.circuit and self.breakers.ended(entry.circuit, number, now, healthy=healthy):
            self.waiters.try_again(entry.circuit, now)

    def _release(self, owner: int) -> list[Action]:
        granted: list[Action] = [Grant(number) for number in self.locks.release(owner)]
        self.waiters.wake(owner)
        return granted

    # ── questions ──

    def find(self, number: int) -> Entry | None:
        """A job that waits."""
        return self.waiters.find(number)

    def holds(self, number: int) -> bool:
        """Whether somebody paused a job that waits."""
        return self.waiters.holds(number)

    def waiting(self) -> int:
        """How many jobs wait."""
        return sum(self.waiters.counts.values())

    def pools(self) -> dict[Tier, tuple[int, int, int]]:
        """Running, slots and waiting of each tier."""
        return {tier: (self.usage.of_tier[tier], self.capacity.slots[tier], self.waiters.counts[tier]) for tier in Tier}

    def why(self, number: int, now: float) -> tuple[Reason, ...]:
        """What a job waits for; nothing if it does not wait."""
        return explaining.reasons(self, number, now)
