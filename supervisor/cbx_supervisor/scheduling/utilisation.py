"""How much of the time that they could be in use slots were, while jobs waited.

Allowed is what jobs, locks and limits allow: a slot that is free because nobody who waits may have it, for locks, its
tier, a share, the rate or a pause, is not lost. So what is lost is the time from the moment at which a decision was due
until it was made, for each job that was started by it.
"""

from __future__ import annotations


class Utilisation:
    """Slot-seconds since the engine was made, while somebody waited: in use, and free although somebody could start."""

    def __init__(self) -> None:
        self.busy = 0.0
        self.idle = 0.0
        self.backlogged = 0.0  # seconds for which somebody waited
        self.last: float | None = None  # when the last event was
        self._due: float | None = None

    @property
    def share(self) -> float:
        """Busy over allowed slot time, 0 to 1; 1 if nobody ever waited."""
        allowed = self.busy + self.idle
        return self.busy / allowed if allowed else 1.0

    def until(self, now: float, used: int, *, waiting: bool) -> None:
        """So many slots were in use since the last event; ``waiting``: somebody waited meanwhile."""
        if self.last is not None and waiting and now > self.last:
            self.backlogged += now - self.last
            self.busy += (now - self.last) * used
        self.last = now if self.last is None else max(now, self.last)

    def decided(self, now: float, started: int, due: float | None) -> None:
        """So many were started now; the next decision is due then, if nothing happens before."""
        if self._due is not None and now > self._due:
            self.idle += (now - self._due) * started
        self._due = None if due is None or due <= now else due
