"""What another supervisor needs of a job that is not over, and the keys by which a job is submitted once only."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable

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
    """The two texts of one job, as execution/kept made them, and when its last attempt was started, in which boot."""

    submission: str | None
    launch: str | None
    boot_id: str | None
    started: float | None


def find(connection: sqlite3.Connection, job: int) -> Kept:
    """What was kept of a job."""
    row = connection.execute("SELECT submission, launch FROM kept WHERE job = ?", (job,)).fetchone()
    boot = connection.execute(
        "SELECT boot_id, started FROM attempts WHERE job = ? ORDER BY attempt DESC LIMIT 1", (job,)
    ).fetchone()
    texts = (None, None) if row is None else (row["submission"], row["launch"])
    return Kept(*texts, *((None, None) if boot is None else (boot["boot_id"], boot["started"])))


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
