"""AC14: how many of the commands that people write are made of programs that a rule knows."""

from __future__ import annotations

from tests.bench.accuracy.goals import Failure, Goal, Measured, share
from tests.bench.accuracy.material import Material, analysed


def known(material: Material) -> Measured | None:
    """Measure the commands without an unknown program."""
    if not material.known:
        return None
    failing = [
        Failure(command, f"unknown: {' '.join(names)}")
        for command in material.known
        if (names := analysed(command).unknown_programs)
    ]
    return share(failing, len(material.known))


GOALS = (Goal("AC14", "made of known programs only", 97, "%", False, known),)
