"""A job that waits to be started, as the engine sees it, and the class that it stands in.

critical            before everybody else
high, medium, low   the class of the score (8-10, 5-7, 1-4)
deferred            when nobody else waits
"""

from __future__ import annotations

import dataclasses
from enum import StrEnum

from cbx_sandbox.shell.estimate import Bound
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.lock_modes import Wants


class Importance(StrEnum):
    """What the submitter says of a job."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    DEFERRED = "deferred"

    @property
    def score(self) -> float:
        """On the scale of 1-10 that the whole score is made from."""
        return _SCORES[self]


_SCORES = {
    Importance.CRITICAL: 10.0,
    Importance.HIGH: 8.5,
    Importance.NORMAL: 6.0,
    Importance.LOW: 3.5,
    Importance.DEFERRED: 1.5,
}


class Rank(StrEnum):
    """The queue that a job stands in."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    DEFERRED = "deferred"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One job that waits to be started. Times are in seconds."""

    number: int
    uid: int
    tier: Tier
    wants: Wants = ()
    score: float = 6.0  # 1-10, the higher the sooner
    importance: Importance = Importance.NORMAL
    seconds: float = 1.0  # expected
    submitted: float = 0.0
    after: frozenset[int] = frozenset()  # jobs that must have succeeded
    follows: frozenset[int] = frozenset()  # jobs that must be over, however they ended
    bound: Bound = Bound.NOTHING  # what it mostly waits for
    uses: tuple[tuple[str, int], ...] = ()  # shares of budgets: memory in MiB, and named ones
    not_before: float = 0.0  # a retry waits so long
    circuit: str = ""  # the breaker that it depends on
    place: int = 0  # moved by hand: lower goes first in its line

    @property
    def rank(self) -> Rank:
        """The queue it stands in."""
        if self.importance is Importance.CRITICAL:
            return Rank.CRITICAL
        if self.importance is Importance.DEFERRED:
            return Rank.DEFERRED
        return Rank.HIGH if self.score >= 7.5 else Rank.MEDIUM if self.score >= 4.5 else Rank.LOW
