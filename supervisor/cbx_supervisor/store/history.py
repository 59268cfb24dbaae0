"""How long ended jobs and transactions are remembered."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from cbx_supervisor.model.checkpoint import CheckpointState
from cbx_supervisor.model.job import GOING_ON

_OLD = """
SELECT id FROM jobs WHERE (ended < ? OR id <= ?) AND state NOT IN (SELECT value FROM json_each(?))
AND id NOT IN (SELECT job FROM checkpoints WHERE state IN (SELECT value FROM json_each(?)))
"""

_OLD_TRANSACTIONS = """
DELETE FROM checkpoints WHERE decided < ? AND state NOT IN (SELECT value FROM json_each(?))
AND id IN (SELECT checkpoint FROM transactions)
"""


def prune(keep: int, before: float) -> Callable[[sqlite3.Connection], list[int]]:
    """Forget jobs that ended earlier than ``before``, and all but the newest ``keep``; returns their numbers.

    Transactions go by their age alone.

    Never one that is not over, nor one whose checkpoint is still to be decided on.
    """
    undecided = tuple(state.value for state in CheckpointState if not state.final)

    def operation(connection: sqlite3.Connection) -> list[int]:
        row = connection.execute("SELECT id FROM jobs ORDER BY id DESC LIMIT 1 OFFSET ?", (keep,)).fetchone()
        oldest = row[0] if row else 0
        values = (before, oldest, json.dumps(GOING_ON), json.dumps(undecided))
        numbers = [row[0] for row in connection.execute(_OLD, values)]
        every = [(number,) for number in numbers]
        connection.executemany("DELETE FROM checkpoints WHERE job = ?", every)
        connection.executemany("DELETE FROM jobs WHERE id = ?", every)
        connection.execute(_OLD_TRANSACTIONS, (before, json.dumps(undecided)))
        return numbers

    return operation
