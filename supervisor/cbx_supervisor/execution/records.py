"""What the store is told of one job: its submission, its start, and how it ended.

The first two are on disk before the command starts, in one commit if it did not have to wait. The end is on disk before
the caller is told, unless the job is known to have changed nothing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from cbx_sandbox import runner
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.errors import CbxError
from cbx_supervisor.execution import attending, auditing, outcome, secrets
from cbx_supervisor.execution import checkpoints as work
from cbx_supervisor.execution import kept as texts
from cbx_supervisor.execution.live import LiveJob
from cbx_supervisor.execution.progress import Progress
from cbx_supervisor.execution.submission import Descriptors, Nobody
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.model.job import Job, Starting
from cbx_supervisor.model.result import Result
from cbx_supervisor.store import attempts, attention, audit, jobs, kept, transactions
from cbx_supervisor.store import checkpoints as rows
from cbx_supervisor.store.attempts import Again

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor

Write = Callable[[sqlite3.Connection], object]

_COUNTS = ("added", "changed", "deleted", "bytes")


async def submitted(job: Progress) -> None:
    """Have the submission on disk and tell the caller, once."""
    if not job.recorded:
        job.recorded = True
        await job.executor.writing.write(jobs.insert(_job(job), "queued"), *await _asked_for(job))
        job.live.durable.set()
        job.caller.accepted(job.number)
        # It waits now, maybe among many: what it does not need is not kept open as long.
        job.executor.files.close(job.descriptors.left_out(), job.submission.uid)


async def submitted_together(executor: Executor, lives: Sequence[LiveJob]) -> None:
    """Have submissions on disk in one transaction, all or none. Raises CbxError, sqlite3.Error: none is."""
    writes: list[Write] = []
    for live in lives:
        job = Progress(executor, live, Descriptors({}), Nobody())
        writes += [jobs.insert(_job(job), "queued"), *await _asked_for(job)]
    await executor.writing.write(*writes)
    for live in lives:
        live.durable.set()


async def starting(job: Progress, planned: runner.Plan, started: float) -> None:
    """Have on disk that it starts, and all that a later supervisor needs to go on with it."""
    tier = planned.policy.tier.value
    who, decision, boot = job.submission, auditing.decision(job, planned), job.executor.boot_id
    writes = [jobs.starting(job.number, job.attempt, tier, started, boot, uid=who.uid, pid=who.pid, decision=decision)]
    if not job.recorded:
        writes[:0] = [jobs.insert(_job(job), "starting"), *await _asked_for(job)]
    if job.submission.detached or planned.policy.grants or job.session is not None or job.submission.resources:
        # Of jobs that only read, hold nothing and have a client nothing is to be decided: their record says the end.
        writes.append(kept.launch(job.number, texts.launch_text(job.submission, planned, job.locks.wants)))
    if job.submission.transaction is not None:
        writes.append(transactions.running(job.submission.transaction, job.number))
    elif job.session is not None:
        writes.append(rows.insert(_checkpoint(job, job.session, started)))
    writes += job.executor.learning.starting(job.number, job.submission, planned, started)
    first, job.recorded, job.predicted = not job.recorded, True, True
    await job.executor.writing.write(*writes)
    job.live.state = Starting(job.attempt, started)
    job.live.durable.set()
    if first and job.submission.detached:
        job.caller.accepted(job.number)


async def ended(job: Progress, result: Result, error: CbxError | None) -> None:
    """Write down how it ended; before the caller is told, if that could matter after a power cut."""
    if _changed_nothing(job, result) and auditing.noted(job, error) is None:
        # A power cut may forget how it ended; whoever asks the supervisor waits until it is written.
        job.executor.writing.record(_write(job, result, error))
    else:
        await _write(job, result, error)


async def again(job: Progress, result: Result, then: Again) -> None:
    """Write down how an attempt ended and when the next one is due, before anything of it is begun."""
    now = time.time()
    await job.executor.writing.keep_trying(
        attempts.again(result, job.attempt, now, then), *_beside(job, result, None, now)
    )
    _forget_record(job)
    job.executor.log("tried again", job=job.number, attempt=job.attempt + 1, why=then.why)


def _changed_nothing(job: Progress, result: Result) -> bool:
    left = job.session is not None and (job.settled is None or job.settled.state is not CheckpointState.EMPTY)
    return result.state == "exited" and not job.locks.direct and not left


async def _write(job: Progress, result: Result, error: CbxError | None) -> None:
    writes = _end(job, result, error)
    try:
        await job.executor.writing.write(*writes)
    except (CbxError, sqlite3.Error) as raised:
        # The caller is told how it ended all the same; until it can be written its record stays.
        job.executor.log("result not recorded", job=job.number, error=str(raised))
        job.executor.writing.afterwards(_write_later(job, writes))
    else:
        _forget(job)


async def _write_later(job: Progress, writes: list[Write]) -> None:
    await job.executor.writing.keep_trying(*writes)
    _forget(job)


def _forget_record(job: Progress) -> None:
    with contextlib.suppress(OSError):
        os.unlink(job.record)


def _forget(job: Progress) -> None:
    _forget_record(job)
    if job.submission.detached:
        secrets.forget(job.executor.paths.secrets, job.number)


def _job(job: Progress) -> Job:
    submission, request = job.submission, job.submission.request
    return Job(
        number=job.number,
        uid=submission.uid,
        gid=submission.gid,
        command=outcome.text_of(request),
        workdir=outcome.printable(request.options.workdir or request.cwd),
        submitted=job.live.since,
        tier=None if job.planned is None else job.planned.policy.tier.value,
        session=submission.session,
        detached=submission.detached,
        sudo_uid=submission.sudo_uid,
        token=submission.token,
    )


async def _asked_for(job: Progress) -> list[kept.Operation]:
    """What is written beside a new job: its key, and all that a later supervisor needs to start it.

    A foreground job is never started without its client, who then asks again.
    """
    submission, writes = job.submission, []
    if submission.detached:
        bare, true = texts.submission_texts(submission)
        if true is not None:
            await job.executor.files.work(0, secrets.keep, job.executor.paths.secrets, job.number, true)
        writes.append(kept.submission(job.number, bare))
    if submission.key is not None:
        writes.append(kept.key(submission.uid, submission.key[0], job.number, submission.key[1]))
    return writes


def _checkpoint(job: Progress, session: Session, at: float) -> Checkpoint:
    who = job.submission
    return Checkpoint(
        id=session.checkpoint,
        job=job.number,
        uid=who.uid,
        gid=who.gid,
        state=CheckpointState.OPEN,
        created=at,
        session=session.to_json(),
    )


def _end(job: Progress, result: Result, error: CbxError | None) -> list[Write]:
    now = time.time()
    # The prediction has a row of its own.
    why = attending.why(job, result) if job.submission.detached else None
    keep = attending.worth_keeping(job, result, why)
    writes: list[Write] = [jobs.ended(msgspec.structs.replace(result, prediction=None), now, keep=keep)]
    if not job.recorded:
        writes.insert(0, jobs.insert(_job(job), result.state))
    if why is not None:
        writes.append(attention.needed(job.number, now, why))
    return writes + _beside(job, result, error, now)


def _beside(job: Progress, result: Result, error: CbxError | None, now: float) -> list[Write]:
    """What is written with the end of each attempt: what became of its changes, what it taught, what is audited."""
    writes: list[Write] = []
    if job.submission.transaction is not None:
        writes += job.executor.transactions.over(job.submission, result, job.settled, now)
    elif job.session is not None:
        # Whatever went wrong: changes that nobody decided on are held, never called rolled back.
        settled = job.settled or work.Settled(CheckpointState.HELD, None, "its fate could not be decided")
        changes = None if settled.changes is None else {f: getattr(settled.changes, f) for f in _COUNTS}
        number = job.session.checkpoint
        writes.append(
            rows.decided(number, settled.state, now, changes=changes, message=settled.message, listing=settled.listing)
        )
    if job.predicted and job.planned is not None:
        seen = None if job.settled is None else job.settled.seen
        writes += job.executor.learning.over(job.number, job.submission, job.planned, result, seen, job.reading, now)
    if noted := auditing.noted(job, error):
        who = job.submission
        writes.append(audit.record(now, noted[0], f"job {job.number}", uid=who.uid, pid=who.pid, detail=noted[1]))
    return writes
