"""What a goal is, and which there are.

A goal is a name, a bound, and a function that takes a ``Material`` and gives the value, how much was looked at, and
what failed; or None where this material has nothing to measure it on. A new one is a ``Goal`` in the ``GOALS`` of a
module that ``every`` lists. Goals that were reached stand in tests/data/goals.toml: losing one is a failure.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.bench.accuracy.material import DATA, Material, digest


@dataclass(frozen=True, slots=True)
class Failure:
    """One command that failed, and how."""

    command: str
    how: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What a goal's function found: the value in the goal's unit, out of how many, and what failed."""

    value: float
    of: int
    failing: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal; ``at_most`` says on which side of the bound the value has to stay."""

    name: str
    text: str
    bound: float
    unit: str
    at_most: bool
    measure: Callable[[Material], Measured | None]

    def met(self, value: float, bound: float | None = None) -> bool:
        """Whether a value reaches the bound, or another one."""
        limit = self.bound if bound is None else bound
        return value <= limit if self.at_most else value >= limit


@dataclass(frozen=True, slots=True)
class Result:
    """A goal measured on a material."""

    goal: Goal
    material: Material
    measured: Measured
    recorded: float | None  # the threshold that was reached before, None where it never was

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.goal.met(self.measured.value)

    @property
    def lost(self) -> bool:
        """Whether it was reached once and is not now."""
        return self.recorded is not None and not self.goal.met(self.measured.value, self.recorded)

    @property
    def disputed(self) -> int:
        """How many of the failing rows are held to be wrongly labelled; they count as failing all the same."""
        return sum(digest(failure.command) in self.material.disputed for failure in self.measured.failing)


def share(failing: Iterable[Failure], of: int) -> Measured:
    """Measure in per cent: what did not fail, of all."""
    failures = tuple(failing)
    return Measured(100.0 * (of - len(failures)) / max(of, 1), of, failures)


def count(failing: Iterable[Failure], of: int) -> Measured:
    """Measure in rows: how many failed."""
    failures = tuple(failing)
    return Measured(len(failures), of, failures)


def recorded() -> dict[str, dict[str, float]]:
    """Read the thresholds that were reached: by material, by goal."""
    return tomllib.loads((DATA / "goals.toml").read_text("utf-8"))


def every() -> tuple[Goal, ...]:
    """Return all goals, in order."""
    from tests.bench.accuracy import (  # noqa: PLC0415 -- they import this module
        coverage,
        differential,
        effects,
        hidden,
        observed,
        parsing,
        speed,
        strangers,
        talk,
        tiers,
    )

    modules = (tiers, hidden, talk, strangers, parsing, differential, effects, observed, speed, coverage)
    return tuple(sorted((goal for module in modules for goal in module.GOALS), key=_order))


def _order(goal: Goal) -> tuple[int, str]:
    return int("".join(c for c in goal.name.split()[0] if c.isdigit())), goal.name


def measure(material: Material, wanted: Callable[[Goal], bool] = lambda _: True) -> list[Result]:
    """Measure the goals that are wanted on a material."""
    reached = recorded().get(material.name, {})
    return [
        Result(goal, material, found, reached.get(goal.name))
        for goal in every()
        if wanted(goal) and (found := goal.measure(material)) is not None
    ]
