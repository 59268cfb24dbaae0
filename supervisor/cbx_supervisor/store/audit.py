"""Who did what that mattered: append only, each entry chained to the one before it (model/chain)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cbx_supervisor.model import chain
from cbx_supervisor.model.redaction import redacted_values

_detail = json.JSONEncoder(separators=(",", ":"), default=str).encode  # json.dumps makes one for each call
_INSERT = (
    "INSERT INTO audit (id, at, uid, pid, action, subject, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def record(
    at: float, action: str, subject: str, *, uid: int | None = None, pid: int | None = None,
    detail: Mapping[str, object] | None = None,
) -> Callable[[sqlite3.Connection], None]:  # fmt: skip
    """Write down one action: submitted, started, ended, refused, committed, rolled back, cancelled, loosened ...

    Without secrets that the detail may hold.
    """
    text = _detail(redacted_values(detail or {}))

    def operation(connection: sqlite3.Connection) -> None:
        _append(connection, at, uid, pid, action, subject, text)

    return operation


def denied(at: float, subject: str, uid: int, pid: int, why: str) -> Callable[[sqlite3.Connection], None]:
    """Write down that somebody asked for what he may not do."""
    return record(at, "denied", subject, uid=uid, pid=pid, detail={"why": why})


def trim(before: float, now: float) -> Callable[[sqlite3.Connection], int]:
    """Remove the entries at the beginning that are older than ``before``, and say so; returns how many.

    What is left can still be verified: the entry that says so holds the hash of the last one that went.
    """

    def operation(connection: sqlite3.Connection) -> int:
        kept = connection.execute("SELECT id FROM audit WHERE at >= ? ORDER BY id LIMIT 1", (before,)).fetchone()
        if kept is None:
            return 0  # nothing happened for so long: there is no hurry
        query = "SELECT id, hash FROM audit WHERE id < ? ORDER BY id DESC LIMIT 1"
        gone = connection.execute(query, (kept["id"],)).fetchone()
        if gone is None:
            return 0
        connection.execute("UPDATE audit_trimmed SET up_to = ?", (gone["id"],))
        count = connection.execute("DELETE FROM audit WHERE id <= ?", (gone["id"],)).rowcount
        text = json.dumps({"up_to": gone["id"], "hash": gone["hash"], "entries": count}, separators=(",", ":"))
        _append(connection, now, 0, None, chain.TRIMMED, "audit", text)
        return count

    return operation


def seal(connection: sqlite3.Connection, rows: Iterable[Any]) -> None:
    """Chain entries that an earlier release wrote without hashes, in their order."""
    previous = chain.GENESIS
    for row in rows:
        entry = _entry(row)
        mark = chain.digest(previous, entry)
        connection.execute(_INSERT, (*_values(entry), previous, mark))
        previous = mark


def listed(connection: sqlite3.Connection, *, before: int | None, limit: int) -> list[dict[str, object]]:
    """The newest entries first, older than the entry ``before``."""
    query = "SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?"
    return [_told(row) for row in connection.execute(query, (before or 1 << 62, limit))]


def of_action(connection: sqlite3.Connection, action: str, limit: int) -> list[dict[str, object]]:
    """The newest entries of one action first."""
    query = "SELECT * FROM audit WHERE action = ? ORDER BY id DESC LIMIT ?"
    return [_told(row) for row in connection.execute(query, (action, limit))]


def following(connection: sqlite3.Connection, *, after: int, limit: int) -> list[dict[str, object]]:
    """The entries after the entry ``after``, the oldest first."""
    query = "SELECT * FROM audit WHERE id > ? ORDER BY id LIMIT ?"
    return [_told(row) for row in connection.execute(query, (after, limit))]


def misnumbered(connection: sqlite3.Connection) -> list[dict[str, object]]:
    """An entry below all numbers that are given, if somebody has put one there: one is enough to tell."""
    return [_told(row) for row in connection.execute("SELECT * FROM audit WHERE id < 1 ORDER BY id LIMIT 1")]


def last_number(connection: sqlite3.Connection) -> int:
    """The highest number that was ever given."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetchone()
    return int(row[0]) if row else 0


def _append(
    connection: sqlite3.Connection, at: float, uid: int | None, pid: int | None, action: str, subject: str, text: str
) -> None:
    """There is one writer, so what is read here is what the new entry follows."""
    query = "SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1"
    before = connection.execute(query).fetchone()
    # Numbers go on where they stopped, also when all entries were removed by somebody else: the gap tells.
    number = (last_number(connection) if before is None else int(before["id"])) + 1
    previous = chain.GENESIS if before is None else str(before["hash"])
    entry = chain.Entry(number, at, uid, pid, action, subject, text)
    connection.execute(_INSERT, (*_values(entry), previous, chain.digest(previous, entry)))


def _values(entry: chain.Entry) -> tuple[object, ...]:
    return entry.id, entry.at, entry.uid, entry.pid, entry.action, entry.subject, entry.detail


def _entry(row: Any) -> chain.Entry:
    return chain.Entry(row["id"], row["at"], row["uid"], row["pid"], row["action"], row["subject"], row["detail"])


def _told(row: Any) -> dict[str, object]:
    return {**dict(row), "detail": chain.detail(row["detail"]), "record": row["detail"]}
