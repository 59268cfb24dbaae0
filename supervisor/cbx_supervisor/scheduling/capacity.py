"""How much runs at once, and how much of it is taken: slots by tier, all together, and of each user."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.order import Entry


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """The most that one user but root may have running; 0: no limit."""

    slots: int = 0
    memory: int = 0  # MiB, expected


@dataclasses.dataclass(frozen=True, slots=True)
class Capacity:
    """How much runs at once; ``rate`` is starts a second, 0: unlimited."""

    slots: Mapping[Tier, int]
    total: int
    rate: float = 0.0
    budgets: Mapping[str, int] = dataclasses.field(default_factory=dict)  # memory in MiB, semaphores
    share: Share = Share()
    cores: int = 1
    slowed: str = ""  # why there are fewer slots than there are configured

    def at(self, share: float, why: str) -> Capacity:
        """This share of all slots, of each tier one at the least."""
        if share >= 1:
            return self
        slots = {tier: max(1, int(count * share)) for tier, count in self.slots.items()}
        total, rate = max(1, int(self.total * share)), self.rate * share
        return dataclasses.replace(self, slots=slots, total=total, rate=rate, slowed=why)


class Usage:
    """What is taken. A frozen job has lent its slot, but not its memory."""

    def __init__(self) -> None:
        self.total = 0
        self.of_tier = dict.fromkeys(Tier, 0)
        self._slots_of: dict[int, int] = {}

    def take(self, entry: Entry) -> None:
        """A job is started."""
        self.take_slot(entry.tier)
        self._slots_of[entry.uid] = self._slots_of.get(entry.uid, 0) + 1

    def give(self, entry: Entry, *, slot: bool) -> None:
        """A job is over; ``slot``: it had not lent its slot."""
        if slot:
            self.give_slot(entry.tier)
        self._slots_of[entry.uid] -= 1
        if not self._slots_of[entry.uid]:
            del self._slots_of[entry.uid]

    def take_slot(self, tier: Tier) -> None:
        """One more runs."""
        self.total += 1
        self.of_tier[tier] += 1

    def give_slot(self, tier: Tier) -> None:
        """One less runs."""
        self.total -= 1
        self.of_tier[tier] -= 1

    def of_user(self, uid: int) -> int:
        """How many jobs of a user were started and are not over."""
        return self._slots_of.get(uid, 0)

    def exceeds(self, entry: Entry, share: Share) -> bool:
        """Whether this job is one too many of its user."""
        return bool(entry.uid and share.slots and self.of_user(entry.uid) >= share.slots)
