"""Going on with a parked job: it is started, refused or withdrawn.

It is planned anew, from what is on disk and by the facts of now. What was granted to it meanwhile stands if it still
asks for just that; else it gives that back and asks once more.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

from cbx_sandbox.errors import NotStartedError
from cbx_supervisor.execution import kept as texts
from cbx_supervisor.execution import resuming, run
from cbx_supervisor.execution.admission import NotAfter
from cbx_supervisor.execution.live import Cancelled, LiveJob
from cbx_supervisor.execution.progress import Progress
from cbx_supervisor.execution.resuming import Unfinished
from cbx_supervisor.execution.submission import Descriptors, Ending, Nobody
from cbx_supervisor.store import jobs

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor


def wake(executor: Executor, number: int, because: int | None = None) -> None:
    """Go on with a job if it is parked; ``because``: it came after that one, which did not succeed."""
    live = executor.live.get(number)
    if live is not None and live.unpark():
        executor.resume(live, _go_on(executor, live, because))


async def _go_on(executor: Executor, live: LiveJob, because: int | None) -> Ending:
    granted = executor.admission.engine.running.get(live.number)
    try:
        found = await asyncio.to_thread(_found, executor, live.number)
    except BaseException as error:
        # On disk it waits still: the next supervisor goes on with it.
        executor.log("cannot read what was asked for", job=live.number, error=repr(error))
        executor.admission.leave(live.number, succeeded=False)
        raise
    live.submission = resuming.submission_of(found)
    kept = found.kept
    job = Progress(executor, live, Descriptors({}), Nobody(), attempt=kept.attempt, again=kept.again)
    job.recorded = job.entered = True
    job.parks = False
    job.granted = granted
    if because is not None:
        job.doomed = NotAfter(because)
    elif live.withdrawn.done():
        job.doomed = Cancelled()
    elif kept.submission is None or texts.incomplete(kept.submission):
        job.doomed = NotStartedError(f"cannot start job {live.number}: {resuming.SECRETS_LOST}")
    return await run.whole(job)


def _found(executor: Executor, number: int) -> Unfinished:
    def look(connection: sqlite3.Connection) -> jobs.Row | None:
        return jobs.find(connection, number)

    row = executor.database.read(look)
    assert row is not None, "a job is parked when it is on disk"
    return Unfinished(row.job, row.state, texts.of(executor.database, executor.paths.secrets, number), None)
