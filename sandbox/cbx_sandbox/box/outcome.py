"""How a job ended, as init found it: the exit record."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class FailureRecord(TypedDict):
    """The step of the box's own set-up that failed, and why."""

    step: str
    errno: int | None
    text: str


class Outcome(TypedDict):
    """The exit record: written by init to a file before it exits, and sent to the supervisor.

    ``reason``: exited, timeout, oom, disk (a layer grew too large), cancelled,
    lost (it could not be watched any more), or not-started with ``failure``. ``exit_code`` and ``signal`` are the
    command's own (one of them is None). ``frozen``: every overlay was unmounted without force, so nothing can still
    write through one; only then may its change set be committed. ``unkillable`` counts processes that did not die.
    """

    job: str
    reason: str
    exit_code: int | None
    signal: int | None
    failure: NotRequired[FailureRecord]
    frozen: bool
    unkillable: int
    wall_seconds: float
    usage: dict[str, Any]
