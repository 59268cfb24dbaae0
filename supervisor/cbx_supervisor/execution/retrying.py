"""What follows when an attempt has ended: the job is over, or it waits for another attempt.

Only detached jobs are tried again by themselves: nobody sits in front of them, and what they read and write is theirs.
"""

from __future__ import annotations

import asyncio
import random
import time

from cbx_sandbox.policy import NetworkMode
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.execution import correcting
from cbx_supervisor.execution.progress import Progress
from cbx_supervisor.execution.submission import Descriptors, Nobody
from cbx_supervisor.model.checkpoint import CheckpointState
from cbx_supervisor.model.result import Result
from cbx_supervisor.scheduling import retries
from cbx_supervisor.scheduling.retries import Backoff, Failure, Ration
from cbx_supervisor.store.attempts import Again

_GONE = {CheckpointState.EMPTY, CheckpointState.ROLLED_BACK}  # of an attempt that left nothing


async def next_try(job: Progress, result: Result) -> Again | None:
    """When, why and in which tier the job is tried again; None: it is over."""
    submission = job.submission
    if submission.transaction is not None:
        return None  # what it did before it failed is still there: another try would begin with that
    if submission.request.options.host_effects:
        return None  # nothing takes back what it has done to the host
    if not submission.detached or submission.interactive or not job.predicted:
        return None
    if (stricter := await correcting.stricter(job, result)) is not None and not job.live.unwanted:
        return stricter
    return None if job.live.unwanted else _retry(job, result)


def _retry(job: Progress, result: Result) -> Again | None:
    submission = job.submission
    settings = job.executor.settings.retries
    asked = submission.retries is not None
    if job.attempt > (settings.retries_max if submission.retries is None else submission.retries):
        return None
    why = retries.helps(_failure(job, result), asked=asked)
    if why is None:
        return None
    backoff = Backoff(settings.base_seconds, settings.cap_seconds)
    # Jitter keeps jobs that failed together from coming back together; it protects no secret.
    now = time.time()
    wanted = now + backoff.delay(job.attempt, random.random)
    at = job.executor.rations.due(_program(job), wanted, Ration(settings.program_burst, settings.program_seconds), now)
    tier = None if job.again is None else job.again.tier  # what was corrected stays so
    return Again(at, why, tier)


def following(job: Progress, again: Again) -> Progress:
    """The next attempt, of which nothing is there yet."""
    attempt = Progress(job.executor, job.live, Descriptors({}), Nobody(), attempt=job.attempt + 1, again=again)
    attempt.recorded = True
    attempt.due = asyncio.get_running_loop().time() + max(0.0, again.at - time.time())
    return attempt


def _program(job: Progress) -> str:
    """What shares a ration of retries: a user's jobs of one program."""
    programs = () if job.planned is None else job.planned.analysis.programs
    return f"{job.submission.uid} {programs[0] if programs else ''}"


def _transient(job: Progress) -> frozenset[int]:
    """Of several programs nobody can say whose exit status it is."""
    programs = () if job.planned is None else job.planned.analysis.programs
    known = job.executor.settings.retries.transient
    return frozenset(known.get(programs[0], ())) if len(programs) == 1 else frozenset()


def _failure(job: Progress, result: Result) -> Failure:
    planned = job.planned
    if planned is None:
        return Failure(Tier.DANGEROUS_ISOLATED, result.state, result.reason, result.status)
    left = job.session is not None and (job.settled is None or job.settled.state not in _GONE)
    return Failure(
        planned.policy.tier,
        result.state,
        result.reason,
        result.status,
        result.signal,
        planned.analysis.benign_exits,
        in_place=job.locks.direct,
        held=left,
        reaches_out=planned.policy.network is not NetworkMode.NONE,
        transient=_transient(job),
    )
