"""What becomes of what a job changed."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from cbx_sandbox import lockset
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.policy import CommitMode
from cbx_sandbox.runner.planning import Plan


class Fate(enum.StrEnum):
    """What becomes of a change set."""

    COMMIT = "commit"
    HOLD = "hold"
    ROLL_BACK = "roll back"


def decide(planned: Plan, outcome: Outcome, changed: Sequence[str]) -> tuple[Fate, str]:
    """What becomes of the overlay's changes, and why. ``changed`` are the live paths of the change set."""
    mode, succeeded = planned.policy.commit, outcome["exit_code"] == 0 and outcome["reason"] == "exited"
    if mode is CommitMode.NEVER:
        return Fate.ROLL_BACK, "--commit never"
    if not outcome["frozen"]:
        return Fate.HOLD, "something still holds files of the overlay open"
    if mode is CommitMode.HOLD:
        return Fate.HOLD, "held for review"
    if not succeeded:
        return Fate.ROLL_BACK, "the command did not succeed"
    if outside := _outside(planned, changed):
        return Fate.HOLD, f"{outside} was changed, which was not predicted"
    return Fate.COMMIT, "the command succeeded"


def _outside(planned: Plan, changed: Sequence[str]) -> str | None:
    for directory, expected in planned.expected.items():
        for path in changed:
            inside = lockset.beneath(path, directory) and path != directory
            if inside and not any(lockset.beneath(path, name) or lockset.beneath(name, path) for name in expected):
                return path
    return None
