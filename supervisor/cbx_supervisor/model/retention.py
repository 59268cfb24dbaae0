"""How long held changes are kept, and from where on no more are taken. No I/O; the clock is handed in.

Only age drops anything, and never what is pinned. What is too many or too much is refused before a job starts, with the
numbers, so nobody's changes make room for somebody else's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from cbx_sandbox.errors import NotStartedError
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState

DAY = 86400.0  # s
_HINT = "commit or roll back: `cbx-sandbox checkpoint list` shows them, `checkpoint du` how large they are"


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """How many checkpoints wait to be decided on, and the bytes of their changes."""

    count: int
    bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Most:
    """What may be held; 0 is unlimited."""

    count_per_user: int
    bytes_per_user: int
    bytes: int


def expires(checkpoint: Checkpoint, days: float) -> float | None:
    """When a checkpoint is rolled back if nobody decides (seconds of the Unix clock); None: not by itself."""
    if not days or checkpoint.pinned or not checkpoint.state.waits:
        return None
    return (checkpoint.decided or checkpoint.created) + days * DAY


def given_up(checkpoint: Checkpoint, touched: float, days: float) -> float | None:
    """When an open transaction that nobody touches is rolled back (seconds of the Unix clock); None: not by itself."""
    if not days or checkpoint.pinned or checkpoint.state is not CheckpointState.OPEN:
        return None
    return touched + days * DAY


def expired(held: Iterable[Checkpoint], now: float, days: float) -> list[Checkpoint]:
    """Those whose time is over, the oldest first."""
    over = [found for found in held if (at := expires(found, days)) is not None and at <= now]
    return sorted(over, key=lambda found: found.id)


def check(mine: Held, everybody: Held, most: Most) -> None:
    """Raise NotStartedError if a user may have no more changes held."""
    if most.count_per_user and mine.count >= most.count_per_user:
        raise _refusal(f"{mine.count} checkpoints are held for you, the limit is {most.count_per_user}")
    for held, limit, whose in ((mine, most.bytes_per_user, " for you"), (everybody, most.bytes, "")):
        if limit and held.bytes >= limit:
            raise _refusal(f"{held.bytes >> 20} MiB of changes are held{whose}, the limit is {limit >> 20} MiB")


def check_room(directory: str, free: int, least: int) -> None:
    """Raise NotStartedError if ``directory`` has no room for a job's changes: ``free`` of ``least`` bytes."""
    if free < least:
        raise NotStartedError(
            f"cannot start the job: {free >> 20} MiB are free where its changes would be kept, {directory}; "
            f"{least >> 20} MiB have to be",
            hint="commit or roll back what is held (`cbx-sandbox checkpoint du`), or lower retention.free_mb_min",
        )


def _refusal(why: str) -> NotStartedError:
    return NotStartedError(f"cannot take the job: {why}", hint=_HINT)
