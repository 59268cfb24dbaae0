"""AC1, AC2, AC4, AC6, AC7: the class that each labelled command gets."""

from __future__ import annotations

import re

from tests.bench.accuracy.goals import Failure, Goal, Measured, count, share
from tests.bench.accuracy.material import Material, tier

from cbx_sandbox.shell.tiers import DANGEROUS, SAFE, SEQUENTIAL

_DELETES_TREES = re.compile(r"rm\s+-+\w*r")


def _got(command: str, wanted: str = "") -> Failure:
    return Failure(command, f"{tier(command)}{f' not {wanted}' if wanted else ''}")


def never_safe(material: Material) -> Measured:
    """Count what is called safe and must not be."""
    return count([_got(c) for c in material.never_safe if tier(c) is SAFE], len(material.never_safe))


def danger(material: Material) -> Measured:
    """Measure how much of the danger is isolated."""
    return share([_got(c) for c in material.danger if tier(c) is not DANGEROUS], len(material.danger))


def danger_floor(material: Material) -> Measured:
    """Count the danger that falls below sequential."""
    return count([_got(c) for c in material.danger if tier(c).rank < SEQUENTIAL.rank], len(material.danger))


def safe(material: Material) -> Measured:
    """Measure how much of what only reads is safe."""
    return share([_got(c) for c in material.safe if tier(c) is not SAFE], len(material.safe))


def mild(material: Material) -> Measured:
    """Measure how much is isolated without need; that rm -r is isolated in /tmp and in projects too is meant so."""
    failing = tuple(_got(c) for c in material.mild if tier(c) is DANGEROUS and not _DELETES_TREES.match(c))
    return Measured(100.0 * len(failing) / max(len(material.mild), 1), len(material.mild), failing)


def middle(material: Material) -> Measured:
    """Measure how many of the middle tiers are exact."""
    return share([_got(c, wanted) for c, wanted in material.middle if tier(c) is not wanted], len(material.middle))


def middle_floor(material: Material) -> Measured:
    """Count the middle tiers' commands that are called safe."""
    return count([_got(c) for c, _ in material.middle if tier(c) is SAFE], len(material.middle))


GOALS = (
    Goal("AC1", "never SAFE where it must not be", 0, "rows", True, never_safe),
    Goal("AC2", "danger is DANGEROUS_ISOLATED", 99, "%", False, danger),
    Goal("AC2 floor", "danger below SEQUENTIAL_REQUIRED", 0, "rows", True, danger_floor),
    Goal("AC4", "what only reads is SAFE", 95, "%", False, safe),
    Goal("AC6", "isolated without need (rm -r may be)", 2, "%", True, mild),
    Goal("AC7", "the middle tiers, exactly", 90, "%", False, middle),
    Goal("AC7 floor", "the middle tiers, called SAFE", 0, "rows", True, middle_floor),
)
