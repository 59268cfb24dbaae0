"""The tries to run a job: what became of each, and when the next one is due."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable

from cbx_supervisor.model.result import Result
from cbx_supervisor.store import audit

Operation = Callable[[sqlite3.Connection], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Again:
    """The next try: not before ``at`` (seconds of the Unix clock), in ``tier`` or a stricter one, and why."""

    at: float
    why: str
    tier: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One try."""

    attempt: int
    started: float
    ended: float | None
    tier: str | None
    state: str | None
    reason: str | None
    status: int | None
    message: str
    again: Again | None


def again(result: Result, attempt: int, at: float, then: Again) -> Operation:
    """Write down how a try ended, and that the job waits for another one."""
    detail = {"attempt": attempt, "state": result.state, "reason": result.reason, "status": result.status}
    noted = audit.record(
        at, "tried again", f"job {result.job}", uid=result.identity.uid, detail={**detail, "why": then.why}
    )

    def operation(connection: sqlite3.Connection) -> None:
        noted(connection)
        connection.execute("UPDATE jobs SET state = 'queued' WHERE id = ?", (result.job,))
        connection.execute(
            "UPDATE attempts SET ended = ?, state = ?, reason = ?, status = ?, message = ?, again_at = ?,"
            " again_why = ?, again_tier = ? WHERE job = ? AND attempt = ?",
            (
                at, result.state, result.reason, result.status, result.message, then.at, then.why, then.tier,
                result.job, attempt,
            ),
        )  # fmt: skip
        # What was decided for this try is over; what was asked for is needed for the next one.
        connection.execute("UPDATE kept SET launch = NULL WHERE job = ?", (result.job,))

    return operation


def find(connection: sqlite3.Connection, job: int) -> list[Row]:
    """All tries of a job, the first one first."""
    return [_row(row) for row in connection.execute("SELECT * FROM attempts WHERE job = ? ORDER BY attempt", (job,))]


def last(connection: sqlite3.Connection, job: int) -> int:
    """The number of the last try; 0 if there was none."""
    return int(connection.execute("SELECT coalesce(max(attempt), 0) FROM attempts WHERE job = ?", (job,)).fetchone()[0])


def _row(row: sqlite3.Row) -> Row:
    then = None if row["again_at"] is None else Again(row["again_at"], row["again_why"], row["again_tier"])
    return Row(
        row["attempt"], row["started"], row["ended"], row["tier"], row["state"], row["reason"], row["status"],
        row["message"], then,
    )  # fmt: skip
