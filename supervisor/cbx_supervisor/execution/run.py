"""The life of one job: each step in order, and what undoes it.

    plan → locks → slot → layers → box ∥ "starting" on disk → go → watch → changes → result on disk → told

A job that gets its locks at once costs two commits: its submission and "starting" in one, its result in the other. The
first is on disk before the command starts. The second is on disk before the caller is told, unless the job is known to
have changed nothing: what `run` printed, `show` finds, and what was changed it finds also after a power cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgspec

from cbx_sandbox import runner
from cbx_sandbox.box import plan as box
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.box.spec import BoxSpec
from cbx_sandbox.checkpoint import homes
from cbx_sandbox.checkpoint import session as sessions
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.errors import CbxError, NotStartedError
from cbx_sandbox.policy import Grant
from cbx_sandbox.shell.checks import Verdict
from cbx_sandbox.shell.estimate import priority
from cbx_sandbox.shell.tiers import SEQUENTIAL, Reason, Tier
from cbx_supervisor.execution import checkpoints as work
from cbx_supervisor.execution import kept as texts
from cbx_supervisor.execution import learning, linkscan, lockset, outcome, output
from cbx_supervisor.execution.admission import NotAfter
from cbx_supervisor.execution.launching import Init, process_start
from cbx_supervisor.execution.live import Cancelled, LiveJob
from cbx_supervisor.execution.settling import Commit, settle
from cbx_supervisor.execution.submission import Caller, Descriptors, Ending
from cbx_supervisor.execution.waits import describe
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.model.job import Job, Running, Starting
from cbx_supervisor.model.result import CheckpointRef, Result
from cbx_supervisor.scheduling.budgets import MEMORY
from cbx_supervisor.scheduling.order import Entry
from cbx_supervisor.scheduling.reasons import Reason as Waiting
from cbx_supervisor.store import audit, jobs, kept
from cbx_supervisor.store import checkpoints as rows

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor
    from cbx_supervisor.execution.networking import JobNetwork

T = TypeVar("T")
P = ParamSpec("P")

PLANS = 5  # tries until a lock set stays what it was when it was asked for
ATTEMPT = 1
NOTED_AFTER = 0.5  # s; a job that is over sooner is never written down as running


class _Stale(Exception):  # noqa: N818  # not a fault: plan again
    """The lock set is not what it was when it was asked for."""


class _NotLayeredError(Exception):
    """No overlay could be made, and the job needs none but for being looked at: plan again."""


class Run:
    """One job on its way. Nothing of it is left when :meth:`whole` returns, but what was meant to stay."""

    def __init__(
        self,
        executor: Executor,
        live: LiveJob,
        descriptors: Descriptors,
        caller: Caller,
        first: Callable[[], None] | None = None,
    ) -> None:
        self.executor = executor
        self._first = first
        self.live = live
        self.number = live.number
        self.submission = live.submission
        self.descriptors = descriptors
        self.caller = caller
        self.planned: runner.Plan | None = None
        self.locks = lockset.LockSet(())
        self.session: Session | None = None
        self.settled: work.Settled | None = None
        self.view: box.HostView | None = None  # that its box was built from
        self.entered = False  # the engine knows it
        self.after: frozenset[int] = frozenset()
        self.observe = True
        self.predicted = False
        self.recorded = False
        self.network: JobNetwork | None = None
        self.note = ""
        self.record = f"{executor.paths.jobs}/{self.number}.json"

    async def whole(self) -> Ending:
        """From the plan to the result on disk."""
        return await self._concluded(self._begun())

    async def rest(self, ended: Awaitable[Outcome | None], missing: dict[str, str], started: float) -> Ending:
        """The same of a job that an earlier supervisor started: from its end on."""
        assert self.planned is not None
        return await self._concluded(self._ended(self.planned, started, ended, missing))

    async def _begun(self) -> Result:
        if self.submission.after:
            await self.executor.recorded()  # who was told a result may name its job
        self.after = self.executor.unfinished(self.submission)
        return await self._admitted()

    async def _concluded(self, running: Awaitable[Result]) -> Ending:
        error: CbxError | None = None
        result: Result | None = None
        try:
            try:
                result = await running
            except Cancelled:
                error = NotStartedError(f"job {self.number} was cancelled before it was started")
                result = self._never_ran(error, "cancelled")
            except CbxError as raised:
                error = raised
                result = self._never_ran(error, outcome.state_of(error))
            except Exception as raised:  # noqa: BLE001  # a bug of ours must not leave locks, jobs or callers behind
                self.executor.log("internal error", job=self.number, error=repr(raised), trace=traceback.format_exc())
                error = CbxError(
                    f"internal error: {raised!r}", hint="please report this; the supervisor's log has more"
                )
                result = self._never_ran(error, "failed-to-start")
            if self._changed_nothing(result) and self._audited(error) is None:
                # A power cut may forget how it ended; whoever asks the supervisor waits until it is written.
                self.executor.record(self._record(result, error))
            else:
                await self._record(result, error)
        finally:
            self._let_go(succeeded=result is not None and result.state == "exited" and result.status == 0)
        if self.session is not None and self.settled is not None and self.settled.left:
            self.executor.afterwards(self._remove_layers(self.session))
        return Ending(result, error)

    async def _remove_layers(self, session: Session) -> None:
        await self.executor.recorded()  # no record may speak of changes whose layers are gone
        try:
            await self._on_files(sessions.discard, session)
        except CbxError as error:
            self.executor.log("layers not removed", job=self.number, checkpoint=session.checkpoint, error=str(error))

    def _changed_nothing(self, result: Result) -> bool:
        kept = self.session is not None and (self.settled is None or self.settled.state is not CheckpointState.EMPTY)
        return result.state == "exited" and not self.locks.direct and not kept

    async def _record(self, result: Result, error: CbxError | None) -> None:
        writes = self._written(result, error)
        try:
            await self.executor.write(*writes)
        except (CbxError, sqlite3.Error) as raised:
            # The caller is told how it ended all the same; until it can be written its record stays.
            self.executor.log("result not recorded", job=self.number, error=str(raised))
            self.executor.afterwards(self._record_later(writes))
        else:
            self._forget_record()

    async def _record_later(self, writes: list[Callable[[sqlite3.Connection], object]]) -> None:
        await self.executor.keep_trying(*writes)
        self._forget_record()

    def _forget_record(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.record)

    def _never_ran(self, error: CbxError, state: str) -> Result:
        request = self.submission.request
        return outcome.never_ran(self.number, request, self.planned, error, state=state, at=time.time())

    # ── admission ──

    async def _admitted(self) -> Result:
        planned = await self._admit()
        try:
            return await self._execute(planned, time.time())
        except _NotLayeredError as error:
            self.executor.log("not looked at", job=self.number, why=str(error.__cause__))
            self._step_back()
            self.observe = False
            return await self._execute(await self._admit(), time.time())

    async def _admit(self) -> runner.Plan:
        """Return with locks and a slot held, and a lock set that is what it was when it was asked for."""
        at_least: Reason | None = None
        for _ in range(PLANS):
            planned = self.planned = await self.executor.plan(
                self.submission, at_least, first=self._first, observe=self.observe
            )
            self._first = None
            try:
                waited = await self._take(planned)
                if waited and not await self._look_at(self.locks.unchanged, self.executor.host.table):
                    raise _Stale  # noqa: TRY301  # one place that lets go and tries again
                await self._check_links(at_least)
            except _Stale:
                self._step_back()
            except linkscan.LinkedOutside as found:
                self._step_back()
                at_least = Reason("links", f"must not be written in place: {found}", SEQUENTIAL)
            else:
                return planned
        raise NotStartedError(
            "cannot start the job: the directories that it writes keep changing under their names",
            hint="somebody moves them about or swaps symlinks on their paths; try again when that is over",
        )

    async def _take(self, planned: runner.Plan) -> bool:
        """Take all locks, then a slot; True if either was waited for."""
        if planned.policy.grants:
            await self._resolve(planned.policy.grants)
        self.entered = True
        if self.executor.admission.enter(self._entry(planned)):
            return False
        await self._submitted()
        await self._wait()
        return True

    async def _resolve(self, grants: Sequence[Grant]) -> None:
        table = self.executor.host.table
        try:
            self.locks = await self._look_at(lockset.resolve, grants, table, late=lockset.LockSet.close)
        except OSError as error:
            raise _Stale from error

    def _entry(self, planned: runner.Plan) -> Entry:
        tier, estimate, importance = planned.policy.tier, planned.analysis.estimate, self.submission.importance
        return Entry(
            number=self.number,
            uid=self.submission.uid,
            tier=tier,
            wants=tuple(self.locks.wants),
            score=priority(tier, estimate, importance.score),
            importance=importance,
            seconds=estimate.seconds,
            submitted=self.live.since,
            after=self.after,
            bound=estimate.bound,
            uses=((MEMORY, estimate.memory_mb),),
        )

    async def _wait(self) -> None:
        timeouts = self.executor.settings.timeouts
        waiting = self.executor.admission.started(
            self.number,
            patience=self.submission.lock_timeout,
            notice=timeouts.lock_acquisition_timeout_seconds,
            on_notice=self._notice,
        )
        try:
            left = await self._unless_withdrawn(waiting)
        except NotAfter as failed:
            raise NotStartedError(
                f"cannot start job {self.number}: it was to come after job {failed.number}, which did not succeed",
                hint=f"`cbx-sandbox show {failed.number}` says how that one ended",
            ) from failed
        if left:
            raise NotStartedError(
                f"cannot start job {self.number}: it had to wait for {self.submission.lock_timeout:g} s",
                details=describe(left, asyncio.get_running_loop().time()),
                hint="a longer --lock-timeout waits longer, none waits as long as it takes",
            )

    def _notice(self, reasons: tuple[Waiting, ...]) -> None:
        text = f"job {self.number} waits: {describe(reasons, asyncio.get_running_loop().time())}"
        self.caller.waiting(text)
        self.executor.log("waiting", job=self.number, text=text)

    async def _unless_withdrawn(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Wait for ``waiting``, or raise Cancelled as soon as somebody withdraws the job."""
        task = asyncio.ensure_future(waiting)
        try:
            both: list[asyncio.Future[Any]] = [task, self.live.withdrawn]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Cancelled
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def _check_links(self, at_least: Reason | None) -> None:
        direct = [entry.fd for entry in self.locks.entries if entry.grant.direct]
        if not direct:
            return
        if at_least is not None:
            # Root insisted on this tier although the scan said no: it is told, not overruled.
            self.note = at_least.text
            return
        # Large trees take their time; who has had enough of it withdraws the job.
        await self._unless_withdrawn(self._on_files(linkscan.scan, direct))

    def _step_back(self) -> None:
        """Give everything back, to plan and to ask again."""
        self.locks.close()
        if self.entered:
            self.entered = False
            self.executor.admission.step_back(self.number)

    def _let_go(self, *, succeeded: bool) -> None:
        """Give everything back for good, and say so to those that come after it."""
        self.locks.close()
        self.live.succeeded = succeeded
        self.executor.admission.leave(self.number, succeeded=succeeded)

    # ── on disk ──

    def _job(self) -> Job:
        submission, request = self.submission, self.submission.request
        return Job(
            number=self.number,
            uid=submission.uid,
            gid=submission.gid,
            command=outcome.text_of(request),
            workdir=outcome.printable(request.options.workdir or request.cwd),
            submitted=self.live.since,
            tier=None if self.planned is None else self.planned.policy.tier.value,
            session=submission.session,
            detached=submission.detached,
            sudo_uid=submission.sudo_uid,
            token=submission.token,
        )

    async def _submitted(self) -> None:
        """Have the submission on disk and tell the caller, once."""
        if not self.recorded:
            self.recorded = True
            await self.executor.write(jobs.insert(self._job(), "queued"), *self._asked_for())
            self.live.durable.set()
            self.caller.accepted(self.number)

    def _asked_for(self) -> list[kept.Operation]:
        """What is written beside a new job: its key, and all that a later supervisor needs to start it.

        A foreground job is never started without its client, who then asks again.
        """
        submission, writes = self.submission, []
        if submission.detached:
            writes.append(kept.submission(self.number, texts.submission_text(submission)))
        if submission.key is not None:
            writes.append(kept.key(submission.uid, submission.key[0], self.number, submission.key[1]))
        return writes

    async def _starting(self, planned: runner.Plan, started: float) -> None:
        tier = planned.policy.tier.value
        writes = [jobs.starting(self.number, ATTEMPT, tier, started, self.executor.boot_id)]
        if not self.recorded:
            writes[:0] = [jobs.insert(self._job(), "starting"), *self._asked_for()]
        if self.submission.detached or planned.policy.grants or self.session is not None:
            # Jobs that only read and have a client leave nothing to be decided: their record says how they ended.
            writes.append(kept.launch(self.number, texts.launch_text(self.submission, planned, self.locks.wants)))
        if self.session is not None:
            writes.append(rows.insert(self._checkpoint(self.session, started)))
        writes += self.executor.learning.starting(self.number, self.submission, planned, started)
        first, self.recorded, self.predicted = not self.recorded, True, True
        await self.executor.write(*writes)
        self.live.state = Starting(ATTEMPT, started)
        self.live.durable.set()
        if first and self.submission.detached:
            self.caller.accepted(self.number)

    def _checkpoint(self, session: Session, at: float) -> Checkpoint:
        who = self.submission
        return Checkpoint(
            id=session.checkpoint,
            job=self.number,
            uid=who.uid,
            gid=who.gid,
            state=CheckpointState.OPEN,
            created=at,
            session=session.to_json(),
        )

    def _written(self, result: Result, error: CbxError | None) -> list[Callable[[sqlite3.Connection], object]]:
        now = time.time()
        # The prediction has a row of its own.
        writes: list[Callable[[sqlite3.Connection], object]] = [
            jobs.ended(msgspec.structs.replace(result, prediction=None), now)
        ]
        if not self.recorded:
            writes.insert(0, jobs.insert(self._job(), result.state))
        if self.session is not None:
            # Whatever went wrong: changes that nobody decided on are held, never called rolled back.
            settled = self.settled or work.Settled(CheckpointState.HELD, None, "its fate could not be decided")
            changes = None if settled.changes is None else {f: getattr(settled.changes, f) for f in _COUNTS}
            number = self.session.checkpoint
            writes.append(
                rows.decided(
                    number, settled.state, now, changes=changes, message=settled.message, listing=settled.listing
                )
            )
        if self.predicted and self.planned is not None:
            seen = None if self.settled is None else self.settled.seen
            over = self.executor.learning.over
            writes += over(self.number, self.submission, self.planned, result, seen, now)
        if noted := self._audited(error):
            who = self.submission
            subject = f"job {self.number}"
            writes.append(audit.record(now, noted[0], subject, uid=who.uid, pid=who.pid, detail=noted[1]))
        return writes

    def _audited(self, error: CbxError | None) -> tuple[str, dict[str, object]] | None:
        """What of this job belongs into the audit trail: refusals and everything that loosened a rule."""
        options, submission = self.submission.request.options, self.submission
        detail: dict[str, object] = {"command": outcome.text_of(submission.request)}
        if submission.sudo_uid is not None:
            detail["sudo_uid"] = submission.sudo_uid
        if error is not None and outcome.state_of(error) == "denied":
            return "refused", {**detail, "reason": error.brief}
        loosened = {
            "allow_missing": sorted(options.allow_missing),
            "allow_privileged": options.allow_privileged,
            "seccomp_log": options.seccomp_log,
            "host_effects": sorted(options.host_effects),
            "allow_checks": sorted(options.allow_checks),
            "agreed": self._agreed() if options.agreed else None,
            "tier": options.tier.value if options.tier and self._laxer(options.tier) else None,
            "user": submission.request.identity.uid if submission.request.identity.uid != submission.uid else None,
        }
        used = {name: value for name, value in loosened.items() if value}
        return ("loosened", {**detail, **used}) if used else None

    def _agreed(self) -> list[str]:
        """What the caller said yes to."""
        checks = () if self.planned is None else self.planned.analysis.checks
        return sorted({check.code for check in checks if check.verdict is Verdict.CONFIRM})

    def _laxer(self, tier: Tier) -> bool:
        """Whether somebody asked for less than the analysis did; also where it is not known what that asked for."""
        return self.planned is None or tier.rank < self.planned.analysis.tier.rank

    # ── running ──

    async def _execute(self, planned: runner.Plan, started: float) -> Result:
        view = self.view = await self._look()
        targets = box.overlay_targets(planned.policy, view)
        if targets:
            try:
                self.session, view = await self._begin(planned, view, targets)
            except CbxError as error:
                if planned.observed:
                    raise _NotLayeredError from error
                raise
        try:
            self._check_targets()
            self.live.about_to_launch()
            init = await self._start(planned, view, started)
        except BaseException:
            if self.session is not None:
                self.settled = await self._on_files(work.roll_back, self.session, "the job was not started")
            raise
        self.view = view
        return await self._ended(planned, started, self._watched(init), init.missing)

    async def _watched(self, init: Init) -> Outcome | None:
        try:
            return await init.outcome()
        except BaseException:
            init.control.kill()
            if self.network is not None:
                self.network.close()
            raise
        finally:
            init.close()

    async def _ended(
        self, planned: runner.Plan, started: float, ending: Awaitable[Outcome | None], missing: dict[str, str]
    ) -> Result:
        """What follows the end of the command."""
        ended = await ending
        network = None if self.network is None else await self.network.end()
        view = self.view or await self._look()
        # Init has taken the overlays down before it said so: what they hold is settled while its namespaces end.
        settled = self.settled = await self._settle(planned, ended)
        leaks: list[str] = []
        if ended is None or ended["unkillable"]:
            leaks = await self.executor.launching.reaped(str(self.number))
        else:
            self.executor.afterwards(self._look_for_leaks())
        result = outcome.ran(
            self.number,
            planned,
            self.executor.report,
            ended,
            missing=missing,
            started=started,
            ended=time.time(),
            leaks=leaks,
            changes=None if settled is None else settled.changes,
            checkpoint=None if settled is None else CheckpointRef(self._checkpoint_number(), settled.state.value),
            network=network,
            note="; ".join(filter(None, (settled.message if settled else "", self.note))),
            shown=box.shown_as_is(planned.policy, view, self._places()),
        )
        seen = learning.observed(None if settled is None else settled.seen)
        foreseen = msgspec.structs.replace(learning.predicted(planned), observed=seen)
        return msgspec.structs.replace(result, prediction=foreseen)

    async def _look_for_leaks(self) -> None:
        """All processes were dead at the end; that the groups went too is found out when the caller was told."""
        if leaks := await self.executor.launching.reaped(str(self.number)):
            self.executor.log("left behind", job=self.number, groups=leaks)
            await self.executor.write(jobs.leaked(self.number, leaks))

    async def _look(self) -> box.HostView:
        """The host as it is now. After the locks were taken: others rely on what is hidden from who holds one."""
        view = await self.executor.view(self.submission.uid)
        self.live.hidden = view.hidden
        return view

    async def _look_at(self, function: Callable[..., T], *args: object, late: Callable[[T], object] | None = None) -> T:
        return await self.executor.look(self.submission.uid, function, *args, late=late)

    async def _on_files(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.executor.on_files(self.submission.uid, function, *args, **kwargs)

    async def _begin(
        self, planned: runner.Plan, view: box.HostView, targets: list[str]
    ) -> tuple[Session, box.HostView]:
        if self.submission.uid != 0:
            self.executor.check_held(self.submission.uid)
        number, state_dir = self.executor.next_checkpoint(), self.executor.paths.state
        owner, least = self.executor.owner, self.executor.settings.retention.free_mb_min << 20
        try:
            return await self._make_layers(planned, view, targets, number, state_dir, owner, least), view
        except homes.UnclaimedError as found:
            self.executor.host.layers_made()  # from now on no job sees them
            claims = [mount for mount in found.mounts if self.executor.out_of_reach(mount)]
        view = await self._look()
        return await self._make_layers(planned, view, targets, number, state_dir, owner, least, claims), view

    async def _make_layers(self, *arguments: object) -> Session:
        try:
            return await self._look_at(work.begin, *arguments, late=sessions.discard)
        except OSError as error:
            raise CbxError(f"cannot keep the job's changes apart: {error}", hint="is the disk full?") from error

    async def _settle(self, planned: runner.Plan, ended: Outcome | None) -> work.Settled | None:
        if self.session is None:
            return None
        commit = Commit(self.executor, self.number, self.submission.uid, self.locks)
        settled = await settle(planned, self.session, ended, commit)
        self.locks = commit.locks
        return settled

    def _check_targets(self) -> None:
        """The layers were begun by name: they must lie over the very directories that were locked."""
        locked = {entry.grant.path: (entry.device, entry.inode) for entry in self.locks.entries}
        for target, root in zip(self.session.targets, self.session.roots, strict=True) if self.session else ():
            if locked.get(target, (root.device, root.inode)) != (root.device, root.inode):
                raise NotStartedError(f"cannot start the job: {target} was replaced just now", hint="try again")

    def _checkpoint_number(self) -> int:
        assert self.session is not None
        return self.session.checkpoint

    async def _start(self, planned: runner.Plan, view: box.HostView, started: float) -> Init:
        """Have the box built while the start is written down; the command waits for both."""
        written = asyncio.ensure_future(self._starting(planned, started))
        try:
            init = await self._launch(planned, view)
        except BaseException:
            await written
            raise
        try:
            await written
        except BaseException:
            init.control.kill()  # which calls it off
            init.close()
            if self.network is not None:
                self.network.close()
            await self.executor.launching.reaped(str(self.number))
            raise
        init.control.go()
        self.live.launched(init)
        self.live.state = Running(ATTEMPT, time.time(), init.pid)
        self.caller.started(self.number)
        asyncio.get_running_loop().call_later(NOTED_AFTER, self._note_running, init)
        return init

    async def _launch(self, planned: runner.Plan, view: box.HostView) -> Init:
        if self.submission.detached:
            await self._look_at(output.prepare, self.descriptors, self.executor.paths.log_of(self.number))
        names, fds = self._passed(planned)
        started = await self.executor.launching.start(self._spec(planned, view, names), fds)
        # The launcher has its own copies: ours would keep the ends of the caller's pipes open.
        self.executor.close(self.descriptors.release(), self.submission.uid)
        init = Init(started, self.record, self.caller.terminal)
        if planned.policy.relayed:
            await self._connect(planned, init)
        return init

    async def _connect(self, planned: runner.Plan, init: Init) -> None:
        """Lead the job's network to a relay while its init waits for the order to start."""
        try:
            self.network = await self.executor.networks.open(
                planned.policy, init.pid, init.pidfd, self.executor.settings
            )
        except BaseException:
            init.close()  # which calls it off
            await self.executor.launching.reaped(str(self.number))
            raise

    def _note_running(self, init: Init) -> None:
        if not init.closed:
            start = process_start(init.pid)
            self.executor.write_later(
                jobs.running(self.number, ATTEMPT, init_pid=init.pid, init_start=start, cgroup_inode=None)
            )

    def _passed(self, planned: runner.Plan) -> tuple[list[str], list[int]]:
        standard = () if self.submission.terminal else ("stdin", "stdout", "stderr")
        names = [name for name in (*standard, "lease", "log") if name in self.descriptors]
        fds = [self.descriptors[name] for name in names]
        if not planned.policy.overlay_all:
            names += [f"lock:{entry.grant.path}" for entry in self.locks.entries]
            fds += [entry.fd for entry in self.locks.entries]
        return names, fds

    def _places(self) -> list[box.OverlayPlace]:
        return [] if self.session is None else work.places(self.session)

    def _spec(self, planned: runner.Plan, view: box.HostView, names: list[str]) -> BoxSpec:
        locked = [
            box.LockedDirectory(entry.grant.path, entry.device, entry.inode)
            for entry in self.locks.entries
            if entry.grant.direct
        ]
        size = self.submission.terminal
        return box.spec(
            planned.policy,
            str(self.number),
            list(planned.argv),
            box.operations(planned.policy, view, self._places(), locked),
            descriptors=names,
            record=self.record,
            landlock=self.executor.report.landlock,
            terminal=None if size is None else {"rows": size[0], "columns": size[1]},
            log_bytes=self.executor.settings.sandbox.output_log_mb << 20,
        )


_COUNTS = ("added", "changed", "deleted", "bytes")
