"""Jobs that ended in a way that a person has to look at, until somebody has decided."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable

from cbx_supervisor.model.checkpoint import CheckpointState

Operation = Callable[[sqlite3.Connection], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One of them: whose it is, since when (seconds of the Unix clock) and why."""

    job: int
    uid: int
    since: float
    why: str


def needed(job: int, at: float, why: str) -> Operation:
    """Have somebody look at a job."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR REPLACE INTO attention (job, since, why) VALUES (?, ?, ?)", (job, at, why))

    return operation


def settled(job: int) -> Callable[[sqlite3.Connection], bool]:
    """Somebody has decided; False if nobody had to. What was kept to run it once more is forgotten."""

    def operation(connection: sqlite3.Connection) -> bool:
        connection.execute(
            "DELETE FROM kept WHERE job = ? AND EXISTS (SELECT 1 FROM results WHERE results.job = kept.job)", (job,)
        )
        return connection.execute("DELETE FROM attention WHERE job = ?", (job,)).rowcount > 0

    return operation


_UNDECIDED = [state.value for state in CheckpointState if not state.final]
_OPEN = """
SELECT attention.job, jobs.uid, attention.since, attention.why FROM attention JOIN jobs ON jobs.id = attention.job
WHERE (:uid IS NULL OR jobs.uid = :uid) AND (:job IS NULL OR jobs.id = :job) AND (
    NOT EXISTS (SELECT 1 FROM checkpoints AS one WHERE one.job = attention.job)
    OR EXISTS (
        SELECT 1 FROM checkpoints AS one
        WHERE one.job = attention.job AND one.state IN (SELECT value FROM json_each(:undecided))
    )
) ORDER BY attention.job
"""


def waiting(connection: sqlite3.Connection, uid: int | None, job: int | None = None) -> list[Row]:
    """Those that nobody has decided on, of a user or of all; whose changes were committed or rolled back is done."""
    values = {"uid": uid, "job": job, "undecided": json.dumps(_UNDECIDED)}
    return [Row(*row) for row in connection.execute(_OPEN, values)]
