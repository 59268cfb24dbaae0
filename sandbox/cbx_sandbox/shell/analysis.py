"""Text in, ``Analysis`` out; touches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbx_sandbox.shell.effects import Access, Certainty, Effects, Facts, PathEffect
from cbx_sandbox.shell.estimate import COSTS, Estimate, priority
from cbx_sandbox.shell.tiers import Reason, Tier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbx_sandbox.shell.checks import Check

__all__ = ["Analysis", "Facts", "analyse", "analyse_argv"]


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything that is predicted about one text."""

    text: str
    tier: Tier
    reasons: tuple[Reason, ...]
    effects: Effects
    checks: tuple[Check, ...]
    priority: float
    estimate: Estimate
    benign_exits: frozenset[int]
    opaque: bool
    programs: tuple[str, ...]


def analyse(text: str, facts: Facts) -> Analysis:
    """Predict what a shell text does."""
    return _unknown(text, facts)


def analyse_argv(argv: Sequence[str], facts: Facts) -> Analysis:
    """Predict what a program does that is executed without a shell: nothing is expanded."""
    return _unknown(" ".join(argv), facts)


def _unknown(text: str, facts: Facts) -> Analysis:
    root = facts.project_root(facts.cwd)
    estimate = COSTS["unknown"]
    return Analysis(
        text=text,
        tier=Tier.DANGEROUS_ISOLATED,
        reasons=(Reason("unread", "the text was not read", Tier.DANGEROUS_ISOLATED),),
        effects=Effects(paths=(PathEffect(Access.WRITE, root, Certainty.UNDER),)),
        checks=(),
        priority=priority(Tier.DANGEROUS_ISOLATED, estimate),
        estimate=estimate,
        benign_exits=frozenset({0}),
        opaque=True,
        programs=(),
    )
