"""How much runs at once, and how much of it is taken: slots by tier, all together, and of each user."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.budgets import MEMORY
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


class Usage:
    """What is taken. A frozen job has lent its slot, but not its memory."""

    def __init__(self) -> None:
        self.total = 0
        self.of_tier = dict.fromkeys(Tier, 0)
        self._slots_of: dict[int, int] = {}
        self._memory_of: dict[int, int] = {}

    def take(self, entry: Entry) -> None:
        """A job is started."""
        self.take_slot(entry.tier)
        self._slots_of[entry.uid] = self._slots_of.get(entry.uid, 0) + 1
        self._memory_of[entry.uid] = self._memory_of.get(entry.uid, 0) + _memory(entry)

    def give(self, entry: Entry, *, slot: bool) -> None:
        """A job is over; ``slot``: it had not lent its slot."""
        if slot:
            self.give_slot(entry.tier)
        self._slots_of[entry.uid] -= 1
        self._memory_of[entry.uid] -= _memory(entry)
        if not self._slots_of[entry.uid]:
            del self._slots_of[entry.uid], self._memory_of[entry.uid]

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
        if not entry.uid or not (share.slots or share.memory):
            return False
        running = self._slots_of.get(entry.uid, 0)
        memory = self._memory_of.get(entry.uid, 0) + _memory(entry)
        return bool((share.slots and running >= share.slots) or (share.memory and running and memory > share.memory))


def _memory(entry: Entry) -> int:
    for name, amount in entry.uses:
        if name == MEMORY:
            return amount
    return 0
