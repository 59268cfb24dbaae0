"""Predictions, a row for each job that was started, and lessons, a row for each user's fingerprint.

Keyed by the user first: nobody's rows are looked at, or pruned, for somebody else. A row is written in the transaction
that says "starting" and filled in by the one that writes the result, so none of it costs a commit of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from cbx_sandbox.shell.learned import Lesson, Samples
from cbx_supervisor.model.accuracy import Row
from cbx_supervisor.model.prediction import Forecast, Observed, ObservedReads, PredictedPath, Prediction
from cbx_supervisor.store.database import Database

Operation = Callable[[sqlite3.Connection], None]

LARGEST = (1 << 63) - 1
CHUNK = 500  # rows that are read at once: whoever waits for the connection waits for so many


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """What was measured of a run. Seconds, bytes."""

    status: int
    suspect: bool  # a SAFE job whose exit status its program's rule does not call benign
    wall: float
    cpu: float | None
    peak: int | None


def started(uid: int, job: int, at: float, prediction: Prediction, tier: str) -> Operation:
    """Write down what is predicted of a job that is about to start in ``tier``."""
    forecast = prediction.forecast
    values = (
        uid, job, at, prediction.fingerprint, prediction.tier, tier, _paths(prediction), forecast.seconds,
        forecast.memory_mb, forecast.bound, forecast.source, forecast.confidence,
    )  # fmt: skip

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO predictions (uid, job, at, fingerprint, analysed, tier, writes, seconds, memory_mb,"
            " bound, source, confidence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )

    return operation


def ended(uid: int, job: int, how: Ended, observed: Observed | None, reads: ObservedReads | None = None) -> Operation:
    """Add what came of it, and what it was seen to read."""
    seen: tuple[Any, ...] = (None,) * 6
    if observed is not None:
        seen = (
            observed.changed, observed.missed, _list(observed.missed_paths), observed.predicted, observed.untouched,
            _list(observed.untouched_paths),
        )  # fmt: skip

    read = None if reads is None else json.dumps(msgspec.to_builtins(reads), separators=(",", ":"))

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE predictions SET status = ?, suspect = ?, wall = ?, cpu = ?, peak = ?, changed = ?, missed = ?,"
            " missed_paths = ?, predicted = ?, untouched = ?, untouched_paths = ?, reads = ? WHERE uid = ? AND job = ?",
            (how.status, how.suspect, how.wall, how.cpu, how.peak, *seen, read, uid, job),
        )

    return operation


def prune(uid: int, kept: int) -> Operation:
    """Forget all but the newest ``kept`` predictions of a user."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "DELETE FROM predictions WHERE uid = ?1 AND job <= (SELECT job FROM predictions WHERE uid = ?1"
            " ORDER BY job DESC LIMIT 1 OFFSET ?2)",
            (uid, kept),
        )

    return operation


def exonerated(connection: sqlite3.Connection, uid: int, fingerprint: str, tier: str) -> bool:
    """Whether a run of this command was looked at in a stricter ``tier``, and changed nothing."""
    query = (
        "SELECT 1 FROM predictions WHERE uid = ? AND fingerprint = ? AND tier = ? AND analysed != tier AND changed = 0"
        " LIMIT 1"
    )
    return connection.execute(query, (uid, fingerprint, tier)).fetchone() is not None


def find(connection: sqlite3.Connection, uid: int, job: int) -> Prediction | None:
    """The prediction of one job; None if it never started or was forgotten."""
    row = connection.execute("SELECT * FROM predictions WHERE uid = ? AND job = ?", (uid, job)).fetchone()
    return None if row is None else _prediction(row)


def rows(database: Database, uid: int | None, since: float) -> Iterator[Row]:
    """The runs that are over of a user, of everybody if None, that began after ``since``; read in small pieces."""
    last = (-1, -1)
    while True:
        found = database.read(functools.partial(_chunk, uid=uid, since=since, last=last))
        for row in found:
            yield _row(row)
        if len(found) < CHUNK:
            return
        last = (found[-1]["uid"], found[-1]["job"])


