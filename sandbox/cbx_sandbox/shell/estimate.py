"""A first guess at what a command needs, from the rules alone, and its priority."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from cbx_sandbox.shell.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable


class Bound(StrEnum):
    """What a command mostly waits for."""

    CPU = "cpu"
    MEMORY = "memory"
    IO = "io"
    NETWORK = "network"
    NOTHING = "nothing"


class Source(StrEnum):
    """Where an estimate comes from."""

    RULES = "rules"
    LEARNED = "learned"


class Estimate(Struct, frozen=True):
    """The expected needs of a run.

    From the rules: orders of magnitude, with no confidence. Learned: the median of the wall time and the ninth decile
    of the memory's peak in earlier runs; ``seconds_p90`` is the ninth decile of the wall time, None for the rules.
    """

    bound: Bound
    memory_mb: int
    seconds: float
    source: Source = Source.RULES
    confidence: float = 0.0  # 0 to 1
    seconds_p90: float | None = None

    def describe(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "bound": self.bound.value,
            "memory_mb": self.memory_mb,
            "seconds": self.seconds,
            "seconds_p90": self.seconds_p90,
            "source": self.source.value,
            "confidence": self.confidence,
        }


# The classes that a rule may name. Orders of magnitude only: the host's own history corrects them.
COSTS: dict[str, Estimate] = {
    "quick": Estimate(Bound.NOTHING, 16, 0.1),
    "read": Estimate(Bound.IO, 32, 0.5),
    "scan": Estimate(Bound.IO, 64, 5.0),
    "compute": Estimate(Bound.CPU, 128, 5.0),
    "copy": Estimate(Bound.IO, 64, 5.0),
    "archive": Estimate(Bound.CPU, 128, 20.0),
    "lint": Estimate(Bound.CPU, 256, 15.0),
    "compile": Estimate(Bound.CPU, 384, 10.0),
    "build": Estimate(Bound.CPU, 512, 90.0),
    "test": Estimate(Bound.CPU, 512, 60.0),
    "install": Estimate(Bound.NETWORK, 256, 45.0),
    "network": Estimate(Bound.NETWORK, 64, 5.0),
    "database": Estimate(Bound.IO, 128, 5.0),
    "service": Estimate(Bound.NOTHING, 64, 3.0),
    "unknown": Estimate(Bound.CPU, 256, 10.0),
}

QUICK = COSTS["quick"]


def combine(parts: Iterable[Estimate]) -> Estimate:
    """Join the parts of one text: times add up, the largest memory and the longest part's bound stand."""
    longest, memory, seconds = QUICK, 0, 0.0
    for part in parts:
        if part.seconds > longest.seconds:
            longest = part
        memory = max(memory, part.memory_mb)
        seconds += part.seconds
    return Estimate(longest.bound, memory or QUICK.memory_mb, seconds or QUICK.seconds)


_SAFETY = {
    Tier.SAFE_PARALLEL: 9.0,
    Tier.CONDITIONAL_PARALLEL: 6.0,
    Tier.SEQUENTIAL_REQUIRED: 3.5,
    Tier.DANGEROUS_ISOLATED: 1.5,
}
NORMAL_USER_PRIORITY = 6.0


def priority(tier: Tier, estimate: Estimate, user: float = NORMAL_USER_PRIORITY) -> float:
    """Weigh safety 0.30, resources 0.25, time 0.25 and the user's wish 0.20, each from 1 to 10."""
    return round(0.30 * _SAFETY[tier] + 0.25 * _resource(estimate) + 0.25 * _time(estimate.seconds) + 0.20 * user, 3)


def _resource(estimate: Estimate) -> float:
    if estimate.memory_mb <= 64:
        return 9.0
    if estimate.memory_mb <= 256:
        return 6.0
    return 3.5 if estimate.memory_mb <= 512 else 1.5


def _time(seconds: float) -> float:
    for limit, score in ((1, 10.0), (10, 8.5), (60, 6.0)):
        if seconds < limit:
            return score
    return 3.5 if seconds <= 600 else 1.5
