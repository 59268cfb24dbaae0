"""AC10: nowhere fewer commands than shfmt, bashlex and tree-sitter-bash see, their known misreadings apart."""

from __future__ import annotations

from tests.bench.accuracy.goals import Failure, Goal, Measured, count
from tests.bench.accuracy.material import Material
from tests.fuzz.differential import compare, sample


def fewer(material: Material) -> Measured:
    """Count the texts in which a peer sees a command that cbx does not, and no class of misreadings explains it."""
    texts = (*material.everything(), *(sample() if material.name == "own" else ()))
    compared, differences = compare(texts)
    found = [difference for difference in differences if difference.reason is None]
    return count([Failure(one.text, f"{one.peer} sees {', '.join(one.missing)}") for one in found], compared)


GOALS = (Goal("AC10", "fewer commands than a peer sees", 0, "rows", True, fewer),)
