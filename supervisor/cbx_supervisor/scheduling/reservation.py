"""Who keeps its locks free for itself: the oldest job that waits for some.

While somebody is in its way, a younger job passes it only if it does not want the same. When its way is free, the
strategy decides who goes first, but only so often against it: then its locks are kept until it has them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling import lock_modes
from cbx_supervisor.scheduling.blocked import Blocked
from cbx_supervisor.scheduling.budgets import PASSED_AT_MOST
from cbx_supervisor.scheduling.order import Entry


class Reservation:
    """The one reservation that there is, over those who sleep for locks."""

    def __init__(self, sleepers: Blocked) -> None:
        self._sleepers = sleepers
        self._passed: tuple[int, int] = (0, 0)  # the oldest that waits for locks, how many were started against it
        self._owner: int | None = None

    def holder(self) -> Entry | None:
        """The oldest job that waits for locks, if its set is kept for it now."""
        oldest = self._sleepers.oldest()
        if oldest is None:
            return None
        return oldest if self._sleepers.sleeps(oldest.number) or self._was_passed(oldest) else None

    def against(self, entry: Entry) -> Entry | None:
        """Who keeps something that this job wants; only somebody older, so nobody waits for who waits for him."""
        holder = self.holder()
        if holder is not None and holder.number < entry.number and lock_modes.meet(entry.wants, holder.wants):
            return holder
        return None

    def in_need(self, free: Sequence[Tier]) -> Entry | None:
        """The oldest, if it was passed too often and its tier has a slot."""
        oldest = self._sleepers.oldest()
        return oldest if oldest is not None and oldest.tier in free and self._was_passed(oldest) else None

    def count(self, started: Entry) -> None:
        """A job is started: it may be one more that has passed the oldest."""
        oldest = self._sleepers.oldest()
        if oldest is None or oldest.number >= started.number:
            return
        if lock_modes.meet(started.wants, oldest.wants):
            number, times = self._passed
            self._passed = (oldest.number, times + 1 if number == oldest.number else 1)

    def moved(self) -> int | None:
        """Look who keeps its set now; the former one, if that is another."""
        holder = self.holder()
        number = None if holder is None else holder.number
        if number == self._owner:
            return None
        former, self._owner = self._owner, number
        return former

    def _was_passed(self, oldest: Entry) -> bool:
        number, times = self._passed
        return number == oldest.number and times >= PASSED_AT_MOST
