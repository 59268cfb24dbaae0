"""What was predicted of a job, and what was seen of it: part of its result."""

from __future__ import annotations

import msgspec


class PredictedPath(msgspec.Struct, frozen=True):
    """One path that the job was predicted to change, and how exactly that is known."""

    access: str
    path: str
    certainty: str


class Forecast(msgspec.Struct, frozen=True):
    """The estimate: from the rules, or learned from earlier runs with a confidence from 0 to 1."""

    seconds: float
    memory_mb: int
    bound: str
    source: str
    confidence: float


class Observed(msgspec.Struct, frozen=True):
    """The change set held against the prediction. Paths are the first few of as many as the numbers say."""

    changed: int = 0
    missed: int = 0
    missed_paths: tuple[str, ...] = ()
    predicted: int = 0
    untouched: int = 0
    untouched_paths: tuple[str, ...] = ()

    @property
    def covered(self) -> bool:
        """True if nothing was changed that was not predicted."""
        return self.missed == 0


class ObservedReads(msgspec.Struct, frozen=True):
    """What was read, held against all that the job was predicted to touch. ``system``: reads that every program makes.

    Paths are the first few of as many as the numbers say; one with a slash at its end is a directory in which more was
    read than is kept. ``why`` says what may be missing, empty if nothing is.
    """

    read: int = 0
    missed: int = 0
    missed_paths: tuple[str, ...] = ()
    system: int = 0
    why: str = ""

    @property
    def covered(self) -> bool:
        """True if nothing was read that was not predicted to be touched."""
        return self.missed == 0


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """The prediction of one job. ``tier`` is what the analysis alone said; ``observed`` needs an overlay.

    ``reads`` is there if it was looked at what the job read.
    """

    fingerprint: str
    tier: str
    writes: tuple[PredictedPath, ...] = ()
    writes_left_out: int = 0
    forecast: Forecast
    observed: Observed | None = None
    reads: ObservedReads | None = None
