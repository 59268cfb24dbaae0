"""Jobs, their attempts and their results: the operations that the writer runs, and the questions."""

from __future__ import annotations

import dataclasses
import functools
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from cbx_supervisor.model import operations
from cbx_supervisor.model.job import GOING_ON, Job
from cbx_supervisor.model.result import Result, decode, encode
from cbx_supervisor.store import audit
from cbx_supervisor.store.database import Database


def last_number(connection: sqlite3.Connection, table: str) -> int:
    """The highest number that ``table`` ever gave, rows removed since included."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) if row else 0


def insert(job: Job, state: str) -> Callable[[sqlite3.Connection], None]:
    """Write down a submission; one that is started at once has its entry in the audit trail with its start."""
    values = (
        job.number, job.uid, job.gid, job.sudo_uid, job.session, job.command, job.workdir, job.tier,
        int(job.detached), state, job.submitted, job.token,
    )  # fmt: skip
    detail = {"command": job.command, "workdir": job.workdir, "detached": job.detached, "sudo_uid": job.sudo_uid}
    submitted = audit.record(job.submitted, "submitted", f"job {job.number}", uid=job.uid, detail=detail)

    def operation(connection: sqlite3.Connection) -> None:
        if state != "starting":
            submitted(connection)
        connection.execute(
            "INSERT INTO jobs (id, uid, gid, sudo_uid, session, command, workdir, tier, detached, state, submitted,"
            " token) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )

    return operation


def starting(
    number: int, attempt: int, tier: str, at: float, boot_id: str, *,
    uid: int | None = None, pid: int | None = None, decision: Mapping[str, object] | None = None,
) -> Callable[[sqlite3.Connection], None]:  # fmt: skip
    """Write down that an attempt is about to start, for whom, and what was decided about it."""
    detail = {"attempt": attempt, "tier": tier, **(decision or {})}
    started = audit.record(at, "started", f"job {number}", uid=uid, pid=pid, detail=detail)

    def operation(connection: sqlite3.Connection) -> None:
        started(connection)
        connection.execute("UPDATE jobs SET state = 'starting', tier = ? WHERE id = ?", (tier, number))
        # Again, if the supervisor died after it had written this and before anything was started.
        connection.execute(
            "INSERT OR REPLACE INTO attempts (job, attempt, started, boot_id, tier) VALUES (?, ?, ?, ?, ?)",
            (number, attempt, at, boot_id, tier),
        )

    return operation


def running(
    number: int, attempt: int, *, init_pid: int, init_start: int | None, cgroup_inode: int | None
) -> Callable[[sqlite3.Connection], None]:
    """Write down what identifies the attempt's init."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE jobs SET state = 'running' WHERE id = ? AND state = 'starting'", (number,))
        connection.execute(
            "UPDATE attempts SET init_pid = ?, init_start = ?, cgroup_inode = ? WHERE job = ? AND attempt = ?",
            (init_pid, init_start, cgroup_inode, number, attempt),
        )

    return operation


def ended(result: Result, at: float, *, keep: bool = False) -> Callable[[sqlite3.Connection], None]:
    """Write down a job's end, in the audit trail too. ``keep`` what was asked for: it may be run once more."""
    text = encode(result).decode()
    over = audit.record(at, "ended", f"job {result.job}", uid=result.identity.uid, detail=_end(result))

    def operation(connection: sqlite3.Connection) -> None:
        over(connection)
        connection.execute("UPDATE jobs SET state = ?, ended = ? WHERE id = ?", (result.state, at, result.job))
        connection.execute(
            "UPDATE attempts SET ended = ?, state = ?, reason = ?, status = ?, message = ?"
            " WHERE job = ? AND ended IS NULL",
            (at, result.state, result.reason, result.status, result.message, result.job),
        )
        connection.execute("INSERT OR REPLACE INTO results (job, json) VALUES (?, ?)", (result.job, text))
        # What was kept to start it, or to go on with it, has served its purpose; it may hold secrets.
        gone = "UPDATE kept SET launch = NULL WHERE job = ?" if keep else "DELETE FROM kept WHERE job = ?"
        connection.execute(gone, (result.job,))

    return operation


def _end(result: Result) -> dict[str, object]:
    detail: dict[str, object] = {"state": result.state, "reason": result.reason, "status": result.status}
    if result.checkpoint is not None:
        detail |= {"checkpoint": result.checkpoint.id, "outcome": result.checkpoint.state}
    if result.leaks:
        detail["leaks"] = list(result.leaks)
    return detail


