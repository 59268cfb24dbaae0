"""What is answered about checkpoints and transactions."""

from __future__ import annotations

from typing import Any, Literal

from cbx_supervisor.protocol.messages.base import Answer
from cbx_supervisor.protocol.messages.bodies import Resolution


class CheckpointShown(Answer, frozen=True):
    """A checkpoint."""

    id: int
    state: str
    job: int
    command: str | None
    uid: int
    created: str
    decided: str | None
    changes: dict[str, int] | None
    targets: list[str]
    message: str
    pinned: bool
    label: str
    expires: str | None


class Conflict(Answer, frozen=True):
    """A path that somebody else changed: what told, when by its file system's clock, and what would be done."""

    path: str
    change: str
    reason: str
    proof: str
    at_ns: int | None
    seconds_after_start: float | None
    resolution: Resolution
    why: str
    path_base64: str | None = None
    change_base64: str | None = None


class SavepointShown(Answer, frozen=True):
    """A moment to go back to."""

    name: str
    at: str


class TransactionShown(Answer, frozen=True):
    """A transaction. ``state`` is open, or what became of its checkpoint, which has the same number."""

    id: int
    state: str
    uid: int
    label: str
    directories: list[str]
    begun: str
    touched: str
    expires: str | None
    running: int | None
    savepoints: list[SavepointShown]
    steps: list[dict[str, Any]]
    message: str


class Transactions(Answer, frozen=True):
    """Transactions, the newest first."""

    transactions: list[TransactionShown]


class CheckpointPreview(Answer, frozen=True):
    """What a commit would make, leave out for what is there, and leave waiting."""

    changes: list[dict[str, Any]]
    skipped: list[dict[str, Any]]
    left: list[dict[str, Any]]
    conflicts: list[Conflict]
    refused: str


class Taken(Answer, frozen=True):
    """Bytes on disk of one checkpoint that waits, or is kept for an undo."""

    id: int
    uid: int
    state: str
    bytes: int
    pinned: bool


class CheckpointUsage(Answer, frozen=True):
    """What is held, or kept for an undo, takes on disk, the largest first, and what is free where it is kept."""

    checkpoints: list[Taken]
    users: dict[str, int]
    bytes: int
    free: int


class OperationShown(Answer, frozen=True):
    """A commit, an undo or a redo. ``paths`` are the first of those that it changed, of ``more`` than that.

    ``undoable``: what it replaced is kept, as far as is known. ``under``: checkpoints that changed the same later on,
    which have to be undone before.
    """

    id: int
    at: str
    kind: Literal["commit", "undo", "redo"]
    uid: int
    checkpoint: int
    state: str
    job: int
    command: str | None
    changes: dict[str, int] | None
    paths: list[str]
    more: int
    undoable: bool
    under: list[int]


class Operations(Answer, frozen=True):
    """What was done to the live tree through checkpoints, the newest first."""

    operations: list[OperationShown]


class CheckpointRemoved(Answer, frozen=True):
    """It is forgotten."""

    id: int
    removed: bool


class Checkpoints(Answer, frozen=True):
    """Checkpoints, the newest first."""

    checkpoints: list[CheckpointShown]
