"""What another supervisor needs of a job that is not over, and the keys by which a job is submitted once only."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable

from cbx_supervisor.store import attempts
from cbx_supervisor.store.attempts import Again

Operation = Callable[[sqlite3.Connection], None]


def submission(job: int, text: str) -> Operation:
    """Keep what was asked for, so that it can be started later."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO kept (job, submission) VALUES (?, ?)", (job, text))

    return operation


def launch(job: int, text: str) -> Operation:
    """Keep what was decided, so that another supervisor can go on when it has ended."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO kept (job, launch) VALUES (?, ?) ON CONFLICT (job) DO UPDATE SET launch = excluded.launch",
            (job, text),
        )

    return operation


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """The two texts of one job, as execution/kept made them, and its last attempt: when it was started, which boot.

    ``attempt`` is the one that it is in, or waits for: the next one if the last is over. ``again`` is why there is it.
    """

    submission: str | None
    launch: str | None
    boot_id: str | None
    started: float | None
    attempt: int = 1
    again: Again | None = None


def find(connection: sqlite3.Connection, job: int) -> Kept:
    """What was kept of a job."""
    row = connection.execute("SELECT submission, launch FROM kept WHERE job = ?", (job,)).fetchone()
    submitted, launched = (None, None) if row is None else (row["submission"], row["launch"])
    tries = attempts.find(connection, job)
    if not tries:
        return Kept(submitted, launched, None, None)
    last = tries[-1]
    boot = connection.execute(
        "SELECT boot_id FROM attempts WHERE job = ? AND attempt = ?", (job, last.attempt)
    ).fetchone()
    number = last.attempt if last.again is None else last.attempt + 1
    before = next((found.again for found in tries if found.attempt == number - 1), None)
    return Kept(submitted, launched, boot["boot_id"], last.started, number, before)


def key(uid: int, name: str, job: int, digest: str) -> Operation:
    """Bind a submitter's key to a job."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO keys (uid, key, job, digest) VALUES (?, ?, ?, ?)", (uid, name, job, digest))

    return operation


def keyed(connection: sqlite3.Connection, uid: int, name: str) -> tuple[int, str] | None:
    """The job that a key is bound to, and the digest of what was asked for."""
    row = connection.execute("SELECT job, digest FROM keys WHERE uid = ? AND key = ?", (uid, name)).fetchone()
    return None if row is None else (row["job"], row["digest"])


def tokened(connection: sqlite3.Connection, uid: int, token: str) -> int | None:
    """The newest job that a client gave this token."""
    query = "SELECT id FROM jobs WHERE uid = ? AND token = ? ORDER BY id DESC LIMIT 1"
    row = connection.execute(query, (uid, token)).fetchone()
    return None if row is None else int(row["id"])