def leaked(number: int, left: Sequence[str]) -> Callable[[sqlite3.Connection], None]:
    """Add to a result what was found left behind afterwards."""

    def operation(connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT json FROM results WHERE job = ?", (number,)).fetchone()
        if row is not None:
            found = decode(row["json"])
            result = msgspec.structs.replace(found, leaks=(*found.leaks, *left))
            connection.execute("UPDATE results SET json = ? WHERE job = ?", (encode(result).decode(), number))

    return operation


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A job as lists show it."""

    job: Job
    state: str
    ended: float | None
    result: Result | None


_SELECT = "SELECT jobs.*, results.json FROM jobs LEFT JOIN results ON results.job = jobs.id"


def find(connection: sqlite3.Connection, number: int) -> Row | None:
    """One job."""
    row = connection.execute(f"{_SELECT} WHERE jobs.id = ?", (number,)).fetchone()
    return None if row is None else _row(row)


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs to list: those of ``uid``, in any of ``states``, of ``tier``, with a command like the glob ``name``.

    None, and no states, are any.
    """

    uid: int | None = None
    states: tuple[str, ...] = ()
    tier: str | None = None
    name: str | None = None


def listed(connection: sqlite3.Connection, chosen: Choice, limit: int) -> list[Row]:
    """The newest jobs first."""
    single: dict[str, object] = {"jobs.uid = ?": chosen.uid, "jobs.tier = ?": chosen.tier}
    single["jobs.command GLOB ?"] = chosen.name
    conditions = [condition for condition, value in single.items() if value is not None]
    values = [value for value in single.values() if value is not None]
    if chosen.states:
        conditions.append(f"jobs.state IN ({','.join('?' * len(chosen.states))})")
        values += chosen.states
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    query = f"{_SELECT}{where} ORDER BY jobs.id DESC LIMIT ?"  # built from constants only
    return [_row(row) for row in connection.execute(query, (*values, limit))]


_CHANGES = """
SELECT * FROM (
    SELECT submitted AS at, id, uid, 'queued', NULL FROM jobs
    UNION ALL SELECT started, job, uid, 'running', NULL FROM attempts JOIN jobs ON jobs.id = attempts.job
    UNION ALL SELECT ended, id, uid, state, json_extract(results.json, '$.status') FROM jobs
        JOIN results ON results.job = jobs.id
) WHERE at > :after AND at < :before AND (:uid IS NULL OR uid = :uid) AND (:job IS NULL OR id = :job) ORDER BY at
"""


def changes(
    connection: sqlite3.Connection, *, uid: int | None, job: int | None, after: float, before: float
) -> list[tuple[float, int, int, str, int | None]]:
    """What became of jobs between two times, in order: time, job, user, state, and at its end the status."""
    values = {"uid": uid, "job": job, "after": after, "before": before}
    return [tuple(row) for row in connection.execute(_CHANGES, values)]


# Those that wait for their first start, and need no client for it: there may be very many.
_UNTRIED = "jobs.state = 'queued' AND detached AND NOT EXISTS (SELECT 1 FROM attempts WHERE attempts.job = jobs.id)"

_UNTRIED_SELECT = (
    "SELECT id, uid, session, submitted, json_extract(submission, '$.unordered') IS 1"
    " FROM jobs LEFT JOIN kept ON kept.job = jobs.id"
)


def untried(connection: sqlite3.Connection) -> list[tuple[int, int, str | None, float, bool]]:
    """Detached jobs that wait for their first start: number, user, session, when submitted, whether out of order."""
    query = f"{_UNTRIED_SELECT} WHERE {_UNTRIED} ORDER BY id"
    found = connection.execute(query)
    return [(number, uid, session, at, bool(unordered)) for number, uid, session, at, unordered in found]


def unfinished(connection: sqlite3.Connection) -> list[Row]:
    """The other jobs that a supervisor before this one did not see end."""
    marks = ",".join("?" * len(GOING_ON))
    query = f"{_SELECT} WHERE jobs.state IN ({marks}) AND NOT ({_UNTRIED}) ORDER BY jobs.id"
    return [_row(row) for row in connection.execute(query, GOING_ON)]


CHUNK = 2000  # rows of one question: the writer is not kept waiting for longer


def over(database: Database, uid: int | None, since: float) -> Iterator[operations.Row]:
    """Jobs that ended since then, seconds of the Unix clock; those of ``uid``, of everybody if None."""
    last = 0
    while True:
        found = database.read(functools.partial(_over, uid=uid, since=since, last=last))
        for row in found:
            yield _operation(row)
        if len(found) < CHUNK:
            return
        last = found[-1]["id"]


def _over(connection: sqlite3.Connection, *, uid: int | None, since: float, last: int) -> list[Any]:
    query = (
        "SELECT jobs.id, jobs.tier, jobs.submitted, jobs.ended, results.json,"
        " (SELECT max(started) FROM attempts WHERE attempts.job = jobs.id) AS started"
        " FROM jobs JOIN results ON results.job = jobs.id"
        " WHERE jobs.id > ? AND jobs.ended >= ? AND (? IS NULL OR jobs.uid = ?) ORDER BY jobs.id LIMIT ?"
    )
    return connection.execute(query, (last, since, uid, uid, CHUNK)).fetchall()


def _operation(row: Any) -> operations.Row:
    result = decode(row["json"])
    return operations.Row(
        tier=row["tier"],
        end=result.reason if result.state == "exited" else result.state,
        status=result.status,
        submitted=row["submitted"],
        started=row["started"],
        ended=row["ended"],
        wall=result.usage.wall_seconds,
    )


def _row(row: Any) -> Row:
    job = Job(
        number=row["id"],
        uid=row["uid"],
        gid=row["gid"],
        command=row["command"],
        workdir=row["workdir"],
        submitted=row["submitted"],
        tier=row["tier"],
        session=row["session"],
        detached=bool(row["detached"]),
        sudo_uid=row["sudo_uid"],
        token=row["token"],
    )
    return Row(job, row["state"], row["ended"], decode(row["json"]) if row["json"] else None)
