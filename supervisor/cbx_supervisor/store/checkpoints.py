"""Checkpoints, as rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState


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
    number: int, state: CheckpointState, at: float, *, changes: dict[str, int] | None = None, message: str = ""
) -> Callable[[sqlite3.Connection], None]:
    """Write down what became of it."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE checkpoints SET state = ?, decided = ?, changes = coalesce(?, changes), message = ? WHERE id = ?",
            (state.value, at, _dump(changes), message, number),
        )

    return operation


def find(connection: sqlite3.Connection, number: int) -> Checkpoint | None:
    """One checkpoint."""
    row = connection.execute("SELECT * FROM checkpoints WHERE id = ?", (number,)).fetchone()
    return None if row is None else _checkpoint(row)


def listed(connection: sqlite3.Connection, *, uid: int | None, limit: int) -> list[Checkpoint]:
    """The newest first: those of ``uid``, of everybody if None."""
    if uid is None:
        rows = connection.execute("SELECT * FROM checkpoints ORDER BY id DESC LIMIT ?", (limit,))
    else:
        rows = connection.execute("SELECT * FROM checkpoints WHERE uid = ? ORDER BY id DESC LIMIT ?", (uid, limit))
    return [_checkpoint(row) for row in rows]


def held_bytes(connection: sqlite3.Connection, uid: int) -> int:
    """How much of one user's changes waits to be decided on, in bytes."""
    rows = connection.execute(
        "SELECT changes FROM checkpoints WHERE state IN ('held', 'conflict') AND uid = ? AND changes IS NOT NULL",
        (uid,),
    )
    return sum(json.loads(row["changes"])["bytes"] for row in rows)


def opened(connection: sqlite3.Connection) -> list[Checkpoint]:
    """Those whose jobs a supervisor before this one did not see end."""
    rows = connection.execute("SELECT * FROM checkpoints WHERE state = 'open' ORDER BY id")
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
    )
