"""What earlier runs of a command teach: how long it takes, what it needs, and where it wrote and read unforeseen.

A lesson only ever makes a prediction stricter: it adds paths and, for what was written, raises the tier. Runs are
weighted by their age: one that is ``HALF_LIFE`` runs back counts half. Only values: what is remembered where is the
caller's business.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from cbx_sandbox.shell.effects import Access, Certainty, PathEffect
from cbx_sandbox.shell.estimate import Bound, Estimate, Source, priority
from cbx_sandbox.shell.tiers import SEQUENTIAL, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbx_sandbox.shell.analysis import Analysis

HALF_LIFE = 6.0  # runs
KEPT = 24  # samples: four half-lives, the first one left out weighs 1/16
ENOUGH = 3  # runs before what was learned is believed rather than the rules
CAUTION = 2.0  # effective runs at which confidence reaches half of what the spread allows
MAX_DIRECTORIES = 16
MAX_READS = 16
MAX_PATH = 1024  # bytes of a directory that is remembered
_WEIGHTS = tuple(0.5 ** (age / HALF_LIFE) for age in range(KEPT))
_TINY = 1e-12  # of rounding
BUSY = 0.5  # share of the processor time that it could have had from which on a command is bound by it


class Samples(Struct, frozen=True):
    """The last observations of one figure, the newest first, packed as doubles."""

    packed: bytes = b""

    @property
    def values(self) -> tuple[float, ...]:
        """Return the observations, the newest first."""
        return struct.unpack(f"<{len(self.packed) // 8}d", self.packed)

    def add(self, value: float) -> Samples:
        """Return them with one more; the oldest is forgotten when there are too many."""
        return Samples((struct.pack("<d", value) + self.packed)[: KEPT * 8])

    def quantile(self, share: float) -> float:
        """Return the least observation that ``share`` of the weight does not exceed. There must be one."""
        return self.quantiles((share,))[0]

    def quantiles(self, shares: tuple[float, ...]) -> list[float]:
        """Return the quantiles of ascending ``shares``."""
        values = self.values
        weights = _WEIGHTS[: len(values)]
        total, passed = sum(weights), 0.0
        wanted = iter(shares)
        share = next(wanted)
        found: list[float] = []
        for value, weight in sorted(zip(values, weights, strict=True)):
            passed += weight
            while passed >= share * total - _TINY:
                found.append(value)
                share = next(wanted, math.inf)
        return found

    @property
    def effective(self) -> float:
        """How many observations of equal weight would say as much (Kish): 0 for none."""
        weights = _WEIGHTS[: len(self.packed) // 8]
        return sum(weights) ** 2 / sum([weight * weight for weight in weights]) if weights else 0.0

    @property
    def confidence(self) -> float:
        """How far the median can be relied on, 0 to 1: more with many observations, less where they spread."""
        return confidence(self.effective, self.quantiles((0.1, 0.5, 0.9))) if self.packed else 0.0


def confidence(count: float, quantiles: list[float]) -> float:
    """Return the confidence in a median: from the effective number of observations, and its 10, 50, 90 % quantiles."""
    low, middle, high = quantiles
    spread = (high - low) / middle if middle > 0 else float(high > low)
    return count / (count + CAUTION) / (1.0 + spread)


class Run(Struct, frozen=True):
    """One run that was observed. Figures that this host does not count are None."""

    seconds: float | None = None
    memory_mb: float | None = None
    busy: float | None = None  # share of the processor time that its limit allowed, 0 to 1


class Lesson(Struct, frozen=True):
    """All that is remembered of one fingerprint."""

    runs: int = 0
    misses: int = 0  # runs that changed what was not predicted
    seconds: Samples = Samples()
    memory: Samples = Samples()
    busy: Samples = Samples()
    directories: tuple[str, ...] = ()  # where they did: see ``anchored``
    reads: tuple[str, ...] = ()  # read and not predicted: files, and directories, which end with a slash

    def after(
        self, run: Run, *, missed: bool = False, directories: Iterable[str] = (), reads: Iterable[str] = ()
    ) -> Lesson:
        """Return the lesson with one more run.

        If it ``missed`` anything that it changed, then in these directories; ``reads`` are places that it read
        unforeseen.
        """
        return Lesson(
            self.runs + 1,
            self.misses + missed,
            _added(self.seconds, run.seconds),
            _added(self.memory, run.memory_mb),
            _added(self.busy, run.busy),
            _merged(self.directories, tuple(directories)),
            _merged_reads(self.reads, tuple(reads)),
        )


def _added(samples: Samples, value: float | None) -> Samples:
    return samples if value is None else samples.add(value)


def _merged(known: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    every = [
        path for path in dict.fromkeys((*known, *more)) if len(path.encode("utf-8", "surrogateescape")) <= MAX_PATH
    ]
    outer = [path for path in every if not any(path != other and _beneath(path, other) for other in every)]
    # The newest stay: they were missed although the older ones were known.
    return tuple(outer[-MAX_DIRECTORIES:])


def _merged_reads(known: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    every = [
        path for path in dict.fromkeys((*known, *more)) if len(path.encode("utf-8", "surrogateescape")) <= MAX_PATH
    ]
    whole = tuple(path for path in every if path.endswith("/"))
    outer = [path for path in every if not any(path != other and path.startswith(other) for other in whole)]
    return tuple(outer[-MAX_READS:])


def _beneath(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def anchored(path: str, project: str, home: str) -> str:
    """Return a path as it is remembered: ``./`` from the project, ``~/`` from the home directory, else absolute."""
    for mark, base in ((".", project), ("~", home)):
        if base != "/" and _beneath(path, base):
            return mark + path[len(base.rstrip("/")) :]
    return path


def placed(path: str, project: str, home: str) -> str:
    """Return where a remembered path is in this project and home."""
    for mark, base in ((".", project), ("~", home)):
        if path == mark or path.startswith(mark + "/"):
            return base.rstrip("/") + path[1:] or "/"
    return path


def read_places(lesson: Lesson, project: str, home: str) -> tuple[PathEffect, ...]:
    """Return what earlier runs read unforeseen, as it is called in this project and home."""
    found = []
    for path in lesson.reads:
        certainty = Certainty.UNDER if path.endswith("/") else Certainty.LITERAL
        found.append(PathEffect(Access.READ, placed(path, project, home).rstrip("/") or "/", certainty))
    return tuple(found)


def estimate(analysis: Analysis, lesson: Lesson) -> Estimate:
    """Return what a run is expected to need: from earlier runs once there are enough of them, else from the rules."""
    guess = analysis.estimate
    if len(lesson.seconds.packed) < ENOUGH * 8:
        return guess
    times = lesson.seconds.quantiles((0.1, 0.5, 0.9))
    memory = round(lesson.memory.quantile(0.9)) if lesson.memory.packed else guess.memory_mb
    return Estimate(
        _bound(analysis, lesson),
        max(1, memory),
        times[1],
        Source.LEARNED,
        round(confidence(lesson.seconds.effective, times), 3),
        times[2],
    )


def _bound(analysis: Analysis, lesson: Lesson) -> Bound:
    bound = analysis.estimate.bound
    if not lesson.busy.packed:
        return bound
    if lesson.busy.quantile(0.5) >= BUSY:
        return Bound.CPU
    if bound is not Bound.CPU:
        return bound
    return Bound.NETWORK if analysis.effects.network else Bound.IO


def corrected(
    analysis: Analysis, lesson: Lesson, directories: Iterable[str], reads: Iterable[PathEffect] = ()
) -> Analysis:
    """Return the analysis with what was learned.

    ``directories`` are those of the lesson that can be written here, ``reads`` what it says is read.
    """
    if not lesson.runs:
        return analysis
    expected = estimate(analysis, lesson)
    more = (*(PathEffect(Access.WRITE, path, Certainty.UNDER) for path in directories), *reads)
    effects = replace(analysis.effects, paths=(*analysis.effects.paths, *more)) if more else analysis.effects
    return replace(analysis, estimate=expected, effects=effects, priority=priority(analysis.tier, expected))


def floor(lesson: Lesson, directories: Iterable[str]) -> Reason | None:
    """Return why the tier must be at least SEQUENTIAL: an earlier run changed what was not predicted."""
    if not lesson.misses:
        return None
    named = ", ".join(directories)
    text = f"{lesson.misses} of {lesson.runs} earlier runs changed what was not predicted"
    return Reason("learned", f"{text}: {named}" if named else text, SEQUENTIAL)
