"""The start of one job: its box is built while "starting" goes to disk, and the command waits for both."""

from __future__ import annotations

import asyncio
import os
import time

from msgspec.structs import replace

from cbx_sandbox import runner
from cbx_sandbox.box import leaks
from cbx_sandbox.box import plan as box
from cbx_sandbox.box.spec import BoxSpec
from cbx_sandbox.shell.effects import HostKind
from cbx_supervisor.execution import lending, output, records
from cbx_supervisor.execution.launching import Init, process_start
from cbx_supervisor.execution.progress import Progress
from cbx_supervisor.execution.reading import Reading
from cbx_supervisor.model.job import Running
from cbx_supervisor.store import jobs

NOTED_AFTER = 0.5  # s; a job that is over sooner is never written down as running


async def start(job: Progress, planned: runner.Plan, view: box.HostView, started: float) -> Init:
    """Build the box, and let the command run once it is on disk that it starts."""
    written = asyncio.ensure_future(records.starting(job, planned, started))
    try:
        init = await _launch(job, planned, view)
    except BaseException:
        await written
        raise
    try:
        await written
    except BaseException:
        init.control.kill()  # which calls it off
        init.close()
        if job.network is not None:
            job.network.close()
        await job.executor.launching.reaped(job.box)
        raise
    init.control.go()
    job.live.launched(init)
    if HostKind.PROCESS in planned.policy.host_effects:
        init.keep_going()
    job.live.state = Running(job.attempt, time.time(), init.pid)
    job.caller.started(job.number)
    asyncio.get_running_loop().call_later(NOTED_AFTER, _note_running, job, init)
    return init


async def _launch(job: Progress, planned: runner.Plan, view: box.HostView) -> Init:
    if job.submission.detached:
        await job.look_at(output.prepare, job.descriptors, job.executor.paths.log_of(job.number, job.attempt))
    if planned.reads:
        job.reading = Reading(planned.policy, view, job.places)
    names, fds = _passed(job, planned)
    shown: dict[str, int] = {}
    if planned.policy.pooled:
        await job.executor.lending.lend(job, planned.policy)
        assert job.loan is not None
        identity = planned.policy.identity
        shown = await job.look_at(lending.opened, box.seen(planned.policy), identity, late=_close)
        names, fds = [*names, "user", *shown], [*fds, job.loan.fd, *shown.values()]
    try:
        started = await job.executor.launching.start(_spec(job, planned, view, names), fds)
    finally:
        _close(shown)
    # The launcher has its own copies: ours would keep the ends of the caller's pipes open.
    job.executor.files.close(job.descriptors.release(), job.submission.uid)
    init = Init(started, job.record, job.caller.terminal)
    job.namespaces = leaks.namespaces(init.pid)
    if planned.policy.relayed:
        await _connect(job, planned, init)
    return init


async def _connect(job: Progress, planned: runner.Plan, init: Init) -> None:
    """Lead the job's network to a relay while its init waits for the order to start."""
    try:
        job.network = await job.executor.networks.open(planned.policy, init.pid, init.pidfd, job.executor.settings)
    except BaseException:
        init.close()  # which calls it off
        await job.executor.launching.reaped(job.box)
        raise


def _close(named: dict[str, int]) -> None:
    for fd in named.values():
        os.close(fd)


def _note_running(job: Progress, init: Init) -> None:
    if not init.closed:
        start = process_start(init.pid)
        job.executor.writing.write_later(
            jobs.running(job.number, job.attempt, init_pid=init.pid, init_start=start, cgroup_inode=None)
        )


def _passed(job: Progress, planned: runner.Plan) -> tuple[list[str], list[int]]:
    standard = () if job.submission.terminal else ("stdin", "stdout", "stderr")
    names = [name for name in (*standard, "lease", "log") if name in job.descriptors]
    fds = [job.descriptors[name] for name in names]
    if not planned.policy.overlay_all:
        names += [f"lock:{entry.grant.path}" for entry in job.locks.entries]
        fds += [entry.fd for entry in job.locks.entries]
    if job.reading is not None:
        names.append("reads")
        fds.append(job.reading.fd)
    return names, fds


def _spec(job: Progress, planned: runner.Plan, view: box.HostView, names: list[str]) -> BoxSpec:
    locked = [
        box.LockedDirectory(entry.grant.path, entry.device, entry.inode)
        for entry in job.locks.entries
        if entry.grant.direct
    ]
    size = job.submission.terminal
    policy, user = planned.policy, None
    if job.loan is not None:
        given = planned.request.options.set_environment
        user = job.loan.user
        policy = replace(policy, environment=lending.environment(job.loan, policy, list(given)))
    return box.spec(
        policy,
        job.box,
        list(planned.argv),
        box.operations(planned.policy, view, job.places, locked),
        descriptors=names,
        record=job.record,
        landlock=job.executor.report.landlock,
        terminal=None if size is None else {"rows": size[0], "columns": size[1]},
        log_bytes=job.executor.settings.sandbox.output_log_mb << 20,
        user=user,
        reads=None if job.reading is None else job.reading.mounts,
        cpusets=job.executor.report.cpusets,
    )
