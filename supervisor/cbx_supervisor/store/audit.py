"""Who did what that mattered: append only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping


def record(
    at: float, action: str, subject: str, *, uid: int | None = None, pid: int | None = None,
    detail: Mapping[str, object] | None = None,
) -> Callable[[sqlite3.Connection], None]:  # fmt: skip
    """Write down one action: submitted, refused, committed, rolled back, cancelled, started with a privilege."""
    text = json.dumps(dict(detail or {}), separators=(",", ":"), default=str)

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO audit (at, uid, pid, action, subject, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (at, uid, pid, action, subject, text),
        )

    return operation


def denied(at: float, subject: str, uid: int, pid: int, why: str) -> Callable[[sqlite3.Connection], None]:
    """Write down that somebody asked for what he may not do."""
    return record(at, "denied", subject, uid=uid, pid=pid, detail={"why": why})


def listed(connection: sqlite3.Connection, *, before: int | None, limit: int) -> list[dict[str, object]]:
    """The newest entries first, older than the entry ``before``."""
    rows = connection.execute("SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?", (before or 1 << 62, limit))
    return [{**row, "detail": json.loads(row["detail"])} for row in map(dict, rows)]
