"""A transaction: several commands, one after the other, over the layers of one checkpoint. No I/O."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from cbx_sandbox.errors import UsageError
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState

MOST = 10  # savepoints: the kernel takes the names of all levels of an overlay in 256 bytes
LONGEST_NAME = 100  # characters


class Pending(enum.StrEnum):
    """What was begun on the layers, and is done again if it was interrupted."""

    SAVE = "save"
    BACK = "back"
    JOIN = "join"


class Savepoint(msgspec.Struct, frozen=True):
    """A name for the state at one moment; its place in the list is the number of its level."""

    name: str
    at: float


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """One row. Its number is its checkpoint's, which is open as long as the transaction is."""

    checkpoint: Checkpoint
    touched: float
    savepoints: tuple[Savepoint, ...] = ()
    pending: Pending | None = None
    running: int | None = None  # the job that works in it
    steps: tuple[dict[str, Any], ...] = ()  # what was done in it, the oldest first

    @property
    def number(self) -> int:
        """What people call it by."""
        return self.checkpoint.id

    @property
    def open(self) -> bool:
        """True until it was committed, rolled back, or given up."""
        return self.checkpoint.state is CheckpointState.OPEN

    @property
    def directories(self) -> tuple[str, ...]:
        """What it may change."""
        return tuple(layer["target"] for layer in (self.checkpoint.session or {}).get("layers", ()))

    def saved(self, name: str, at: float) -> tuple[Savepoint, ...]:
        """The savepoints with one more. Raises UsageError: there are as many as may be, or the name is none."""
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
            raise UsageError(f"cannot call a savepoint that: a name has 1 to {LONGEST_NAME} printable characters")
        if len(self.savepoints) >= MOST:
            raise UsageError(
                f"cannot make another savepoint in transaction {self.number}: it has {MOST}, which is the most",
                hint="`tx rollback-to` an earlier one, or commit and begin another transaction",
            )
        return (*self.savepoints, Savepoint(name, at))

    def back_to(self, name: str) -> tuple[Savepoint, ...]:
        """The savepoints up to the last one of that name. Raises UsageError: there is none."""
        for place in range(len(self.savepoints), 0, -1):
            if self.savepoints[place - 1].name == name:
                return self.savepoints[:place]
        names = ", ".join(savepoint.name for savepoint in self.savepoints) or "none"
        raise UsageError(f"transaction {self.number} has no savepoint {name[:LONGEST_NAME]!r}", hint=f"it has: {names}")
