"""Jobs that an earlier supervisor took, and that are not over: taken up where they are, before the sockets open.

The launcher has kept the way to each init that lives, and what it said meanwhile. What the job holds and what is to
become of its changes was written down with its start. So its end is as it would have been.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from cbx_sandbox import runner
from cbx_sandbox.box import leaks
from cbx_sandbox.box.launcher_client import Adopted
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.policy import Identity
from cbx_sandbox.shell.estimate import priority
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.execution import attending, breaking, run
from cbx_supervisor.execution import kept as texts
from cbx_supervisor.execution.launching import Init
from cbx_supervisor.execution.live import BY_HAND, LiveJob
from cbx_supervisor.execution.lockset import AdoptedLocks
from cbx_supervisor.execution.outcome import FAILED, iso, signal_name, usage_of, verdict
from cbx_supervisor.execution.progress import Progress, box_name
from cbx_supervisor.execution.submission import Descriptors, Ending, Nobody, Submission
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.model.job import Job, Running
from cbx_supervisor.model.result import CheckpointRef, Result, Who
from cbx_supervisor.scheduling.accesses import accesses
from cbx_supervisor.scheduling.order import Entry
from cbx_supervisor.store import jobs
from cbx_supervisor.store.kept import Kept

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor

SECRETS_LOST = "what is kept apart of it, because it holds secrets, is lost"
CLIENT_SECONDS = 30.0  # for a client to find the next supervisor, which unprivileged ones have to wait for


@dataclasses.dataclass(frozen=True, slots=True)
class Unfinished:
    """A job that is not over, as the store knows it."""

    job: Job
    state: str
    kept: Kept
    checkpoint: Checkpoint | None

    @property
    def number(self) -> int:
        """The job's."""
        return self.job.number


def adopt(executor: Executor, found: Unfinished, adopted: Adopted, *, paused: bool = False) -> None:
    """Go on with a job whose init lives. It may still wait for its start, which is on disk.

    ``paused``: somebody has stopped it. Else it goes on: who was stopped for another job is not remembered.
    """
    live = _live(executor, found)
    record = f"{executor.paths.jobs}/{box_name(live.number, found.kept.attempt)}.json"
    init = Init(adopted, record, live.terminal)
    init.control.go()
    live.about_to_launch()
    live.launched(init)
    if paused:
        live.freeze(BY_HAND, on=True)
    else:
        init.control.freeze(on=False)
    live.state = Running(found.kept.attempt, _started(found), init.pid)
    own = leaks.namespaces(init.pid)
    if not any(name.startswith("pid:") for name in own):
        init.keep_going()  # it shares the host's processes
    _go_on(executor, found, live, _end_of(init), init.missing, own)


def conclude(executor: Executor, found: Unfinished, outcome: Outcome) -> None:
    """Go on with a job that has ended meanwhile."""

    async def known() -> Outcome | None:
        return outcome

    live = _live(executor, found)
    live.about_to_launch()
    live.state = Running(found.kept.attempt, _started(found), 0)
    _go_on(executor, found, live, known(), {})


async def _end_of(init: Init) -> Outcome | None:
    try:
        return await init.outcome()
    finally:
        init.close()


async def _nobody_came(executor: Executor, found: Unfinished, live: LiveJob) -> Ending:
    why = "its caller did not come back after the supervisor was restarted"
    if live.withdrawn.done():
        why = "it was cancelled"
    return await _given_up(executor, found, live, why)


async def _given_up(executor: Executor, found: Unfinished, live: LiveJob, why: str) -> Ending:
    result = never_started(found, time.time(), why)
    await executor.writing.keep_trying(jobs.ended(result, time.time()))
    executor.admission.leave(live.number, succeeded=False)
    return Ending(result)


def await_client(executor: Executor, found: Unfinished) -> None:
    """Keep the place of a job that is not started without its client, for a while."""
    live = _live(executor, found)
    executor.order.expect(live)

    async def wait() -> Ending:
        claim = await executor.returning.claimed(live, CLIENT_SECONDS)
        if claim is None:
            return await _nobody_came(executor, found, live)
        live.submission = claim.submission
        job = Progress(executor, live, claim.descriptors, claim.caller, claim.first)
        job.recorded = True
        try:
            return await run.whole(job)
        finally:
            executor.files.close(claim.descriptors.release(), live.submission.uid)

    executor.resume(live, wait())


def _started(found: Unfinished) -> float:
    return found.kept.started or found.job.submitted


def _live(executor: Executor, found: Unfinished) -> LiveJob:
    live = LiveJob(found.job.number, submission_of(found), found.job.submitted, executor.changed)
    live.durable.set()
    known_of(live, found)
    return live


def known_of(live: LiveJob, found: Unfinished) -> None:
    """Have a job know which attempt it is in, and whether there may be another one."""
    live.attempt = found.kept.attempt
    # Without its secrets it would not be the same command.
    live.unwanted = found.kept.submission is None or texts.incomplete(found.kept.submission)


def _attempt(executor: Executor, live: LiveJob, found: Unfinished) -> Progress:
    kept = found.kept
    return Progress(executor, live, Descriptors({}), Nobody(), attempt=kept.attempt, again=kept.again)


