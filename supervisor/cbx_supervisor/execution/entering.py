"""The way of one job into the engine: a plan, all its locks, a slot, and the paths still as they were.

A plan whose lock set changed while it waited is given up for a new one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from cbx_sandbox import runner
from cbx_sandbox.errors import CbxError, NotStartedError, UsageError
from cbx_sandbox.policy import Grant
from cbx_sandbox.shell.estimate import priority
from cbx_sandbox.shell.tiers import SEQUENTIAL, Reason, Tier
from cbx_supervisor.execution import breaking, linkscan, lockset, ordering, parking, records
from cbx_supervisor.execution.admission import NotAfter
from cbx_supervisor.execution.live import Cancelled
from cbx_supervisor.execution.progress import Progress
from cbx_supervisor.execution.waits import describe, kind_of, ties
from cbx_supervisor.model.checkpoint import CheckpointState
from cbx_supervisor.scheduling.accesses import accesses
from cbx_supervisor.scheduling.actions import UnschedulableError
from cbx_supervisor.scheduling.budgets import MEMORY
from cbx_supervisor.scheduling.order import Entry
from cbx_supervisor.scheduling.reasons import Reason as Waiting

T = TypeVar("T")

_NOBODY: frozenset[int] = frozenset()  # one for all: each call of frozenset() makes another
PLANS = 5  # tries until a lock set stays what it was when it was asked for


class _Stale(Exception):  # noqa: N818  # not a fault: plan again
    """The lock set is not what it was when it was asked for."""


async def enter(job: Progress) -> runner.Plan:
    """Return with locks and a slot held, and a lock set that is what it was when it was asked for."""
    linked: Reason | None = None
    for _ in range(PLANS):
        planned = job.planned = await _plan(job, linked)
        job.first = None
        try:
            waited = await _take(job, planned)
            if waited and not await job.look_at(job.locks.unchanged, job.executor.host.table):
                raise _Stale  # noqa: TRY301  # one place that lets go and tries again
            await _check_links(job, linked)
        except _Stale:
            step_back(job)
            job.parks = False
        except linkscan.LinkedOutside as found:
            step_back(job)
            job.parks = False
            linked = Reason("links", f"must not be written in place: {found}", SEQUENTIAL)
        else:
            return planned
    raise NotStartedError(
        "cannot start the job: the directories that it writes keep changing under their names",
        hint="somebody moves them about or swaps symlinks on their paths; try again when that is over",
    )


def step_back(job: Progress, *, healthy: bool | None = None) -> None:
    """Give everything back, to plan and to ask again."""
    job.locks.close()
    if job.entered:
        job.entered = False
        job.executor.admission.step_back(job.number, healthy=healthy)
        job.executor.breaking.keep(job.circuit)


def leave(job: Progress, *, succeeded: bool, healthy: bool | None) -> None:
    """Give everything back for good, and say so to those that come after it."""
    job.locks.close()
    if job.submission.transaction is not None:
        job.executor.transactions.leave(job.submission.transaction, job.number)
    job.live.succeeded = succeeded
    if job.session is not None and (job.settled is None or job.settled.state is CheckpointState.HELD):
        job.live.held = job.session.checkpoint
    job.executor.order.over(job.live)
    job.executor.admission.leave(job.number, succeeded=succeeded, healthy=healthy)
    job.executor.breaking.keep(job.circuit)


async def _take(job: Progress, planned: runner.Plan) -> bool:
    """Take all locks, then a slot; True if either was waited for."""
    job.circuit = breaking.circuit(job.submission, planned)
    if planned.policy.grants:
        await _resolve(job, planned.policy.grants)
    if job.granted is not None:
        return _granted(job, _entry(job, planned))
    order, waited = job.executor.order, False
    if order.ahead(job.live) is not None:
        await records.submitted(job)
        await order.turn(job.live)
        waited = True
    # Nothing is waited for from here on until it has entered: whom it follows is not over by then.
    order.place(job.live, accesses(planned.analysis.effects, job.submission.request.options.writable))
    job.executor.has_place(job.live)
    job.entered = True
    try:
        if job.executor.admission.enter(_entry(job, planned)):
            return waited
    except UnschedulableError as error:
        raise UsageError(
            f"cannot start job {job.number}: it asks for more of {error} than there is",
            hint="`cbx-sandbox pools` shows what there is; [scheduling.resources] of the configuration says how many",
        ) from error
    await records.submitted(job)
    if parking.possible(job) and job.executor.admission.park(job.number):
        raise parking.Parked
    before = job.live.before
    await _wait(job)
    ordering.check(job.number, before)
    return True


def _granted(job: Progress, entry: Entry) -> bool:
    """Go on with what was granted to a job while it was parked, if that is what it asks for now."""
    granted, job.granted = job.granted, None
    assert granted is not None
    if (granted.tier, granted.wants, granted.circuit) != (entry.tier, entry.wants, entry.circuit):
        raise _Stale
    ordering.check(job.number, job.live.before)
    return False  # its locks were resolved a moment ago


async def _resolve(job: Progress, grants: Sequence[Grant]) -> None:
    table = job.executor.host.table
    try:
        job.locks = await job.look_at(lockset.resolve, grants, table, late=lockset.LockSet.close)
    except OSError as error:
        raise _Stale from error


def _named(job: Progress) -> frozenset[int]:
    """The jobs that it was to come after and that are not over. Raises NotAfter."""
    for live in job.after:
        if live.succeeded is False:
            raise NotAfter(live.number)
    return frozenset(live.number for live in job.after if live.succeeded is None) if job.after else _NOBODY


def _entry(job: Progress, planned: runner.Plan) -> Entry:
    tier, estimate, importance = planned.policy.tier, planned.analysis.estimate, job.submission.importance
    return Entry(
        number=job.number,
        uid=job.submission.uid,
        tier=tier,
        wants=tuple(job.locks.wants),
        score=_shared(priority(tier, estimate, importance.score)),
        importance=importance,
        seconds=_shared(estimate.seconds),
        submitted=job.live.since,
        after=_named(job),
        follows=job.executor.order.follows(job.live),
        bound=estimate.bound,
        uses=_uses(estimate.memory_mb, job.submission.resources),
        not_before=_due(job),
        circuit=job.circuit,
    )


@functools.lru_cache(maxsize=1024)
def _shared(number: float) -> float:
    """One for all jobs of which the same is expected."""
    return number


@functools.lru_cache(maxsize=256)
def _uses(memory: int, resources: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """One for all jobs that use the same: very many may wait."""
    return ((MEMORY, memory), *resources)


def _due(job: Progress) -> float:
    """When this attempt may start, by the engine's clock."""
    if job.again is None:
        return 0.0
    if job.due is not None:
        return job.due
    # The Unix clock may have been set since it was written down: never longer than any backoff.
    left = min(job.again.at - time.time(), job.executor.settings.retries.cap_seconds)
    return asyncio.get_running_loop().time() + max(0.0, left)


