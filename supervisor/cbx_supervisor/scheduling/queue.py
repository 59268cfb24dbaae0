"""The jobs that could be started as far as is known, in lines by tier and band, fair between users.

Within a band the user goes first who was served least, in expected seconds. Every tenth start of a tier goes to that
tier's oldest job and every tenth start of all to the oldest of those with a slot, whatever the strategy says: so each
job starts after a bounded number of others.
"""

from __future__ import annotations

from collections.abc import Sequence

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.lines import Line
from cbx_supervisor.scheduling.order import Entry, Importance
from cbx_supervisor.scheduling.strategies import Key, Policy

OLDEST_EVERY = 10  # starts
LEAST_COST = 0.1  # s; a job that is expected to take less counts as that, or the quick would cost nothing


class Queue:
    """Jobs of all tiers. A user may be stopped: then none of its jobs is offered until it goes on."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._entries: dict[int, tuple[Entry, Key, str]] = {}
        self._lines: dict[tuple[Tier, str], Line[Key]] = {}
        self._ages = {tier: self._by_age(tier) for tier in Tier}
        self._lengths: dict[str, int] = {}
        self._served: dict[int, float] = {}
        self._serving = 0.0  # what the user whose job was started last had been served before it
        self._stopped: set[int] = set()
        self._starts = dict.fromkeys(Tier, 0)  # since the oldest of the tier was started
        self._all_starts = 0  # since the oldest of all that had a slot was started
        self._oldest = 0  # the job that was offered because of its age

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, number: int) -> Entry | None:
        """One job."""
        found = self._entries.get(number)
        return None if found is None else found[0]

    def entries(self) -> list[Entry]:
        """All of them, in no order."""
        return [entry for entry, _, _ in self._entries.values()]

    def line_of(self, entry: Entry) -> tuple[Tier, str, int]:
        """What a job competes in: tier, band, user."""
        return (entry.tier, self._band(entry), entry.uid)

    def key_of(self, entry: Entry) -> Key:
        """Its place there."""
        return (entry.place, self._policy.key(entry), entry.number)

    def add(self, entry: Entry) -> None:
        """Put a job in its place."""
        band, key, uid = self._band(entry), self.key_of(entry), entry.uid
        if (served := self._served.get(uid)) is None or served < self._serving:
            self._served[uid] = self._serving if served is None else max(served, self._serving - LEAST_COST)
        self._entries[entry.number] = (entry, key, band)
        self._lengths[band] = self._lengths.get(band, 0) + 1
        line = self._lines.get((entry.tier, band))
        if line is None:
            line = self._lines[entry.tier, band] = Line(self._served.__getitem__, self._stands)
        line.add(uid, key)
        self._ages[entry.tier].add(uid, entry.number)

    def remove(self, number: int) -> Entry | None:
        """Take a job out: started, withdrawn, or found to wait for something."""
        found = self._entries.pop(number, None)
        if found is None:
            return None
        self._lengths[found[2]] -= 1
        return found[0]

    def stop(self, uid: int) -> None:
        """Offer no job of this user."""
        self._stopped.add(uid)

    def go_on(self, uid: int) -> None:
        """Offer them again."""
        if uid in self._stopped:
            self._stopped.discard(uid)
            for line in self._lines.values():
                line.resume(uid)
            for ages in self._ages.values():
                ages.resume(uid)

    def first(self, free: Sequence[Tier]) -> Entry | None:
        """Who is next among the tiers with a free slot: ask again after each change."""
        old = self._due(free)
        self._oldest = 0 if old is None else old.number
        if old is not None:
            return old
        for band in (Importance.CRITICAL, *self._policy.order(self._lengths), Importance.DEFERRED):
            if self._lengths.get(band) and (best := self._best(band, free)) is not None:
                return best
        return None

    def first_critical(self) -> Entry | None:
        """The first of the critical jobs, in whatever tier."""
        return self._best(Importance.CRITICAL, tuple(Tier)) if self._lengths.get(Importance.CRITICAL) else None

    def started(self, entry: Entry) -> None:
        """Charge a start to its user, class and turn."""
        if entry.number == self._oldest:
            self._starts[entry.tier] = 0
            self._all_starts = 0 if self._all_starts >= OLDEST_EVERY - 1 else self._all_starts + 1
        else:
            self._starts[entry.tier] += 1
            self._all_starts += 1
        self._policy.started(entry, self._lengths)
        self.remove(entry.number)
        served = self._served.get(entry.uid, 0.0)
        self._serving = max(self._serving, served)
        self._served[entry.uid] = served + max(entry.seconds, LEAST_COST)

    def ended(self, entry: Entry) -> None:
        """One that was started is over."""
        self._policy.ended(entry)

    def reorder(self, policy: Policy) -> None:
        """Go on by another strategy."""
        waiting = self.entries()
        self._policy = policy
        self._entries.clear()
        self._lines.clear()
        self._ages = {tier: self._by_age(tier) for tier in Tier}
        self._lengths.clear()
        for entry in sorted(waiting, key=lambda entry: entry.number):
            self.add(entry)

    def _band(self, entry: Entry) -> str:
        if entry.importance in {Importance.CRITICAL, Importance.DEFERRED}:
            return entry.importance
        return self._policy.band(entry)

    def _stands(self, key: Key) -> bool:
        """Whether this very key is the job's: what was put elsewhere has another one, though it may say the same."""
        found = self._entries.get(key[2])
        return found is not None and found[1] is key

    def _by_age(self, tier: Tier) -> Line[int]:
        def stands(number: int) -> bool:
            found = self._entries.get(number)
            return found is not None and found[0].tier is tier

        return Line(lambda _uid: 0.0, stands)

    def _due(self, free: Sequence[Tier]) -> Entry | None:
        """The oldest job, if it is the turn of the oldest."""
        if self._all_starts >= OLDEST_EVERY - 1:
            found = [head[1] for tier in free if (head := self._ages[tier].first(self._stopped)) is not None]
            return self._entries[min(found)][0] if found else None
        for tier in free:
            if self._starts[tier] >= OLDEST_EVERY - 1:
                head = self._ages[tier].first(self._stopped)
                if head is not None:
                    return self._entries[head[1]][0]
        return None

    def _best(self, band: str, free: Sequence[Tier]) -> Entry | None:
        """The first job of the user who was served least, over the tiers with a free slot."""
        best: tuple[float, Key, int] | None = None
        for tier in free:
            line = self._lines.get((tier, band))
            found = None if line is None else line.first(self._stopped)
            if found is not None and (best is None or found < best):
                best = found
        return None if best is None else self._entries[best[1][2]][0]
