"""Commits that were interrupted: finished or taken back before the sockets open, and the books put right."""

from __future__ import annotations

import os
import time

from cbx_sandbox.checkpoint import homes, journal, leftovers, recover
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import mountinfo
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.model.result import CheckpointRef
from cbx_supervisor.paths import Paths
from cbx_supervisor.store import checkpoints
from cbx_supervisor.store.database import Database


def layer_homes(paths: Paths) -> list[str]:
    """The directories that hold layers of this supervisor's, on all file systems that are mounted now."""
    mounts = mountinfo.visible(mountinfo.read())
    elsewhere = [home for mount in mounts if not mount.remote and (home := homes.claimed(mount, paths.state))]
    return [paths.layers, *elsewhere]


def finish(database: Database, paths: Paths) -> dict[int, CheckpointRef]:
    """Finish or take back every interrupted commit; returns what became of the checkpoints, by job.

    One that had not come to its record is as if it had not begun: its job's end is settled anew, under the same locks.
    """
    found: dict[int, CheckpointRef] = {}
    for number in _journaled(database, paths):
        row = _row(database, number)
        if row is None or row.session is None:
            continue  # its layers are removed as those of nobody
        state, message = finished(row)
        if state is not row.state:
            database.write(checkpoints.decided(number, state, time.time(), message=message)).result()
        if state is CheckpointState.OPEN:
            continue
        found[row.job] = CheckpointRef(number, state.value)
    return found


def _row(database: Database, number: int) -> Checkpoint | None:
    return database.read(lambda connection: checkpoints.find(connection, number))


def _journaled(database: Database, paths: Paths) -> list[int]:
    owner = leftovers.identity(database.path)
    numbers = {
        number
        for home in layer_homes(paths)
        for number in leftovers.find(home, owner)
        if os.path.lexists(f"{home}/{number}/{journal.NAME}")
    }
    return sorted(numbers)


def finished(row: Checkpoint) -> tuple[CheckpointState, str]:
    """Finish or take back what was begun with one checkpoint: its state then, and what to say of it.

    It stays OPEN if nothing had begun that would have to be finished.
    """
    assert row.session is not None
    try:
        became = recover.recover(Session.from_json(row.session), keep=True)
    except (CbxError, OSError) as error:
        return CheckpointState.HELD, str(error)
    if became.value == row.state.value:
        return row.state, row.message
    if became is recover.Recovered.COMMITTED:
        return CheckpointState.COMMITTED, "committed; the commit was interrupted and finished at the next start"
    if became is recover.Recovered.UNDONE:
        return CheckpointState.UNDONE, "undone; the undo was interrupted and finished at the next start"
    if row.state is CheckpointState.OPEN and became is not recover.Recovered.UNTOUCHED:
        return CheckpointState.HELD, "its commit was interrupted, met what others had changed, and was taken back"
    return row.state, row.message
