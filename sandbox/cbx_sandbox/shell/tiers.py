"""The four safety classes and why one was chosen."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from cbx_sandbox.shell.effects import Span  # not for the checker alone: who stores a reason reads its types


class Tier(StrEnum):
    """A safety class; ``rank`` orders them."""

    SAFE_PARALLEL = "SAFE_PARALLEL"
    CONDITIONAL_PARALLEL = "CONDITIONAL_PARALLEL"
    SEQUENTIAL_REQUIRED = "SEQUENTIAL_REQUIRED"
    DANGEROUS_ISOLATED = "DANGEROUS_ISOLATED"

    @property
    def rank(self) -> int:
        """0 for safe to 3 for dangerous."""
        return _RANK[self]


_RANK = {tier: rank for rank, tier in enumerate(Tier)}

SAFE = Tier.SAFE_PARALLEL
CONDITIONAL = Tier.CONDITIONAL_PARALLEL
SEQUENTIAL = Tier.SEQUENTIAL_REQUIRED
DANGEROUS = Tier.DANGEROUS_ISOLATED

SHORT = {"safe": SAFE, "conditional": CONDITIONAL, "sequential": SEQUENTIAL, "dangerous": DANGEROUS}


class Reason(Struct, frozen=True):
    """Why a text is at least in a tier, and which part of it says so."""

    code: str
    text: str
    tier: Tier
    span: Span | None = None


def highest(tiers: list[Tier]) -> Tier:
    """Return the strictest tier, safe when there is none."""
    return max(tiers, key=_RANK.__getitem__, default=SAFE)
