"""Transactions, as rows beside their checkpoints."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cbx_supervisor.model.transaction import Pending, Savepoint, Transaction
from cbx_supervisor.store import checkpoints

Operation = Callable[[sqlite3.Connection], None]


def insert(number: int, at: float) -> Operation:
    """Make a checkpoint, which is written in the same step, that of a transaction."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO transactions (checkpoint, touched) VALUES (?, ?)", (number, at))

    return operation


def begun(number: int, pending: Pending, savepoints: tuple[Savepoint, ...], at: float) -> Operation:
    """Write down what is about to be done to the layers, and which savepoints there will be."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE transactions SET pending = ?, savepoints = ?, touched = ? WHERE checkpoint = ?",
            (pending.value, msgspec.json.encode(savepoints).decode(), at, number),
        )

    return operation


def done(number: int) -> Operation:
    """The layers are what was written down."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE transactions SET pending = NULL WHERE checkpoint = ?", (number,))

    return operation


def running(number: int, job: int) -> Operation:
    """A job works in it from now on."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE transactions SET running = ? WHERE checkpoint = ?", (job, number))

    return operation


def rested(number: int, job: int) -> Operation:
    """A job works in it no longer, if it did."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE transactions SET running = NULL WHERE checkpoint = ? AND running = ?", (number, job))

    return operation


def step(number: int, at: float, kind: str, **values: object) -> Operation:
    """Add to what was done in it."""
    text = json.dumps({"at": at, "kind": kind, **values})

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE transactions SET steps = json_insert(steps, '$[#]', json(?)), touched = ? WHERE checkpoint = ?",
            (text, at, number),
        )

    return operation


def reopened(number: int) -> Operation:
    """A commit was refused: commands may go on in it."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE checkpoints SET state = 'open', decided = NULL WHERE id = ? AND state IN ('held', 'conflict')",
            (number,),
        )

    return operation


def find(connection: sqlite3.Connection, number: int) -> Transaction | None:
    """One transaction, over or not."""
    row = connection.execute("SELECT * FROM transactions WHERE checkpoint = ?", (number,)).fetchone()
    return None if row is None else _transaction(connection, row)


def listed(connection: sqlite3.Connection, *, uid: int | None, open_only: bool, limit: int) -> list[Transaction]:
    """The newest first."""
    rows = connection.execute(
        "SELECT transactions.* FROM transactions JOIN checkpoints ON id = checkpoint "
        "WHERE uid = coalesce(?, uid) AND (NOT ? OR state = 'open') ORDER BY checkpoint DESC LIMIT ?",
        (uid, int(open_only), limit),
    ).fetchall()
    return [_transaction(connection, row) for row in rows]


def all_open(connection: sqlite3.Connection) -> list[Transaction]:
    """Those that are neither committed nor rolled back."""
    return listed(connection, uid=None, open_only=True, limit=1 << 30)


def _transaction(connection: sqlite3.Connection, row: Mapping[str, Any]) -> Transaction:
    checkpoint = checkpoints.find(connection, row["checkpoint"])
    assert checkpoint is not None
    return Transaction(
        checkpoint=checkpoint,
        touched=row["touched"],
        savepoints=msgspec.json.decode(row["savepoints"], type=tuple[Savepoint, ...]),
        pending=None if row["pending"] is None else Pending(row["pending"]),
        running=row["running"],
        steps=tuple(json.loads(row["steps"])),
    )
