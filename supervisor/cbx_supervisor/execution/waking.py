"""Going on with a parked job: it is started, refused or withdrawn.

It is planned anew, from what is on disk and by the facts of now. What was granted to it meanwhile stands if it still
asks for just that; else it gives that back and asks once more.

Those that an earlier supervisor left waiting are parked, too, until they are taken up: a few of each user at a time, in
the order in which they were submitted, while others are served.
"""

from __future__ import annotations

import asyncio
import collections
import sqlite3
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cbx_sandbox.errors import NotStartedError
from cbx_supervisor.execution import kept as texts
from cbx_supervisor.execution import resuming, run
from cbx_supervisor.execution.admission import NotAfter
from cbx_supervisor.execution.live import Cancelled, LiveJob, OnDisk
from cbx_supervisor.execution.progress import Progress
from cbx_supervisor.execution.resuming import Unfinished
from cbx_supervisor.execution.submission import Descriptors, Ending, Nobody
from cbx_supervisor.store import jobs

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor


AGAIN_SECONDS = 5.0  # between tries to read
AT_ONCE = 64  # of one user's jobs: those that are taken up and have no place yet


def wake(executor: Executor, number: int, because: int | None = None) -> None:
    """Go on with a job if it is parked; ``because``: it came after that one, which did not succeed."""
    live = executor.live.get(number)
    if live is not None and live.unpark():
        executor.resume(live, _go_on(executor, live, because))


def keep(executor: Executor, found: OnDisk) -> LiveJob:
    """Have a job that an earlier supervisor took be known, and wait until it is taken up. In the order of numbers."""
    live = LiveJob(found.number, found, found.submitted, executor.changed)
    live.park(executor.wake)
    executor.keep(live)
    if not found.unordered:
        executor.order.expect_in_order(live)
    return live


async def take_up(executor: Executor, lives: Iterable[LiveJob]) -> None:
    """Have jobs that were kept be planned and ask for their start."""
    of_user: dict[int, list[LiveJob]] = collections.defaultdict(list)
    for live in lives:
        of_user[live.uid].append(live)
    await asyncio.gather(*(_take_up(executor, uid, theirs) for uid, theirs in of_user.items()))


async def _take_up(executor: Executor, uid: int, lives: Sequence[LiveJob]) -> None:
    for live in lives:
        await executor.taking_up.wait(uid, AT_ONCE)
        if live.unpark():
            executor.taking_up.taken(uid, live.number)
            executor.resume(live, _go_on(executor, live, None, entered=False))


async def _go_on(executor: Executor, live: LiveJob, because: int | None, *, entered: bool = True) -> Ending:
    """``entered``: the engine knows it."""
    granted = executor.admission.engine.running.get(live.number)
    try:
        found = await _read(executor, live.number)
        live.submission = resuming.submission_of(found)
        resuming.known_of(live, found)
    except BaseException as error:
        # On disk it waits still: the next supervisor goes on with it.
        executor.log("cannot read what was asked for", job=live.number, error=repr(error))
        executor.admission.leave(live.number, succeeded=False)
        raise
    kept = found.kept
    job = Progress(executor, live, Descriptors({}), Nobody(), attempt=kept.attempt, again=kept.again)
    job.recorded = True
    job.entered = entered
    job.parks = not entered
    job.granted = granted
    if because is not None:
        job.doomed = NotAfter(because)
    elif live.withdrawn.done():
        job.doomed = Cancelled()
    elif live.unwanted:
        job.doomed = NotStartedError(f"cannot start job {live.number}: {resuming.SECRETS_LOST}")
    return await run.whole(job)


async def _read(executor: Executor, number: int) -> Unfinished:
    """Find it again and again while the disk fails: it keeps its place, and those that come after it wait."""
    while True:
        try:
            return await asyncio.to_thread(_found, executor, number)
        except (OSError, sqlite3.Error) as error:
            if executor.stopping:
                raise
            executor.log("cannot read what was asked for, will try again", job=number, error=repr(error))
            await asyncio.sleep(AGAIN_SECONDS)


def _found(executor: Executor, number: int) -> Unfinished:
    def look(connection: sqlite3.Connection) -> jobs.Row | None:
        return jobs.find(connection, number)

    row = executor.database.read(look)
    assert row is not None, "a job is parked when it is on disk"
    return Unfinished(row.job, row.state, texts.of(executor.database, executor.paths.secrets, number), None)
