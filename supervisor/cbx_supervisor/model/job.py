"""A job and the states of its life; each state carries only what is true in it."""

from __future__ import annotations

import dataclasses

from cbx_supervisor.model.result import Result


@dataclasses.dataclass(frozen=True, slots=True)
class Queued:
    """On disk, waits for its locks or for a slot. ``since`` is seconds of the Unix clock, as everywhere here."""

    since: float


@dataclasses.dataclass(frozen=True, slots=True)
class Starting:
    """Everything is granted and written down; the launcher may have it already."""

    attempt: int
    since: float


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """Its init lives. A pid alone names nothing for long: boot, start time and cgroup make it an identity."""

    attempt: int
    since: float
    init_pid: int
    start_ticks: int | None = None
    cgroup_inode: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """Over, whatever way."""

    result: Result
    at: float


JobState = Queued | Starting | Running | Ended


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What stays the same of a job through its life."""

    number: int
    uid: int
    gid: int
    command: str
    workdir: str
    submitted: float
    tier: str | None = None
    session: str | None = None
    detached: bool = False
    sudo_uid: int | None = None
    token: str | None = None  # by which the client of a foreground job finds it again


# The words for them: until a job is over, and how it ended.
GOING_ON = ("queued", "starting", "running")
OVER = ("exited", "failed-to-start", "not-started", "denied", "cancelled", "lost")


def state_name(state: JobState) -> str:
    """The word for a state in lists; an ended job's is its result's."""
    match state:
        case Queued():
            return "queued"
        case Starting():
            return "starting"
        case Running():
            return "running"
        case Ended(result=result):
            return result.state
