"""Which job is started when: a state machine without I/O. Events and the time go in, actions with reasons come out.

A job is started in one step when its tier has a slot, the start rate allows it, the jobs that it comes after have
succeeded, and its whole lock set is free: it holds nothing while it waits, so nobody waits for who waits. The oldest
job that waits for locks reserves its set: later ones pass it only if they do not want the same.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Mapping, Sequence

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling import lock_modes
from cbx_supervisor.scheduling.lock_modes import LockKey, Want
from cbx_supervisor.scheduling.locks import Blocked, Blocker, Deadlock, Granted, LockTable
from cbx_supervisor.scheduling.order import Entry, Queue, Strategy


@dataclasses.dataclass(frozen=True, slots=True)
class Capacity:
    """How much runs at once; ``rate`` is starts a second, 0: unlimited."""

    slots: Mapping[Tier, int]
    total: int
    rate: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """Start this job: its slot is taken, its locks are held."""

    number: int


@dataclasses.dataclass(frozen=True, slots=True)
class Refuse:
    """Never start this job: ``because`` did not succeed, and it was to come after that."""

    number: int
    because: int


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """Locks that were asked for without a slot are held now."""

    number: int


Action = Start | Refuse | Grant


@dataclasses.dataclass(frozen=True, slots=True)
class ForSlot:
    """Its tier, or everything, is full."""

    tier: Tier
    running: int
    limit: int
    of_all: bool  # the limit is that of all tiers together


@dataclasses.dataclass(frozen=True, slots=True)
class ForLocks:
    """These hold or reserve what it wants."""

    blockers: tuple[Blocker, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ForJobs:
    """These have to succeed first."""

    numbers: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ForRate:
    """The next start may be at this time."""

    at: float


@dataclasses.dataclass(frozen=True, slots=True)
class ForTurn:
    """Everything it needs is there; others are before it."""

    ahead: int


Reason = ForSlot | ForLocks | ForJobs | ForRate | ForTurn


class Engine:
    """The jobs that wait and those that run. Owners of locks that are no jobs (commits) have numbers below zero."""

    def __init__(self, capacity: Capacity, strategy: Strategy = Strategy.PRIORITY) -> None:
        self.capacity = capacity
        self.locks = LockTable()
        self.queue = Queue(strategy)
        self.running: dict[int, Entry] = {}
        self._used = dict.fromkeys(Tier, 0)
        self._parked: dict[int, Entry] = {}  # found to wait for locks
        self._behind: dict[int, set[int]] = {}  # owner of a lock or reservation: who is parked because of it
        self._oldest_parked: list[int] = []
        self._coming: dict[int, tuple[Entry, set[int]]] = {}  # come after jobs that have not ended
        self._followers: dict[int, set[int]] = {}
        self._next_start = 0.0

    # ── events ──

    def submit(self, entry: Entry, now: float) -> list[Action]:
        """A job asks to be started. ``entry.after`` names jobs that have not ended yet."""
        if entry.number in self.running or self._find(entry.number) is not None:
            raise ValueError(f"job {entry.number} is known already")
        if entry.after:
            self._coming[entry.number] = (entry, set(entry.after))
            for number in entry.after:
                self._followers.setdefault(number, set()).add(entry.number)
            return []
        self.queue.add(entry)
        return self.decide(now)

    def ended(self, number: int, now: float, *, succeeded: bool) -> list[Action]:
        """A job that ran is over, or one that waited will never run: its slot, locks and place are free."""
        entry = self.running.pop(number, None)
        if entry is not None:
            self._used[entry.tier] -= 1
        self._forget(number)
        actions = self._tell_followers(number, succeeded=succeeded)
        return actions + self._release(number) + self.decide(now)

    def postponed(self, number: int, now: float) -> list[Action]:
        """A job that was started gives everything back before it did anything: it will be submitted again."""
        entry = self.running.pop(number, None)
        if entry is not None:
            self._used[entry.tier] -= 1
        self._forget(number)
        return self._release(number) + self.decide(now)

    def resize(self, capacity: Capacity, now: float) -> list[Action]:
        """Other limits from now on; what runs goes on."""
        self.capacity = capacity
        return self.decide(now)

    def reorder(self, strategy: Strategy) -> None:
        """Another strategy from now on."""
        self.queue.reorder(strategy)

    # ── locks of who runs already ──

    def request(self, owner: int, wants: Sequence[Want]) -> Granted | Blocked:
        """Locks for somebody who needs no slot (a commit): before all jobs that wait."""
        return self.locks.request(owner, wants)

    def upgrade(self, owner: int, keys: Sequence[LockKey]) -> Granted | Blocked | Deadlock:
        """Make U locks into X, before all jobs that wait."""
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
        while (entry := self._next(now)) is not None:
            self.locks.take(entry.number, entry.wants)
            self.running[entry.number] = entry
            self._used[entry.tier] += 1
            self.queue.started(entry)
            if self.capacity.rate:
                self._next_start = max(self._next_start, now) + 1 / self.capacity.rate
            actions.append(Start(entry.number))
        return actions

    def next_time(self, now: float) -> float | None:
        """When to call :meth:`decide` although nothing has happened; None if there is no need."""
        waits_for_rate = self.capacity.rate and len(self.queue) and self._next_start > now
        return self._next_start if waits_for_rate else None

    def _next(self, now: float) -> Entry | None:
        if self._next_start > now or len(self.running) >= self.capacity.total:
            return None
        free = tuple(tier for tier in Tier if self._used[tier] < self.capacity.slots[tier])
        while True:
            entry = next(self.queue.candidates(free), None)
            if entry is None:
                return None
            owners = self._in_the_way(entry)
            if not owners:
                return entry
            self._park(entry, owners)

    def _in_the_way(self, entry: Entry) -> set[int]:
        owners = set(self.locks.in_the_way(entry.number, entry.wants))
        reserving = self._reserving()
        # Only who is older: so nobody waits for who waits for him.
        if reserving is not None and reserving.number < entry.number and lock_modes.meet(entry.wants, reserving.wants):
            owners.add(reserving.number)
        return owners

    def _reserving(self) -> Entry | None:
        """The oldest job that waits for locks."""
        heap = self._oldest_parked
        while heap and heap[0] not in self._parked:
            heapq.heappop(heap)
        return self._parked[heap[0]] if heap else None

    def _park(self, entry: Entry, owners: set[int]) -> None:
        self.queue.remove(entry.number)
        self._parked[entry.number] = entry
        heapq.heappush(self._oldest_parked, entry.number)
        for owner in owners:
            self._behind.setdefault(owner, set()).add(entry.number)

    def _release(self, owner: int) -> list[Action]:
        granted: list[Action] = [Grant(number) for number in self.locks.release(owner)]
        self._wake(owner)
        return granted

    def _wake(self, owner: int) -> None:
        """Look again at those who were found to wait for ``owner``; the oldest first."""
        for number in sorted(self._behind.pop(owner, ())):
            if (entry := self._parked.pop(number, None)) is not None:
                self.queue.add(entry)

    def _find(self, number: int) -> Entry | None:
        coming = self._coming.get(number)
        return self.queue.entries.get(number) or self._parked.get(number) or (coming[0] if coming else None)

    def _forget(self, number: int) -> None:
        self.queue.remove(number)
        self._parked.pop(number, None)
        coming = self._coming.pop(number, None)
        for before in coming[1] if coming else ():
            self._followers.get(before, set()).discard(number)

    def _tell_followers(self, number: int, *, succeeded: bool) -> list[Action]:
        actions: list[Action] = []
        for follower in sorted(self._followers.pop(number, ())):
            if follower not in self._coming:
                continue  # it followed another one, too, and was refused with that
            entry, missing = self._coming[follower]
            if not succeeded:
                actions.append(Refuse(follower, number))
                self._forget(follower)
                actions += self._tell_followers(follower, succeeded=False)
                continue
            missing.discard(number)
            if not missing:
                del self._coming[follower]
                self.queue.add(entry)
        return actions

    # ── questions ──

    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self.queue) + len(self._parked) + len(self._coming)

    def pools(self) -> dict[Tier, tuple[int, int, int]]:
        """Running, slots and waiting of each tier."""
        waiting = dict.fromkeys(Tier, 0)
        for entry in (*self.queue.entries.values(), *self._parked.values(), *(e for e, _ in self._coming.values())):
            waiting[entry.tier] += 1
        return {tier: (self._used[tier], self.capacity.slots[tier], waiting[tier]) for tier in Tier}

    def why(self, number: int, now: float) -> tuple[Reason, ...]:
        """What a job waits for; nothing if it does not wait."""
        if (coming := self._coming.get(number)) is not None:
            return (ForJobs(tuple(sorted(coming[1]))),)
        entry = self.queue.entries.get(number) or self._parked.get(number)
        if entry is None:
            return ()
        reasons: list[Reason] = []
        if blockers := self.blockers(entry):
            reasons.append(ForLocks(blockers))
        used, slots = self._used[entry.tier], self.capacity.slots[entry.tier]
        if used >= slots:
            reasons.append(ForSlot(entry.tier, used, slots, of_all=False))
        elif len(self.running) >= self.capacity.total:
            reasons.append(ForSlot(entry.tier, len(self.running), self.capacity.total, of_all=True))
        if self._next_start > now:
            reasons.append(ForRate(self._next_start))
        return tuple(reasons) or (ForTurn(len(self.queue) - 1),)

    def blockers(self, entry: Entry) -> tuple[Blocker, ...]:
        """Who holds, or has reserved, what a job that waits wants."""
        found = self.locks.blockers_of(entry.number, entry.wants)
        reserving = self._reserving()
        if reserving is not None and reserving.number < entry.number:
            found += self.locks.blocking(entry.wants, reserving.number, reserving.wants)
        return found

    def blockers_of(self, number: int) -> tuple[Blocker, ...]:
        """The same by a job's number."""
        entry = self._find(number)
        return () if entry is None else self.blockers(entry)
