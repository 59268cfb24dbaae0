"""Tiers that correct themselves: a job that may have failed because of its tier is run once more in a stricter one.

Only after an exit status that its program's rule does not call benign, and only where the first attempt wrote nothing
live. Whether the second one wrote tells whether the first was misjudged: nobody guesses from output.
"""

from __future__ import annotations

import asyncio
import time

from cbx_sandbox.policy import NetworkMode
from cbx_sandbox.shell.tiers import SEQUENTIAL, SHORT, Tier
from cbx_supervisor.execution.progress import Progress
from cbx_supervisor.model.result import Result
from cbx_supervisor.scheduling.retries import NOT_EXECUTED
from cbx_supervisor.store import predictions
from cbx_supervisor.store.attempts import Again

_SHORT = {tier: name for name, tier in SHORT.items()}


async def stricter(job: Progress, result: Result) -> Again | None:
    """The attempt that tells whether the first one was misjudged; None if there is nothing to find out, or no leave."""
    tier = _next_tier(job, result)
    if tier is None or job.planned is None:
        return None
    uid, mark = job.submission.uid, job.planned.fingerprint
    read = job.executor.database.read
    if await asyncio.to_thread(read, lambda connection: predictions.exonerated(connection, uid, mark, tier.value)):
        return None
    why = f"exit status {result.status}: it may have failed because it could not write all that it wanted to"
    return Again(time.time(), why, tier.value)


def _next_tier(job: Progress, result: Result) -> Tier | None:
    planned, submission = job.planned, job.submission
    if planned is None or job.attempt > 1 or submission.request.options.tier is not None or not suspect(job, result):
        return None
    # What it did over a network cannot be done again, and the whole tree cannot be below an overlay.
    workdir = submission.request.options.workdir or submission.request.cwd
    if planned.policy.network is not NetworkMode.NONE or workdir == "/":
        return None
    if submission.uid != submission.request.identity.uid:
        return None  # what somebody else's programs do teaches nothing
    correct = job.executor.settings.learning.correct_tiers
    if planned.policy.tier is Tier.SAFE_PARALLEL and correct != "none":
        return SEQUENTIAL
    return Tier.DANGEROUS_ISOLATED if planned.policy.tier is SEQUENTIAL and correct == "all" else None


def suspect(job: Progress, result: Result) -> bool:
    """Whether a job may have failed because of its tier."""
    planned = job.planned
    if planned is None or planned.policy.tier not in {Tier.SAFE_PARALLEL, SEQUENTIAL} or job.locks.direct:
        return False
    if job.submission.transaction is not None or job.submission.view is not None:
        return False  # what they may write is fixed, and what was done in a transaction is still there
    by_itself = result.state == "exited" and result.reason == "exited" and result.signal is None
    return by_itself and result.exit_code not in {*planned.analysis.benign_exits, *NOT_EXECUTED}


def told(job: Progress, result: Result) -> str:
    """What there is to say about the tier at the end of an attempt, for people."""
    if job.again is not None and job.again.tier is not None and job.attempt == 2:
        changes = result.changes
        wrote = 0 if changes is None else changes.added + changes.changed + changes.deleted
        if wrote:
            return f"the attempt before it was misjudged: this one changed {wrote} path{'' if wrote == 1 else 's'}"
        return "the attempt before it was not misjudged: this one changed nothing either"
    planned, asked = job.planned, job.submission.request.options.tier
    if planned is None or job.submission.detached or asked is not None:
        return ""
    if planned.policy.tier is Tier.SAFE_PARALLEL and suspect(job, result):
        return f"if it failed because it could not write: --tier {_SHORT[SEQUENTIAL]}"
    return ""
