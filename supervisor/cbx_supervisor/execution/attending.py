"""Which ends of jobs a person has to look at, and running such a job once more."""

from __future__ import annotations

import dataclasses

from cbx_sandbox.errors import UsageError
from cbx_sandbox.policy import CommitMode
from cbx_supervisor.execution import kept as texts
from cbx_supervisor.execution.progress import Progress
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.model.result import Result
from cbx_supervisor.store.database import Database
from cbx_supervisor.store.kept import find

IN_DOUBT = "nobody knows how far it came, and it may have changed files in place"


def why(job: Progress, result: Result) -> str | None:
    """Why somebody has to decide; None for the usual ends, changes that were to be held among them."""
    if job.submission.transaction is not None:
        return None
    if result.state == "lost" and job.locks.direct:
        return IN_DOUBT
    planned, settled = job.planned, job.settled
    if planned is None or settled is None or settled.state.final:
        return None
    if result.state == "lost":
        return "nobody knows how far it came; its changes are held"
    wanted = planned.policy.commit is CommitMode.AUTO
    return f"its changes are held: {settled.message}" if wanted and result.status == 0 else None


def worth_keeping(job: Progress, result: Result, reason: str | None) -> bool:
    """Whether what was asked for stays with the ended job, without its secrets."""
    failed = reason is not None or result.status != 0
    return failed and job.submission.detached and job.submission.transaction is None


def once_more(database: Database, job: int) -> Submission:
    """What was asked for, to be asked for again. Raises UsageError: it is not kept, or not whole."""
    kept = database.read(lambda connection: find(connection, job))
    hint = "submit it again: only detached jobs that failed or need a person are kept, without their secrets"
    if kept.submission is None:
        raise UsageError(f"cannot run job {job} once more: what it was is not kept", hint=hint)
    if texts.incomplete(kept.submission):
        raise UsageError(f"cannot run job {job} once more: its secrets were forgotten", hint=hint)
    submission = texts.submission_of(kept.submission)
    # Another job than the first: no key, no client that looks for it, and those it came after are over.
    return dataclasses.replace(submission, key=None, token=None, again=False, after=())