def _chunk(connection: sqlite3.Connection, uid: int | None, since: float, last: tuple[int, int]) -> list[Any]:
    lowest, highest = (0, LARGEST) if uid is None else (uid, uid)
    return connection.execute(
        "SELECT predictions.*, lessons.label FROM predictions LEFT JOIN lessons USING (uid, fingerprint)"
        " WHERE predictions.uid BETWEEN ? AND ? AND (predictions.uid, job) > (?, ?) AND predictions.at >= ?"
        " AND status IS NOT NULL ORDER BY predictions.uid, job LIMIT ?",
        (lowest, highest, *last, since, CHUNK),
    ).fetchall()


# ── lessons ──


def learned(uid: int, fingerprint: str, lesson: Lesson, label: str, at: float) -> Operation:
    """Write down what a fingerprint has taught so far."""
    values = (
        uid, fingerprint, at, label, lesson.runs, lesson.misses, lesson.seconds.packed, lesson.memory.packed,
        lesson.busy.packed, _list(lesson.directories), _list(lesson.reads),
    )  # fmt: skip

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO lessons (uid, fingerprint, at, label, runs, misses, seconds, memory, busy,"
            " directories, reads) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )

    return operation


def forgotten(uid: int, fingerprint: str) -> Operation:
    """Remove one lesson."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM lessons WHERE uid = ? AND fingerprint = ?", (uid, fingerprint))

    return operation


def lessons(connection: sqlite3.Connection, uid: int) -> dict[str, Lesson]:
    """A user's lessons by fingerprint, the one used longest ago first."""
    found = connection.execute("SELECT * FROM lessons WHERE uid = ? ORDER BY at", (uid,))
    return {
        row["fingerprint"]: Lesson(
            row["runs"],
            row["misses"],
            Samples(row["seconds"]),
            Samples(row["memory"]),
            Samples(row["busy"]),
            tuple(json.loads(row["directories"])),
            tuple(json.loads(row["reads"])),
        )
        for row in found
    }


# ── from and to columns ──


def _list(values: tuple[str, ...]) -> str:
    # Not msgspec: names may hold bytes that are no text, which json escapes.
    return json.dumps(values, separators=(",", ":"))


def _paths(prediction: Prediction) -> str:
    if not prediction.writes:
        return ""
    listed = [(path.access, path.path, path.certainty) for path in prediction.writes]
    return json.dumps([prediction.writes_left_out, listed], separators=(",", ":"))


def _prediction(row: Any) -> Prediction:
    left_out, listed = json.loads(row["writes"]) if row["writes"] else (0, [])
    return Prediction(
        fingerprint=row["fingerprint"],
        tier=row["analysed"],
        writes=tuple(PredictedPath(*entry) for entry in listed),
        writes_left_out=left_out,
        forecast=Forecast(row["seconds"], row["memory_mb"], row["bound"], row["source"], row["confidence"]),
        observed=_observed(row),
        reads=_reads(row),
    )


def _reads(row: Any) -> ObservedReads | None:
    return None if row["reads"] is None else msgspec.convert(json.loads(row["reads"]), ObservedReads)


def _observed(row: Any) -> Observed | None:
    if row["changed"] is None:
        return None
    return Observed(
        row["changed"],
        row["missed"],
        tuple(json.loads(row["missed_paths"])),
        row["predicted"],
        row["untouched"],
        tuple(json.loads(row["untouched_paths"])),
    )


def _row(row: Any) -> Row:
    return Row(
        uid=row["uid"],
        job=row["job"],
        at=row["at"],
        fingerprint=row["fingerprint"],
        label=row["label"],
        analysed=row["analysed"],
        tier=row["tier"],
        status=row["status"],
        suspect=bool(row["suspect"]),
        forecast=Forecast(row["seconds"], row["memory_mb"], row["bound"], row["source"], row["confidence"]),
        wall=row["wall"],
        peak=row["peak"],
        observed=_observed(row),
        reads=_reads(row),
    )
