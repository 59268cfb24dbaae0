"""What is answered about jobs."""

from __future__ import annotations

from typing import Any

from cbx_supervisor.model.attempt import Attempt
from cbx_supervisor.model.growth import Growth
from cbx_supervisor.model.prediction import Prediction
from cbx_supervisor.model.result import Who
from cbx_supervisor.protocol.messages.base import Answer


class Unfinished(Answer, frozen=True):
    """A job that is not over: its result as far as it is known."""

    job: int
    command: str
    state: str
    exit_code: None
    signal: None
    reason: None
    status: None
    tier: str | None
    identity: Who
    workdir: str
    submitted: str | None
    message: str
    growth: Growth | None = None
    prediction: Prediction | None = None
    attempts: tuple[Attempt, ...] = ()


class Submitted(Answer, frozen=True):
    """The job is on disk. ``duplicate``: it was already, by this idempotency key."""

    job: int
    state: str
    duplicate: bool


class SubmittedTogether(Answer, frozen=True):
    """All of them are on disk, in the order in which they were asked for."""

    jobs: list[Submitted]


class Jobs(Answer, frozen=True):
    """Jobs, the newest first."""

    jobs: list[dict[str, Any]]


class Cancelled(Answer, frozen=True):
    """Whether there was something to cancel."""

    job: int
    state: str
    cancelled: bool


class Signalled(Answer, frozen=True):
    """Whether there was something to signal."""

    job: int
    state: str
    signalled: bool


class Waited(Answer, frozen=True):
    """One thing that a job waits for."""

    kind: str
    text: str


class Why(Answer, frozen=True):
    """What a job waits for."""

    job: int
    state: str
    live: bool
    waits_for: list[Waited]


class Happened(Answer, frozen=True):
    """The data of an event: a job is in this state now. ``status`` is what a client exits with, once it is over.

    ``growing`` says how its memory grows, if that is why it is told.
    """

    job: int
    state: str
    uid: int
    status: int | None
    growing: str = ""


class Output(Answer, frozen=True):
    """The data of an event: bytes that an attempt of a job has written, as base64; ``over``: the job is, too."""

    attempt: int
    data: bytes
    over: bool
