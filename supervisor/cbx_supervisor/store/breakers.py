"""Circuit breakers that remember a failure: a row each."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable

Operation = Callable[[sqlite3.Connection], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One of them; ``until`` is when it is tried again, in seconds of the Unix clock, None as long as it is closed."""

    name: str
    failures: int
    until: float | None


def keep(row: Row) -> Operation:
    """Write down how it is."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO breakers (name, failures, until) VALUES (?, ?, ?)",
            (row.name, row.failures, row.until),
        )

    return operation


def forget(name: str) -> Operation:
    """It is as new."""

    def operation(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM breakers WHERE name = ?", (name,))

    return operation


def all_of_them(connection: sqlite3.Connection) -> list[Row]:
    """Every breaker that is not as new."""
    return [Row(row["name"], row["failures"], row["until"]) for row in connection.execute("SELECT * FROM breakers")]
