"""The life of one job: each step in order, and what undoes it.

    plan → locks → slot → layers → box ∥ "starting" on disk → go → watch → changes → result on disk → told

A job that gets its locks at once costs two commits: its submission and "starting" in one, its result in the other. The
first is on disk before the command starts. The second is on disk before the caller is told, unless the job is known to
have changed nothing: what `run` printed, `show` finds, and what was changed it finds also after a power cut.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Awaitable

import msgspec

from cbx_sandbox import runner
from cbx_sandbox.box import leaks
from cbx_sandbox.box import plan as box
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.errors import CbxError, NotStartedError
from cbx_supervisor.execution import (
    breaking,
    correcting,
    entering,
    layering,
    learning,
    outcome,
    parking,
    reading,
    records,
    retrying,
    starting,
    viewing,
)
from cbx_supervisor.execution import checkpoints as work
from cbx_supervisor.execution.launching import Init
from cbx_supervisor.execution.leaking import incident
from cbx_supervisor.execution.live import Cancelled
from cbx_supervisor.execution.progress import Progress
from cbx_supervisor.execution.settling import Commit, settle
from cbx_supervisor.execution.submission import Ending
from cbx_supervisor.model.growth import described
from cbx_supervisor.model.result import CheckpointRef, Result
from cbx_supervisor.store.attempts import Again


class _NotLayeredError(Exception):
    """No overlay could be made, and the job needs none but for being looked at: plan again."""


async def whole(job: Progress) -> Ending:
    """From the plan to the result on disk, over as many attempts as it takes. Raises Parked: it waits without this.

    Nothing of the job is left then, but what was meant to stay.
    """
    return await _concluded(job, _begun(job))


async def rest(job: Progress, ended: Awaitable[Outcome | None], missing: dict[str, str], started: float) -> Ending:
    """The same of a job that an earlier supervisor started: from its end on."""
    assert job.planned is not None
    return await _concluded(job, _ended(job, job.planned, started, ended, missing))


async def _concluded(job: Progress, running: Awaitable[Result]) -> Ending:
    error: CbxError | None = None
    result: Result | None = None
    again: Again | None = None
    parked = False
    try:
        try:
            result = await running
        except parking.Parked:
            parked = True
            raise
        except Cancelled:
            error = NotStartedError(f"job {job.number} was cancelled before it was started")
            result = _never_ran(job, error, "cancelled")
        except CbxError as raised:
            error = raised
            result = _never_ran(job, error, outcome.state_of(error))
        except Exception as raised:  # noqa: BLE001  # a bug of ours must not leave locks, jobs or callers behind
            job.executor.log("internal error", job=job.number, error=repr(raised), trace=traceback.format_exc())
            error = CbxError(f"internal error: {raised!r}", hint="please report this; the supervisor's log has more")
            result = _never_ran(job, error, "failed-to-start")
        again = await retrying.next_try(job, result)
        if again is None:
            await records.ended(job, result, error)
        else:
            job.live.waits_again(job.attempt + 1)  # from here on it can be withdrawn
            await records.again(job, result, again)
    finally:
        if job.reading is not None:
            job.reading.close()
        told = None if result is None else breaking.healthy(result, job.planned)
        if parked:
            job.locks.close()  # it keeps its place
        elif again is None:
            succeeded = result is not None and result.state == "exited" and result.status == 0
            entering.leave(job, succeeded=succeeded, healthy=told)
        else:
            entering.step_back(job, healthy=told)
            if job.live.left_its_place():
                job.executor.admission.hold(job.number)  # somebody stopped it as it ended, and nobody took that back
    if job.session is not None and job.settled is not None and job.settled.left:
        job.executor.writing.afterwards(layering.remove(job, job.session))
    if again is not None:
        return await whole(retrying.following(job, again))
    return Ending(result, error)


def _never_ran(job: Progress, error: CbxError, state: str) -> Result:
    return outcome.never_ran(job.number, job.submission.request, job.planned, error, state=state, at=time.time())


async def _begun(job: Progress) -> Result:
    if job.doomed is not None:
        raise job.doomed
    if job.granted is None:
        if job.submission.after:
            await job.executor.writing.recorded()  # who was told a result may name its job
        job.after = job.executor.unfinished(job.submission)
    planned = await entering.enter(job)
    try:
        return await _execute(job, planned, time.time())
    except _NotLayeredError as error:
        job.executor.log("not looked at", job=job.number, why=str(error.__cause__))
        entering.step_back(job)
        job.observe = False
        return await _execute(job, await entering.enter(job), time.time())


async def _execute(job: Progress, planned: runner.Plan, started: float) -> Result:
    view = job.view = await job.look()
    targets = box.overlay_targets(planned.policy, view)
    if targets:
        try:
            job.session, view = await layering.begin(job, planned, view, targets)
        except CbxError as error:
            if planned.observed:
                raise _NotLayeredError from error
            raise
    if job.submission.view is not None:
        job.shown = await viewing.places(job.executor, job.submission)
    try:
        layering.check_targets(job)
        job.live.about_to_launch()
        init = await starting.start(job, planned, view, started)
    except BaseException:
        await job.executor.lending.over(job)
        if job.session is not None and job.submission.transaction is None:
            job.settled = await job.on_files(work.roll_back, job.session, "the job was not started")
        raise
    job.view = view
    return await _ended(job, planned, started, _watched(job, init), init.missing)


async def _watched(job: Progress, init: Init) -> Outcome | None:
    try:
        return await init.outcome()
    except BaseException:
        init.control.kill()
        if job.network is not None:
            job.network.close()
        raise
    finally:
        init.close()


async def _ended(
    job: Progress, planned: runner.Plan, started: float, ending: Awaitable[Outcome | None], missing: dict[str, str]
) -> Result:
    """What follows the end of the command."""
    ended = await ending
    network = None if job.network is None else await job.network.end()
    view = job.view or await job.look()
    await reading.look(job, planned)
    # Init has taken the overlays down before it said so: what they hold is settled while its namespaces end.
    settled = job.settled = await _settle(job, planned, ended)
    left: list[str] = []
    if ended is None or ended["unkillable"]:
        left = await job.executor.launching.reaped(job.box)
        left += await job.executor.lending.over(job)
    else:
        job.executor.writing.afterwards(_look_for_leaks(job, started))
    result = outcome.ran(
        job.number,
        planned,
        job.executor.report,
        ended,
        missing=missing,
        started=started,
        ended=time.time(),
        leaks=left,
        changes=None if settled is None else settled.changes,
        checkpoint=None if settled is None else CheckpointRef(_checkpoint_number(job), settled.state.value),
        network=network,
        note="; ".join(filter(None, (settled.message if settled else "", job.note))),
        shown=box.shown_as_is(planned.policy, view, job.places),
    )
    if note := correcting.told(job, result):
        result = msgspec.structs.replace(result, message=f"{result.message}; {note}")
    if (growth := job.executor.health.forget(job.number)) is not None:
        note = described(growth).replace("grows", "grew").partition(":")[0]
        result = msgspec.structs.replace(result, growth=growth, message=f"{result.message}; {note}")
    seen = learning.observed(None if settled is None else settled.seen)
    foreseen = msgspec.structs.replace(
        learning.predicted(planned), observed=seen, reads=learning.observed_reads(job.reading)
    )
    return msgspec.structs.replace(result, prediction=foreseen)


async def _settle(job: Progress, planned: runner.Plan, ended: Outcome | None) -> work.Settled | None:
    if job.session is None:
        return None
    if job.submission.transaction is not None:
        return await job.executor.transactions.ran(job.session, job.submission.uid, ended)
    commit = Commit(job.executor, job.number, job.submission.uid, job.locks)
    settled = await settle(planned, job.session, ended, commit)
    job.locks = commit.locks
    return settled


async def _look_for_leaks(job: Progress, started: float) -> None:
    """All processes were dead at the end; that the rest went too is found out when the caller was told."""
    over = time.clock_gettime(time.CLOCK_BOOTTIME)
    left = await job.executor.launching.reaped(job.box)
    left += await job.executor.lending.over(job)
    shifted = job.planned is not None and job.planned.policy.shifted
    marks = leaks.Marks(str(job.number), job.namespaces, over, started if shifted else None)
    job.executor.leaks.ended(marks)
    if left:
        await job.executor.writing.recorded()  # the result that it becomes part of
        await incident(job.executor, job.number, left)


def _checkpoint_number(job: Progress) -> int:
    assert job.session is not None
    return job.session.checkpoint
