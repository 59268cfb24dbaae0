"""The priority of a command: safety 0.30, resources 0.25, time 0.25 and the user's wish 0.20, each from 1 to 10."""

from __future__ import annotations

import pytest

from cbx_sandbox.shell.estimate import Bound, Estimate, priority
from cbx_sandbox.shell.tiers import Tier

QUICK = Estimate(Bound.NOTHING, 16, 0.1)


def part(weight: float, better: float, worse: float) -> float:
    """Return by how many points of one factor two scores differ."""
    return round((better - worse) / weight, 3)


def scored(tier: Tier = Tier.SAFE_PARALLEL, memory: int = 16, seconds: float = 0.1, user: float = 6.0) -> float:
    return priority(tier, Estimate(Bound.NOTHING, memory, seconds), user)


@pytest.mark.parametrize(
    ("tier", "low", "high"),
    [
        (Tier.SAFE_PARALLEL, 8, 10),
        (Tier.CONDITIONAL_PARALLEL, 5, 7),
        (Tier.SEQUENTIAL_REQUIRED, 3, 4),
        (Tier.DANGEROUS_ISOLATED, 1, 2),
    ],
)
def test_safety_lies_in_its_band(tier: Tier, low: int, high: int) -> None:
    rest = 0.25 * 9 + 0.25 * 10 + 0.20 * 6
    assert low <= round((scored(tier) - rest) / 0.30, 3) <= high


@pytest.mark.parametrize(
    ("memory", "low", "high"), [(16, 8, 10), (64, 8, 10), (128, 5, 7), (256, 5, 7), (512, 3, 4), (2048, 1, 2)]
)
def test_resources_lie_in_their_band(memory: int, low: int, high: int) -> None:
    rest = 0.30 * 9 + 0.25 * 10 + 0.20 * 6
    assert low <= round((scored(memory=memory) - rest) / 0.25, 3) <= high


@pytest.mark.parametrize(
    ("seconds", "low", "high"),
    [
        (0.1, 10, 10),
        (0.99, 10, 10),
        (1, 8, 9),
        (9.9, 8, 9),
        (10, 5, 7),
        (59, 5, 7),
        (60, 3, 4),
        (600, 3, 4),
        (601, 1, 2),
    ],
)
def test_time_lies_in_its_band(seconds: float, low: int, high: int) -> None:
    rest = 0.30 * 9 + 0.25 * 9 + 0.20 * 6
    assert low <= round((scored(seconds=seconds) - rest) / 0.25, 3) <= high


def test_the_weights_make_a_whole() -> None:
    """At its best no more than 10, at its worst no less than 1; the user's word counts a fifth."""
    assert priority(Tier.SAFE_PARALLEL, QUICK, 10.0) <= 10
    assert priority(Tier.DANGEROUS_ISOLATED, Estimate(Bound.CPU, 9999, 9999.0), 1.0) >= 1
    assert part(0.20, scored(user=10), scored(user=1)) == 9
    assert part(0.30, scored(Tier.SAFE_PARALLEL), scored(Tier.DANGEROUS_ISOLATED)) == 7.5
