"""Checkpoints, as rows."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable
from typing import Any

from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.model.retention import Held


def insert(checkpoint: Checkpoint) -> Callable[[sqlite3.Connection], None]:
    """Write down a checkpoint, before anything is written into its layers."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO checkpoints (id, job, uid, gid, state, created, session) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                checkpoint.id, checkpoint.job, checkpoint.uid, checkpoint.gid, checkpoint.state.value,
                checkpoint.created, _dump(checkpoint.session),
            ),
        )  # fmt: skip

    return operation


def decided(
    number: int,
    state: CheckpointState,
    at: float,
    *,
    changes: dict[str, int] | None = None,
    message: str = "",
    listing: bytes | None = None,
    by: int | None = None,
) -> Callable[[sqlite3.Connection], None]:
    """Write down what became of it; ``listing`` is what was committed, as the sandbox packs it.

    ``by`` is who decided, None its owner. What changed the live tree is an operation for :func:`log`.
    """

    def operation(connection: sqlite3.Connection) -> None:
        if state in {CheckpointState.COMMITTED, CheckpointState.UNDONE} or listing is not None:
            connection.execute(_OPERATION, (at, state.value, state.value, by, _dump(changes), number, state.value))
        connection.execute(
            "UPDATE checkpoints SET state = ?, decided = ?, changes = coalesce(?, changes), message = ? WHERE id = ?",
            (state.value, at, _dump(changes), message, number),
        )
        if listing is not None:
            # Of a checkpoint that is committed in parts, the last one.
            connection.execute(
                "INSERT INTO listings (checkpoint, changes) VALUES (?, ?) "
                "ON CONFLICT (checkpoint) DO UPDATE SET changes = excluded.changes",
                (number, listing),
            )

    return operation


# A redo is a commit of what was undone; what a restart finds to be as it was is no operation.
_OPERATION = """
INSERT INTO operations (at, checkpoint, kind, uid, changes)
SELECT ?, id, CASE WHEN ? = 'undone' THEN 'undo' WHEN ? = 'committed' AND state = 'undone' THEN 'redo'
ELSE 'commit' END, coalesce(?, uid), coalesce(?, changes)
FROM checkpoints WHERE id = ? AND (state <> ? OR state = 'held')
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """A commit, an undo or a redo: what was done to the live tree, by whom and when."""

    id: int
    at: float
    kind: str
    uid: int
    changes: dict[str, int] | None
    checkpoint: Checkpoint
    listing: bytes | None


def log(connection: sqlite3.Connection, *, uid: int | None, limit: int) -> list[Operation]:
    """The newest first; those on checkpoints of ``uid``, or of everybody."""
    rows = connection.execute(
        "SELECT operations.*, listings.changes AS listing FROM operations JOIN checkpoints c ON c.id = checkpoint "
        "LEFT JOIN listings USING (checkpoint) WHERE c.uid = coalesce(?, c.uid) ORDER BY operations.id DESC LIMIT ?",
        (uid, limit),
    ).fetchall()
    found = []
    for row in rows:
        checkpoint = find(connection, row["checkpoint"])
        assert checkpoint is not None
        changes = json.loads(row["changes"]) if row["changes"] else None
        made = None if row["listing"] is None else bytes(row["listing"])
        found.append(Operation(row["id"], row["at"], row["kind"], row["uid"], changes, checkpoint, made))
    return found


def removed(number: int) -> Callable[[sqlite3.Connection], None]:
    """Forget a checkpoint, with its operations."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM checkpoints WHERE id = ?", (number,))

    return operation


def listing(connection: sqlite3.Connection, number: int) -> bytes | None:
    """What a checkpoint has committed."""
    row = connection.execute("SELECT changes FROM listings WHERE checkpoint = ?", (number,)).fetchone()
    return None if row is None else bytes(row["changes"])


def marked(number: int, *, pinned: bool | None, label: str | None) -> Callable[[sqlite3.Connection], None]:
    """Write down a pin or a label; None leaves what is there."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE checkpoints SET pinned = coalesce(?, pinned), label = coalesce(?, label) WHERE id = ?",
            (None if pinned is None else int(pinned), label, number),
        )

    return operation


def find(connection: sqlite3.Connection, number: int) -> Checkpoint | None:
    """One checkpoint."""
    row = connection.execute("SELECT * FROM checkpoints WHERE id = ?", (number,)).fetchone()
    return None if row is None else _checkpoint(row)


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """Which checkpoints to list: all that match what is given."""

    uid: int | None = None
    states: tuple[str, ...] = ()
    job: int | None = None
    label: str | None = None
    pinned: bool | None = None


def listed(connection: sqlite3.Connection, choice: Choice, *, limit: int) -> list[Checkpoint]:
    """The newest first."""
    rows = connection.execute(
        "SELECT * FROM checkpoints WHERE uid = coalesce(:uid, uid) AND job = coalesce(:job, job) "
        "AND label = coalesce(:label, label) AND pinned = coalesce(:pinned, pinned) "
        "AND (:states = '[]' OR state IN (SELECT value FROM json_each(:states))) ORDER BY id DESC LIMIT :limit",
        {
            "uid": choice.uid,
            "job": choice.job,
            "label": choice.label,
            "pinned": None if choice.pinned is None else int(choice.pinned),
            "states": json.dumps(choice.states),
            "limit": limit,
        },
    )
    return [_checkpoint(row) for row in rows]


def held(connection: sqlite3.Connection, uid: int | None) -> Held:
    """How many checkpoints of ``uid``, of everybody if None, wait to be decided on, and the bytes of their changes."""
    row = connection.execute(
        "SELECT count(*) AS number, coalesce(sum(json_extract(changes, '$.bytes')), 0) AS bytes FROM checkpoints "
        "WHERE uid = coalesce(?, uid) AND "
        "(state IN ('held', 'conflict') OR state = 'open' AND id IN (SELECT checkpoint FROM transactions))",
        (uid,),
    ).fetchone()
    return Held(row["number"], row["bytes"])


def waiting(connection: sqlite3.Connection) -> list[Checkpoint]:
    """Those that somebody has to decide on, the oldest first."""
    rows = connection.execute("SELECT * FROM checkpoints WHERE state IN ('held', 'conflict') ORDER BY id")
    return [_checkpoint(row) for row in rows]


def undoable(connection: sqlite3.Connection, since: float, most: int) -> list[Checkpoint]:
    """The latest ones that were committed or undone after ``since`` (Unix time): what they replaced is kept."""
    rows = connection.execute(
        "SELECT * FROM checkpoints WHERE state IN ('committed', 'undone') AND decided > ? ORDER BY id DESC LIMIT ?",
        (since, most),
    )
    return [_checkpoint(row) for row in rows]


def opened(connection: sqlite3.Connection) -> list[Checkpoint]:
    """Those whose jobs a supervisor before this one did not see end."""
    rows = connection.execute(
        "SELECT * FROM checkpoints WHERE state = 'open' AND id NOT IN (SELECT checkpoint FROM transactions) ORDER BY id"
    )
    return [_checkpoint(row) for row in rows]


def _dump(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, separators=(",", ":"))


def _checkpoint(row: Any) -> Checkpoint:
    return Checkpoint(
        id=row["id"],
        job=row["job"],
        uid=row["uid"],
        gid=row["gid"],
        state=CheckpointState(row["state"]),
        created=row["created"],
        decided=row["decided"],
        changes=json.loads(row["changes"]) if row["changes"] else None,
        session=json.loads(row["session"]) if row["session"] else None,
        message=row["message"],
        pinned=bool(row["pinned"]),
        label=row["label"],
    )
