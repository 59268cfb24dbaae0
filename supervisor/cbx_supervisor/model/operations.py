"""How the jobs of this host went: waits, run times, ends, and how many failed for a reason of cbx's own. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import msgspec

from cbx_supervisor.model.distribution import distribution

# What ends a job that its command did not bring about: cbx or its host fell short.
OWN_FAILURES = frozenset({"failed-to-start", "lost"})
ALL = "all"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A job that is over. Times are seconds of the Unix clock; ``started`` is None where it never ran."""

    tier: str | None
    end: str  # exited, timeout, oom, cancelled, denied, failed-to-start, lost …
    status: int
    submitted: float
    started: float | None
    ended: float
    wall: float  # s, of the command itself


class Operations:
    """Counts rows as they come; keeps two numbers for each job."""

    def __init__(self) -> None:
        self._tiers: dict[str, _Tier] = {}
        self._first = self._last = 0.0

    def add(self, row: Row) -> None:
        """Count one job."""
        for name in (ALL, row.tier or "none"):
            self._tiers.setdefault(name, _Tier()).add(row)
        self._first = min(self._first or row.submitted, row.submitted)
        self._last = max(self._last, row.ended)

    def describe(self) -> dict[str, Any]:
        """Return it as plain JSON values: seconds, shares from 0 to 1, ``per_minute`` over the whole time."""
        every = self._tiers.get(ALL, _Tier())
        minutes = (self._last - self._first) / 60
        return {
            "jobs": every.jobs,
            "per_minute": round(every.jobs / minutes, 3) if minutes > 0 else None,
            "own_failures": {
                "jobs": every.own_failures,
                "share": round(every.own_failures / every.jobs, 5) if every.jobs else None,
            },
            "tiers": {name: tier.describe() for name, tier in sorted(self._tiers.items())},
        }


class _Tier:
    def __init__(self) -> None:
        self.jobs = 0
        self.succeeded = 0
        self.ends = Counter[str]()
        self.waits: list[float] = []
        self.runs: list[float] = []

    def add(self, row: Row) -> None:
        self.jobs += 1
        self.ends[row.end] += 1
        self.succeeded += row.end == "exited" and row.status == 0
        if row.started is not None:
            self.waits.append(max(0.0, row.started - row.submitted))
            self.runs.append(row.wall)

    @property
    def own_failures(self) -> int:
        return sum(self.ends[end] for end in OWN_FAILURES)

    def describe(self) -> dict[str, Any]:
        return {
            "jobs": self.jobs,
            "succeeded": self.succeeded,
            "ends": dict(sorted(self.ends.items())),
            "waited": dataclasses.asdict(distribution(self.waits)),
            "ran": dataclasses.asdict(distribution(self.runs)),
        }
