"""Commits that were interrupted: finished or taken back before the sockets open, and the books put right."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from cbx_sandbox.checkpoint import homes, journal, leftovers, listing, parting, recover
from cbx_sandbox.checkpoint.changes import summarise
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files, mountinfo
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.model.result import CheckpointRef
from cbx_supervisor.paths import Paths
from cbx_supervisor.store import checkpoints
from cbx_supervisor.store.database import Database

Write = Callable[[sqlite3.Connection], None]
Log = Callable[..., None]


def layer_homes(paths: Paths) -> list[str]:
    """The directories that hold layers of this supervisor's, on all file systems that are mounted now."""
    mounts = mountinfo.visible(mountinfo.read())
    elsewhere = [home for mount in mounts if not mount.remote and (home := homes.claimed(mount, paths.state))]
    return [paths.layers, *elsewhere]


def finish(database: Database, paths: Paths, log: Log) -> dict[int, CheckpointRef]:
    """Finish or take back every interrupted commit; returns what became of the checkpoints, by job.

    One that had not come to its record is as if it had not begun: its job's end is settled anew, under the same locks.
    What cannot be written now (a file system that is read-only) is said in ``log``, and left for the next start.
    """
    found: dict[int, CheckpointRef] = {}
    for number in _journaled(database, paths):
        row = _row(database, number)
        if row is None:
            try:
                writes = list(_parts(database, paths, number))
            except (CbxError, OSError) as error:
                log("part of a checkpoint not written down", checkpoint=number, error=str(error))
                continue
            for operation in writes:
                database.write(operation).result()
        if row is None or row.session is None:
            continue  # its layers are removed as those of nobody
        try:
            state, message = finished(row)
        except OSError as error:
            log("journal of a decided checkpoint not read", checkpoint=number, error=str(error))
            state, message = row.state, row.message
        if state is not row.state or message != row.message:
            database.write(checkpoints.decided(number, state, time.time(), message=message)).result()
        if state is CheckpointState.OPEN:
            continue
        found[row.job] = CheckpointRef(number, state.value)
    return found


def _row(database: Database, number: int) -> Checkpoint | None:
    return database.read(lambda connection: checkpoints.find(connection, number))


def _parts(database: Database, paths: Paths, number: int) -> Iterator[Write]:
    for home in layer_homes(paths):
        whole = part_of(database, f"{home}/{number}")
        if whole is not None:
            yield from written_down(whole, number, time.time())
            return


def part_of(database: Database, directory: str) -> Checkpoint | None:
    """The checkpoint on record that the layers in ``directory`` are a committed part of, if they are one.

    Raises OSError: their journal cannot be read.
    """
    number = parting.origin(directory)
    whole = None if number is None else _row(database, number)
    return None if whole is None or whole.session is None else whole


def written_down(whole: Checkpoint, number: int, now: float) -> Iterator[Write]:
    """The writes that make what was committed of ``whole`` the checkpoint ``number``, which a crash has left without.

    Nothing if there is no such part.
    """
    session = None if whole.session is None else Session.from_json(whole.session)
    found = None if session is None else parting.find(session, number)
    if session is None or found is None:
        return
    made, changes = found
    counts = summarise(changes)
    part = replace(whole, id=number, session=made.to_json(), pinned=False, label="")
    text = f"a part of checkpoint {whole.id}; its supervisor ended before it was written down"

    def write(connection: sqlite3.Connection) -> None:
        checkpoints.insert(part)(connection)
        checkpoints.decided(
            number,
            CheckpointState.COMMITTED,
            now,
            changes=dataclasses.asdict(counts),
            message=text,
            listing=listing.dump(changes, session.targets),
        )(connection)
        if whole.state.waits:
            rest = f"a part of it was committed as checkpoint {number}, the rest was not selected"
            checkpoints.decided(whole.id, whole.state, now, message=rest)(connection)

    if whole.state.waits:
        parting.clear(session, changes)
    yield write


def _journaled(database: Database, paths: Paths) -> list[int]:
    owner = leftovers.identity(database.path)
    numbers = {
        number
        for home in layer_homes(paths)
        for number in leftovers.find(home, owner)
        if _has_journal(f"{home}/{number}")
    }
    return sorted(numbers)


def _has_journal(directory: str) -> bool:
    """Also where that cannot be seen: who reads it says so."""
    try:
        return files.is_there(f"{directory}/{journal.NAME}")
    except OSError:
        return True


def finished(row: Checkpoint) -> tuple[CheckpointState, str]:
    """Finish or take back what was begun with one checkpoint: its state then, and what to say of it.

    It stays OPEN if nothing had begun that would have to be finished. Raises OSError: it is decided on, and whether
    anything was begun with it since cannot be seen. Called held, it could be rolled back, and what it replaced with it.
    """
    assert row.session is not None
    try:
        became = recover.recover(Session.from_json(row.session), keep=True)
    except CbxError as error:
        return CheckpointState.HELD, str(error)
    except OSError as error:
        if row.state.final:
            raise
        return CheckpointState.HELD, str(error)
    if became.value == row.state.value:
        return row.state, row.message
    if became is recover.Recovered.COMMITTED:
        return CheckpointState.COMMITTED, "committed; the commit was interrupted and finished at the next start"
    if became is recover.Recovered.UNDONE:
        return CheckpointState.UNDONE, "undone; the undo was interrupted and finished at the next start"
    if became is recover.Recovered.PARTLY:
        return CheckpointState.HELD, "a part of it was committed, which cannot be undone: its supervisor ended before"
    if row.state is CheckpointState.OPEN and became is not recover.Recovered.UNTOUCHED:
        return CheckpointState.HELD, "its commit was interrupted, met what others had changed, and was taken back"
    return row.state, row.message
