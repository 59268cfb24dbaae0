"""What a supervisor before this one left unfinished: put right before the sockets open.

The launcher has ended every process of theirs by then. A job whose init came to write its record keeps its status; one
without a record is lost, which is never success. Changes that nobody decided on are held.
"""

from __future__ import annotations

import os
import time
from typing import Any

from cbx_sandbox.checkpoint import leftovers
from cbx_sandbox.checkpoint import session as sessions
from cbx_sandbox.errors import CbxError
from cbx_supervisor.daemon import interrupted
from cbx_supervisor.execution.launching import read_record
from cbx_supervisor.execution.outcome import FAILED, iso, signal_name, verdict
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.model.result import CheckpointRef, Result, Who
from cbx_supervisor.paths import Paths
from cbx_supervisor.settings import History
from cbx_supervisor.store import checkpoints, jobs
from cbx_supervisor.store.database import Database


def recover(database: Database, paths: Paths) -> list[int]:
    """Close the books on unfinished jobs and checkpoints; returns the jobs' numbers."""
    now = time.time()
    committed = interrupted.finish(database, paths)
    open_checkpoints = {checkpoint.job: checkpoint for checkpoint in database.read(checkpoints.opened)}
    unfinished = database.read(jobs.unfinished)
    futures = []
    for row in unfinished:
        held = open_checkpoints.get(row.job.number)
        reference = None if held is None else CheckpointRef(held.id, CheckpointState.HELD.value)
        result = _result(row, paths, committed.get(row.job.number, reference), now)
        futures.append(database.write(jobs.ended(result, now)))
    futures += [
        database.write(checkpoints.decided(checkpoint.id, CheckpointState.HELD, now, message=_held(checkpoint)))
        for checkpoint in open_checkpoints.values()
    ]
    for future in futures:
        future.result()
    _remove_records(paths)
    return [row.job.number for row in unfinished]


def unrecorded(database: Database, paths: Paths, kept: History, *, first: bool = False) -> list[tuple[str, int]]:
    """Layers of this supervisor's that nobody will ask for any more: directory and number.

    Decided on, and what they replaced is not kept any longer. ``first``: also those on no record, made just before a
    crash; to be asked before the first job, whose layers are on no record for a moment either.
    """
    owner = leftovers.identity(paths.database)
    found = [(home, number) for home in interrupted.layer_homes(paths) for number in leftovers.find(home, owner)]
    rows = {number: _row(database, number) for _, number in found}
    since = time.time() - kept.undo_hours * 3600
    undoable = sorted(number for number, row in rows.items() if row is not None and row.undoable(since))
    keep = set(undoable[max(0, len(undoable) - kept.undo_max) :])
    over = {number for number, row in rows.items() if (first if row is None else row.state.final)} - keep
    return [(home, number) for home, number in found if number in over]


def _row(database: Database, number: int) -> Checkpoint | None:
    return database.read(lambda connection: checkpoints.find(connection, number))


def _held(checkpoint: Checkpoint) -> str:
    """Why a checkpoint is held; layers are synced, unless the host went down before that could be done."""
    record = checkpoint.session or {}
    if record.get("boot_id") != sessions.boot_id():
        return "the host went down while the job ran: its changes may be incomplete"
    try:
        sessions.sync(sessions.Session.from_json(record))
    except (OSError, KeyError, TypeError) as error:
        return f"its supervisor ended while the job ran; its changes may be incomplete: {error}"
    return "its supervisor ended while the job ran"


def _result(row: jobs.Row, paths: Paths, checkpoint: CheckpointRef | None, now: float) -> Result:
    job = row.job
    common: dict[str, Any] = {
        "job": job.number,
        "command": job.command,
        "tier": job.tier,
        "identity": Who(job.uid, job.gid),
        "workdir": job.workdir,
        "ended": iso(now),
        "checkpoint": checkpoint,
    }
    if row.state == "queued":
        message = f"job {job.number} was never started: its supervisor ended while it waited"
        return Result(**common, state="cancelled", reason="cancelled", status=75, message=message)
    outcome = read_record(f"{paths.jobs}/{job.number}.json")
    if outcome is None:
        message = f"job {job.number} was lost: its supervisor ended, and it left no record"
        return Result(**common, state="lost", reason="lost", status=FAILED, message=message)
    state, reason, status = verdict(outcome)
    number = outcome["signal"]
    return Result(
        **common,
        state=state,
        reason=reason,
        status=status,
        exit_code=outcome["exit_code"],
        signal=None if number is None else signal_name(number),
        message=f"job {job.number} ended while no supervisor ran",
    )


def _remove_records(paths: Paths) -> None:
    try:
        for name in os.listdir(paths.jobs):
            os.unlink(f"{paths.jobs}/{name}")
    except OSError as error:
        raise CbxError(f"cannot clear {paths.jobs}: {error.strerror}") from error
