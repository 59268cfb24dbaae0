"""Samples, medians and goals. Peers and cbx are measured in turns, in one run, so that both meet the same machine."""

import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import world

REST = 0.03  # s between two samples: each starts on a machine that has finished the one before


@dataclasses.dataclass(frozen=True)
class Goal:
    """One figure to reach."""

    name: str
    figure: float | None  # None: could not be measured, ``why`` says it
    limit: float
    unit: str = ""
    why: str = ""

    @property
    def verdict(self) -> str:
        if self.figure is None:
            return f"not measured: {self.why}"
        return "reached" if self.figure <= self.limit else "NOT REACHED"


@dataclasses.dataclass
class Report:
    """What a run of the bench found."""

    samples: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    goals: list[Goal] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def ratio(self, name: str, reference: str) -> float:
        """The ratio of two medians."""
        return statistics.median(self.samples[name]) / statistics.median(self.samples[reference])

    def goal(self, name: str, figure: float | None, limit: float, unit: str = "", why: str = "") -> None:
        """Note a figure that has a goal."""
        self.goals.append(Goal(name, figure, limit, unit, why))

    def print_goals(self) -> None:
        """The table that the bench is for."""
        print(f"\n{'goal':<58} {'at most':>9} {'this run':>9}")
        for goal in self.goals:
            figure = "-" if goal.figure is None else f"{goal.figure:.2f}{goal.unit}"
            limit = f"{goal.limit:g}{goal.unit}"
            print(f"{goal.name:<58} {limit:>9} {figure:>9}  {goal.verdict}")
        for note in self.notes:
            print(f"note: {note}")

    def to_json(self) -> str:
        """Everything, for machines."""
        goals = [dataclasses.asdict(goal) | {"verdict": goal.verdict} for goal in self.goals]
        return json.dumps({"goals": goals, "samples": self.samples, "facts": self.facts, "notes": self.notes}, indent=1)


def in_turns(variants: Mapping[str, Callable[[], object]], runs: int, rest: float = REST) -> dict[str, list[float]]:
    """Milliseconds of each variant: each round runs every variant once, beginning with another one each time."""
    names = list(variants)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, runs):  # the first round only warms up
        for index in range(len(names)):
            name = names[(index + number) % len(names)]
            world.settle(rest)
            began = time.perf_counter()
            variants[name]()
            if number >= 0:
                samples[name].append((time.perf_counter() - began) * 1000)
    return samples


def print_samples(title: str, samples: Mapping[str, list[float]], reference: str, unit: str = "ms") -> None:
    """One table: median, spread, and the ratio of medians to ``reference``."""
    print(f"\n{title:<44} {'median':>9} {'p10':>9} {'p90':>9} {'ratio':>7}  ({unit}; ratio to {reference})")
    base = statistics.median(samples[reference]) if reference in samples else None
    for name, values in samples.items():
        low, high = _percentile(values, 0.1), _percentile(values, 0.9)
        median = statistics.median(values)
        ratio = "-" if base is None else f"{median / base:.2f}"
        print(f"{name:<44} {median:>9.2f} {low:>9.2f} {high:>9.2f} {ratio:>7}", flush=True)


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
