"""What somebody has stopped or ended by hand: jobs, and the queue. It outlives the supervisor."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable, Mapping

IMPORTANCE = "importance"  # in the text of what was asked for (execution/kept)
Operation = Callable[[sqlite3.Connection], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Stopped:
    """Jobs that are not to go on; ``paused``: the queue starts nothing, ``draining``: it takes nothing.

    ``withdrawn``: jobs that are to end, or not to begin; True: at once, without SIGTERM first.
    """

    jobs: frozenset[int]
    withdrawn: Mapping[int, bool]
    paused: bool
    draining: bool


def pause(job: int) -> Operation:
    """A job is not to go on, or to be started. Forgotten with it."""

    def operation(connection: sqlite3.Connection) -> None:
        # A foreground job that was started at once may be on no record yet: it has nothing that could be lost.
        connection.execute("INSERT OR IGNORE INTO paused (job) SELECT id FROM jobs WHERE id = ?", (job,))

    return operation


def resume(job: int) -> Operation:
    """It may go on."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM paused WHERE job = ?", (job,))

    return operation


def withdraw(job: int, *, at_once: bool) -> Operation:
    """A job is to end, or not to begin. Its supervisor may be killed after it said so, and before it has done it."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO withdrawn (job, at_once) SELECT id, ? FROM jobs WHERE id = ?"
            " ON CONFLICT (job) DO UPDATE SET at_once = max(at_once, excluded.at_once)",
            (int(at_once), job),
        )

    return operation


def priority(job: int, importance: str) -> Operation:
    """Its submitter says otherwise of a job. Only of one that another supervisor could start something is kept."""

    def operation(connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT submission FROM kept WHERE job = ?", (job,)).fetchone()
        if row is not None and row[0] is not None:
            text = json.dumps({**json.loads(row[0]), IMPORTANCE: importance})
            connection.execute("UPDATE kept SET submission = ? WHERE job = ?", (text, job))

    return operation


def queue(*, paused: bool | None, draining: bool | None) -> Operation:
    """How the queue stands; None: as before."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR IGNORE INTO queue (one, paused, draining) VALUES (1, 0, 0)")
        connection.execute(
            "UPDATE queue SET paused = coalesce(?, paused), draining = coalesce(?, draining)", (paused, draining)
        )

    return operation


def find(connection: sqlite3.Connection) -> Stopped:
    """All that is stopped."""
    row = connection.execute("SELECT paused, draining FROM queue").fetchone()
    jobs = connection.execute("SELECT job FROM paused WHERE job NOT IN (SELECT job FROM results)").fetchall()
    ending = connection.execute("SELECT job, at_once FROM withdrawn WHERE job NOT IN (SELECT job FROM results)")
    withdrawn = {job: bool(at_once) for job, at_once in ending}
    paused, draining = (False, False) if row is None else (bool(row[0]), bool(row[1]))
    return Stopped(frozenset(found[0] for found in jobs), withdrawn, paused, draining)
