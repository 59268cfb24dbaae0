"""What a supervisor before this one left unfinished: sorted before the sockets open.

The launcher says which inits live, and which jobs it ever started; the exit records say how others ended. A job that
is on disk and was never started waits again. One that ran, and that neither knows of, is lost, which is never success.
Changes that nobody can decide on any more are held.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time

from cbx_sandbox.box.launcher_client import Adopted, Ready
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.checkpoint import leftovers
from cbx_sandbox.checkpoint import session as sessions
from cbx_sandbox.errors import CbxError
from cbx_supervisor.execution import interrupted, resuming, secrets
from cbx_supervisor.execution import kept as texts
from cbx_supervisor.execution.launching import read_record
from cbx_supervisor.execution.live import OnDisk
from cbx_supervisor.execution.progress import box_name
from cbx_supervisor.execution.resuming import Unfinished
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.paths import Paths
from cbx_supervisor.settings import History
from cbx_supervisor.store import attention, checkpoints, jobs
from cbx_supervisor.store.database import Database


@dataclasses.dataclass(slots=True)
class Found:
    """What to do about each job that is not over, and what was closed at once."""

    running: list[tuple[Unfinished, Adopted]] = dataclasses.field(default_factory=list)
    ended: list[tuple[Unfinished, Outcome]] = dataclasses.field(default_factory=list)
    waiting: list[OnDisk] = dataclasses.field(default_factory=list)  # start them again: nobody else knows of them
    awaited: list[Unfinished] = dataclasses.field(default_factory=list)  # their clients may come again
    closed: list[int] = dataclasses.field(default_factory=list)
    unwanted: list[Adopted] = dataclasses.field(default_factory=list)  # inits that wait for a start that is not on disk


def recover(database: Database, paths: Paths, ready: Ready, adopted: dict[str, Adopted], log: interrupted.Log) -> Found:
    """Sort the unfinished jobs, and close the books on those that nobody can go on with."""
    found, left, now = Found(), dict(adopted), time.time()
    committed = interrupted.finish(database, paths, log)
    open_checkpoints = {checkpoint.job: checkpoint for checkpoint in database.read(checkpoints.opened)}
    known, futures = set(ready.known), []
    found.waiting += [OnDisk(*row) for row in database.read(jobs.untried)]
    for row in database.read(jobs.unfinished):
        number = row.job.number
        held = open_checkpoints.get(number)
        job = Unfinished(row.job, row.state, texts.of(database, paths.secrets, number), held)
        box = box_name(number, job.kept.attempt)
        init = left.pop(box, None)
        same_boot = job.kept.boot_id == sessions.boot_id()
        record = read_record(f"{paths.jobs}/{box}.json") if same_boot else None
        if number in committed:
            # It had ended, and its commit had begun: what became of that is decided.
            result = resuming.result_of(job, record, now, committed[number])
            futures.append(database.write(jobs.ended(result, now)))
            found.closed.append(number)
            found.unwanted += [] if init is None else [init]
        elif row.state == "queued":
            found.unwanted += [] if init is None else [init]
            _wait_again(found, job)
        elif init is not None:
            found.running.append((job, init))
            open_checkpoints.pop(number, None)
        elif record is not None:
            found.ended.append((job, record))
            open_checkpoints.pop(number, None)
        elif row.state == "starting" and same_boot and ready.kept and box not in known:
            _wait_again(found, job)
            if held is not None:
                text = "its job had not been started when its supervisor ended"
                futures.append(
                    database.write(checkpoints.decided(held.id, CheckpointState.ROLLED_BACK, now, message=text))
                )
                del open_checkpoints[number]
        else:
            result, doubt = resuming.result_of(job, None, now), resuming.in_doubt(job)
            futures.append(database.write(jobs.ended(result, now, keep=row.job.detached)))
            if doubt is not None:
                futures.append(database.write(attention.needed(number, now, doubt)))
            found.closed.append(number)
    found.unwanted += left.values()
    futures += [
        database.write(checkpoints.decided(checkpoint.id, CheckpointState.HELD, now, message=_held(checkpoint)))
        for checkpoint in open_checkpoints.values()
    ]
    for future in futures:
        future.result()
    return found


def _wait_again(found: Found, job: Unfinished) -> None:
    if not job.job.detached:
        found.awaited.append(job)
        return
    unordered = job.kept.submission is not None and texts.submission_of(job.kept.submission).unordered
    found.waiting.append(OnDisk(job.job.number, job.job.uid, job.job.session, job.job.submitted, unordered))


def unrecorded(database: Database, paths: Paths, kept: History, *, first: bool = False) -> list[tuple[str, int]]:
    """Layers of this supervisor's that nobody will ask for any more: directory and number.

    Decided on, and what they replaced is not kept any longer. ``first``: also those on no record, made just before a
    crash; to be asked before the first job, whose layers are on no record for a moment either. Not those of a committed
    part that is still to be written down: it can be undone then.
    """
    owner = leftovers.identity(paths.database)
    for home in interrupted.layer_homes(paths) if first else ():
        leftovers.sweep(home)
    found = [(home, number) for home in interrupted.layer_homes(paths) for number in leftovers.find(home, owner)]
    rows = {number: _row(database, number) for _, number in found}
    since = time.time() - kept.undo_hours * 3600
    undoable = sorted(number for number, row in rows.items() if row is not None and row.undoable(since))
    keep = set(undoable[max(0, len(undoable) - kept.undo_max) :])
    over = {number for number, row in rows.items() if (first if row is None else row.state.final)} - keep
    for home, number in found:
        if rows[number] is None and number in over and _may_be_part(database, f"{home}/{number}"):
            over.discard(number)  # on every file system
    return [(home, number) for home, number in found if number in over]


def _may_be_part(database: Database, directory: str) -> bool:
    try:
        return interrupted.part_of(database, directory) is not None
    except OSError:  # the disk fails: perhaps it says at the next start
        return True


def highest(paths: Paths) -> int:
    """The highest number of this supervisor's layers, on all file systems: it is taken, on record or not."""
    owner = leftovers.identity(paths.database)
    return max((number for home in interrupted.layer_homes(paths) for number in leftovers.find(home, owner)), default=0)


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


def remove_records(paths: Paths, found: Found) -> None:
    """Remove the records of jobs that are over, and their secrets: a number that is started again must find none."""
    going_on = [job for job, _ in (*found.running, *found.ended)]
    wanted = {f"{box_name(job.job.number, job.kept.attempt)}.json" for job in going_on}
    unfinished = {job.job.number for job in (*going_on, *found.awaited)}
    unfinished.update(job.number for job in found.waiting)
    try:
        secrets.forget_others(paths.secrets, unfinished)
        for name in os.listdir(paths.jobs):
            if name not in wanted:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{paths.jobs}/{name}")
    except OSError as error:
        raise CbxError(f"cannot clear {paths.jobs}: {error.strerror}") from error
