"""What a job waits for."""

from __future__ import annotations

import dataclasses

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.locks import Blocker


@dataclasses.dataclass(frozen=True, slots=True)
class ForSlot:
    """Its tier, or everything, is full."""

    tier: Tier
    running: int
    limit: int
    of_all: bool  # the limit is that of all tiers together
    slowed: str = ""  # why it is lower than configured


@dataclasses.dataclass(frozen=True, slots=True)
class ForShare:
    """Its user has as many running jobs as it may."""

    running: int
    limit: int


@dataclasses.dataclass(frozen=True, slots=True)
class ForLocks:
    """These hold or reserve what it wants."""

    blockers: tuple[Blocker, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ForBudget:
    """There is too little of something left."""

    name: str
    amount: int
    free: int
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class ForJobs:
    """These have to be over first, those in ``succeeded`` with success."""

    numbers: tuple[int, ...]
    succeeded: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class ForRate:
    """The next start may be at this time."""

    at: float


@dataclasses.dataclass(frozen=True, slots=True)
class ForRetry:
    """It failed, and is tried again at this time."""

    at: float


@dataclasses.dataclass(frozen=True, slots=True)
class ForCircuit:
    """What it depends on failed too often: it is tried again at this time, or somebody tries it now."""

    name: str
    at: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class ForResume:
    """Somebody paused it."""


@dataclasses.dataclass(frozen=True, slots=True)
class ForQueue:
    """Somebody paused the whole queue."""


@dataclasses.dataclass(frozen=True, slots=True)
class ForTurn:
    """Everything it needs is there; others are before it."""

    ahead: int


Reason = (
    ForSlot
    | ForShare
    | ForLocks
    | ForBudget
    | ForJobs
    | ForRate
    | ForRetry
    | ForCircuit
    | ForResume
    | ForQueue
    | ForTurn
)