def _go_on(
    executor: Executor,
    found: Unfinished,
    live: LiveJob,
    end: Awaitable[Outcome | None],
    missing: dict[str, str],
    namespaces: frozenset[str] = frozenset(),
) -> None:
    launch = None if found.kept.launch is None else texts.launch_of(found.kept.launch)
    wants = () if launch is None else launch.wants
    tier = Tier(found.job.tier or Tier.SAFE_PARALLEL) if launch is None else launch.planned.policy.tier
    entry = Entry(
        number=live.number,
        uid=live.submission.uid,
        tier=tier,
        wants=wants,
        score=0.0 if launch is None else _score(launch),
        importance=live.submission.importance,
        seconds=0.0 if launch is None else launch.planned.analysis.estimate.seconds,
        submitted=live.since,
        circuit="" if launch is None else breaking.circuit(live.submission, launch.planned),
        uses=() if launch is None else launch.submission.resources,
    )
    try:
        executor.admission.adopt(entry)
    except ValueError:
        # It had let go of them to ask for others, for its commit.
        wants = ()
        executor.admission.adopt(dataclasses.replace(entry, wants=()))
    if launch is None:
        executor.resume(live, _only_recorded(executor, found, end))
        return
    done = accesses(launch.planned.analysis.effects, launch.submission.request.options.writable)
    executor.order.adopt(live, done)
    job = _attempt(executor, live, found)
    job.planned, job.circuit, job.namespaces = launch.planned, entry.circuit, namespaces
    job.locks = AdoptedLocks(wants, direct=any(grant.direct for grant in launch.planned.policy.grants))
    if found.checkpoint is not None and found.checkpoint.session is not None:
        job.session = Session.from_json(found.checkpoint.session)
    if launch.submission.transaction is not None:
        job.session = executor.transactions.adopt(launch.submission, live.number)
    job.entered = job.recorded = job.predicted = True
    executor.resume(live, run.rest(job, end, missing, _started(found)))


def _score(launch: texts.Launch) -> float:
    planned, submission = launch.planned, launch.submission
    return priority(planned.policy.tier, planned.analysis.estimate, submission.importance.score)


async def _only_recorded(executor: Executor, found: Unfinished, end: Awaitable[Outcome | None]) -> Ending:
    """The end of a job that could change nothing: only how it ended has to be written down."""
    outcome = await end
    result = result_of(found, outcome, time.time())
    try:
        await executor.writing.keep_trying(jobs.ended(result, time.time()))
    finally:
        executor.admission.leave(found.job.number, succeeded=result.state == "exited" and result.status == 0)
    with contextlib.suppress(OSError):
        os.unlink(f"{executor.paths.jobs}/{box_name(found.job.number, found.kept.attempt)}.json")
    return Ending(result)


def submission_of(found: Unfinished) -> Submission:
    """What was asked for, as far as it was kept."""
    job, kept = found.job, found.kept
    if kept.submission is not None:
        return texts.submission_of(kept.submission)
    if kept.launch is not None:
        return texts.launch_of(kept.launch).submission
    identity = Identity(job.uid, job.gid, (job.gid,), str(job.uid), "/")
    request = runner.Request(identity, job.workdir, {}, line=job.command, submitter_is_root=job.uid == 0)
    return Submission(
        request=request, uid=job.uid, gid=job.gid, pid=0, detached=job.detached, session=job.session, token=job.token
    )


def result_of(
    found: Unfinished, outcome: Outcome | None, now: float, checkpoint: CheckpointRef | None = None
) -> Result:
    """The result of a job of which nothing but its record is left; without a record it is lost, never a success."""
    job = found.job
    if checkpoint is None and found.checkpoint is not None:
        checkpoint = CheckpointRef(found.checkpoint.id, CheckpointState.HELD.value)
    common: dict[str, Any] = {
        "job": job.number,
        "command": job.command,
        "tier": job.tier,
        "identity": Who(job.uid, job.gid),
        "workdir": job.workdir,
        "ended": iso(now),
        "checkpoint": checkpoint,
    }
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
        usage=usage_of(outcome),
        message=f"job {job.number} ended, exit status {status}; its supervisor was another one than it began with",
    )


def in_doubt(found: Unfinished) -> str | None:
    """Why somebody has to look at a detached job of which nothing is left; None if it can have changed nothing."""
    if not found.job.detached or found.kept.launch is None:
        return None
    launch = texts.launch_of(found.kept.launch)
    if any(grant.direct for grant in launch.planned.policy.grants):
        return attending.IN_DOUBT
    return None if found.checkpoint is None else "nobody knows how far it came; its changes are held"


def never_started(found: Unfinished, now: float, why: str) -> Result:
    """The result of a job that waited, and that nobody can start any more."""
    job = found.job
    return Result(
        job=job.number,
        command=job.command,
        tier=job.tier,
        identity=Who(job.uid, job.gid),
        workdir=job.workdir,
        ended=iso(now),
        state="cancelled",
        reason="cancelled",
        status=75,
        message=f"job {job.number} was never started: {why}",
    )
