"""What is answered about the queue, its pools, locks and breakers."""

from __future__ import annotations

from typing import Literal

from cbx_supervisor.protocol.messages.base import Answer


class Steered(Answer, frozen=True):
    """Whether the job could be paused, resumed or put elsewhere; it could not if it is over, or already is."""

    job: int
    state: str
    changed: bool


class QueueShown(Answer, frozen=True):
    """How jobs are started now, and how many wait."""

    strategy: str
    paused: bool
    draining: bool
    preemption: bool
    running: int
    waiting: int
    frozen: list[int]


class Pool(Answer, frozen=True):
    """The slots of one tier."""

    tier: str
    running: int
    slots: int
    waiting: int


class Counted(Answer, frozen=True):
    """A resource that the configuration counts."""

    name: str
    used: int
    size: int
    waiting: int


class Pools(Answer, frozen=True):
    """The slots of all tiers, and the resources that are counted."""

    pools: list[Pool]
    resources: list[Counted]
    running: int
    total: int


class Breaker(Answer, frozen=True):
    """Failures in a row of a user's program with one host; ``seconds`` until an open breaker is tried again."""

    uid: int
    name: str
    state: Literal["closed", "open", "half-open"]
    failures: int
    seconds: float | None


class BreakersShown(Answer, frozen=True):
    """The breakers that remember a failure."""

    breakers: list[Breaker]


class Lock(Answer, frozen=True):
    """One lock; owners below zero are commits of checkpoints."""

    owner: int
    mode: str
    device: int
    path: str


class Locks(Answer, frozen=True):
    """The locks that are held."""

    locks: list[Lock]
