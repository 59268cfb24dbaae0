"""What is remembered of a checkpoint: one job's overlays, and what became of them."""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class CheckpointState(enum.StrEnum):
    """OPEN while its job runs; HELD and CONFLICT wait for somebody; the others are final."""

    OPEN = "open"
    HELD = "held"
    CONFLICT = "conflict"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled-back"
    UNDONE = "undone"
    EMPTY = "empty"

    @property
    def final(self) -> bool:
        """True if nothing can happen to it any more."""
        return self not in {CheckpointState.OPEN, CheckpointState.HELD, CheckpointState.CONFLICT}

    @property
    def waits(self) -> bool:
        """True if somebody has to decide on it."""
        return self in {CheckpointState.HELD, CheckpointState.CONFLICT}


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``checkpoint list``. ``session`` is the sandbox's own record: enough to take it up again."""

    id: int
    job: int
    uid: int
    gid: int
    state: CheckpointState
    created: float
    decided: float | None = None
    changes: dict[str, int] | None = None
    session: dict[str, Any] | None = None
    message: str = ""
    pinned: bool = False  # kept until somebody decides
    label: str = ""

    def undoable(self, since: float) -> bool:
        """True if it was committed, or undone, after ``since`` (Unix time): what it replaced is still there."""
        return self.state in {CheckpointState.COMMITTED, CheckpointState.UNDONE} and (self.decided or 0) > since