async def _wait(job: Progress) -> None:
    timeouts, patience = job.executor.settings.timeouts, job.submission.lock_timeout
    if patience is not None and job.again is not None:
        patience += job.executor.settings.retries.cap_seconds  # the backoff is not the locks' fault

    logged: list[str] = []

    def notice(reasons: tuple[Waiting, ...]) -> None:
        text = f"job {job.number} waits: {describe(reasons, asyncio.get_running_loop().time(), ties(job.live))}"
        job.caller.waiting(text)
        kinds = [kind_of(reason) for reason in reasons]
        if kinds != logged:  # who looks at the log has read of that
            logged[:] = kinds
            job.executor.log("waiting", job=job.number, text=text)

    waiting = job.executor.admission.started(
        job.number,
        patience=patience,
        notice=timeouts.lock_acquisition_timeout_seconds,
        on_notice=notice,
    )
    left = await _unless_withdrawn(job, waiting)
    if left:
        raise NotStartedError(
            f"cannot start job {job.number}: it had to wait for {job.submission.lock_timeout:g} s",
            details=describe(left, asyncio.get_running_loop().time(), ties(job.live)),
            hint="a longer --lock-timeout waits longer, none waits as long as it takes",
        )


async def _unless_withdrawn(job: Progress, waiting: Coroutine[Any, Any, T]) -> T:
    """Wait for ``waiting``, or raise Cancelled as soon as somebody withdraws the job."""
    task = asyncio.ensure_future(waiting)
    try:
        both: list[asyncio.Future[Any]] = [task, job.live.withdrawn]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Cancelled
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


async def _plan(job: Progress, linked: Reason | None) -> runner.Plan:
    plan, stricter = job.executor.planning.plan, _stricter(job)
    try:
        came = None if job.first is None else job.live.since
        return await plan(job.submission, linked or stricter, first=job.first, came=came, observe=job.observe)
    except CbxError as error:
        if stricter is None or job.again is None:
            raise
        # It was only to be looked at: how the attempt before it ended is not made worse by that.
        job.executor.log("not corrected", job=job.number, error=str(error))
        job.again = dataclasses.replace(job.again, tier=None)
        return await plan(job.submission, linked, observe=job.observe)


def _stricter(job: Progress) -> Reason | None:
    """The tier of an attempt that is there because the one before it may have been in the wrong one."""
    again = job.again
    return None if again is None or again.tier is None else Reason("corrected", again.why, Tier(again.tier))


async def _check_links(job: Progress, linked: Reason | None) -> None:
    direct = [entry.fd for entry in job.locks.entries if entry.grant.direct]
    if not direct:
        return
    if linked is not None:
        # Root insisted on this tier although the scan said no: it is told, not overruled.
        job.note = linked.text
        return
    # Large trees take their time; who has had enough of it withdraws the job.
    await _unless_withdrawn(job, job.on_files(linkscan.scan, direct))
