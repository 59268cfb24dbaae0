"""The classifier's record on this host, from the runs that are over. Pure.

Only runs over an overlay show what was written: those of SEQUENTIAL and DANGEROUS jobs, and the CONDITIONAL ones that
were looked at. Of a SAFE job only the exit status can tell that it may have wanted to write. What is read is looked at
where that was asked for: reads that were not predicted are misses of a kind of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from cbx_supervisor.model.prediction import Forecast, Observed, ObservedReads

NAMED = 50  # fingerprints in each list
PATHS = 16  # missed paths of each
SAFE, CONDITIONAL = "SAFE_PARALLEL", "CONDITIONAL_PARALLEL"
TIERS = (SAFE, CONDITIONAL, "SEQUENTIAL_REQUIRED", "DANGEROUS_ISOLATED")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One run: its prediction and what came of it. Seconds, bytes."""

    uid: int
    job: int
    at: float
    fingerprint: str
    label: str | None
    analysed: str
    tier: str
    status: int
    suspect: bool
    forecast: Forecast
    wall: float
    peak: int | None
    observed: Observed | None
    reads: ObservedReads | None = None


class Accuracy:
    """Counts rows as they come: memory goes by fingerprints, not by runs."""

    def __init__(self) -> None:
        self.runs = 0
        self._tiers = {tier: Counter[str]() for tier in TIERS}
        self._seen = Counter[str]()
        self._read = Counter[str]()
        self._by_command: dict[tuple[int, str], _Command] = {}
        self._estimates: dict[str, _Errors] = {}

    def add(self, row: Row) -> None:
        """Count one run."""
        self.runs += 1
        tier = self._tiers[row.tier]
        tier["runs"] += 1
        tier["failed"] += row.status != 0
        tier["suspect"] += row.suspect
        self._by_command.setdefault((row.uid, row.fingerprint), _Command()).add(row)
        self._estimates.setdefault(row.forecast.source, _Errors()).add(row)
        if (reads := row.reads) is not None:
            self._read.update(
                observed=1, covered=reads.covered, incomplete=bool(reads.why), read=reads.read, missed=reads.missed
            )
        if (observed := row.observed) is not None:
            tier["observed"] += 1
            tier["covered"] += observed.covered
            tier["wrote_nothing"] += observed.changed == 0
            self._seen.update(
                predicted=observed.predicted,
                touched=observed.predicted - observed.untouched,
                changed=observed.changed,
                missed=observed.missed,
            )

    def describe(self) -> dict[str, Any]:
        """Return it as plain JSON values; a share of nothing is null."""
        observed = sum(tier["observed"] for tier in self._tiers.values())
        covered = sum(tier["covered"] for tier in self._tiers.values())
        seen, read = self._seen, self._read
        return {
            "runs": self.runs,
            "tiers": {name: _tier(tier) for name, tier in self._tiers.items()},
            "write_sets": {"observed": observed, "covered": covered, "share": _share(covered, observed)},
            "paths": {
                "changed": seen["changed"],
                "missed": seen["missed"],
                "recall": _share(seen["changed"] - seen["missed"], seen["changed"]),
                "predicted": seen["predicted"],
                "touched": seen["touched"],
                "precision": _share(seen["touched"], seen["predicted"]),
            },
            "read_sets": {
                **{key: read[key] for key in ("observed", "covered", "incomplete", "read", "missed")},
                "share": _share(read["covered"], read["observed"]),
                "recall": _share(read["read"] - read["missed"], read["read"]),
            },
            "read_misses": self._listed(lambda command: command.unread, _Command.read_miss),
            "misses": self._listed(lambda command: command.missed, _Command.miss),
            "too_strict": self._listed(lambda command: command.too_strict, _Command.summary),
            "too_lax": self._listed(lambda command: command.suspect, _Command.summary),
            "estimates": {source: errors.describe() for source, errors in sorted(self._estimates.items())},
        }

    def _listed(self, count: Any, describe: Any) -> list[dict[str, Any]]:
        found = [(key, command) for key, command in self._by_command.items() if count(command)]
        found.sort(key=lambda entry: (-count(entry[1]), -entry[1].last))
        return [{"uid": uid, "fingerprint": mark, **describe(command)} for (uid, mark), command in found[:NAMED]]


class _Command:
    """All runs of one user's fingerprint."""

    def __init__(self) -> None:
        self.runs = self.missed = self.suspect = self.observed = self.idle = self.unread = 0
        self.last = 0
        self.label: str | None = None
        self.analysed = ""
        self.statuses: dict[int, None] = {}
        self.paths: dict[str, None] = {}
        self.read_paths: dict[str, None] = {}

    def add(self, row: Row) -> None:
        self.runs += 1
        self.last, self.label, self.analysed = row.job, row.label, row.analysed
        self.suspect += row.suspect
        if row.suspect and len(self.statuses) < PATHS:
            self.statuses[row.status] = None
        if row.reads is not None:
            self.unread += not row.reads.covered
            _add(self.read_paths, row.reads.missed_paths)
        if row.observed is None:
            return
        self.observed += 1
        self.idle += row.observed.changed == 0 and row.status == 0
        self.missed += not row.observed.covered
        _add(self.paths, row.observed.missed_paths)

    @property
    def too_strict(self) -> int:
        """How often it was said to change files and none of the runs that were looked at did: 0 if one did."""
        return self.observed if self.idle == self.observed and self.analysed not in {SAFE, CONDITIONAL} else 0

    def summary(self) -> dict[str, Any]:
        return {
            "command": self.label,
            "tier": self.analysed,
            "runs": self.runs,
            "last_job": self.last,
            "statuses": list(self.statuses),
        }

    def miss(self) -> dict[str, Any]:
        return {**self.summary(), "missed_runs": self.missed, "paths": list(self.paths)}

    def read_miss(self) -> dict[str, Any]:
        return {**self.summary(), "missed_runs": self.unread, "paths": list(self.read_paths)}


def _add(known: dict[str, None], paths: Iterable[str]) -> None:
    for path in paths:
        if len(known) < PATHS:
            known[path] = None


class _Errors:
    """How far estimates were off: the ratio of what was measured to what was expected."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._memory: list[float] = []

    def add(self, row: Row) -> None:
        if row.wall > 0 and row.forecast.seconds > 0:
            self._seconds.append(row.wall / row.forecast.seconds)
        if row.peak and row.forecast.memory_mb:
            self._memory.append(row.peak / (1 << 20) / row.forecast.memory_mb)

    def describe(self) -> dict[str, Any]:
        return {"seconds": _ratios(self._seconds), "memory": _ratios(self._memory)}


def _ratios(values: Iterable[float]) -> dict[str, Any]:
    found = sorted(values)
    if not found:
        return {"runs": 0, "median_ratio": None, "median_error": None}
    errors = sorted(max(value, 1 / value) for value in found)
    middle = len(found) // 2
    return {"runs": len(found), "median_ratio": round(found[middle], 3), "median_error": round(errors[middle], 3)}


def _tier(count: Counter[str]) -> dict[str, Any]:
    keys = ("runs", "failed", "suspect", "observed", "covered", "wrote_nothing")
    return {**{key: count[key] for key in keys}, "share": _share(count["covered"], count["observed"])}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
