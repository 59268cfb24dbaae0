"""What all jobs share: numbers, locks, slots, the host, the store; and the list of those that are not over."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import fcntl
import functools
import json
import os
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from cbx_sandbox import runner
from cbx_sandbox.box import plan as box
from cbx_sandbox.checkpoint import homes, leftovers
from cbx_sandbox.checkpoint.session import boot_id
from cbx_sandbox.errors import CbxError, NotStartedError, UsageError
from cbx_sandbox.facts import HostFacts
from cbx_sandbox.linux.credentials import Submitter, acting_as
from cbx_sandbox.linux.mountinfo import Mount
from cbx_sandbox.policy import Identity, NetworkMode
from cbx_sandbox.shell import handlers
from cbx_sandbox.shell.learned import Lesson
from cbx_sandbox.shell.tiers import Reason, Tier
from cbx_supervisor.execution import parking, run, viewing, waking
from cbx_supervisor.execution.admission import Admission, NotAfter
from cbx_supervisor.execution.backlog import CaughtUp
from cbx_supervisor.execution.breaking import Breaking, tolerance
from cbx_supervisor.execution.host import Host
from cbx_supervisor.execution.incidents import Incidents
from cbx_supervisor.execution.launching import Launching
from cbx_supervisor.execution.leaking import LeakAudit
from cbx_supervisor.execution.learning import NO_LESSONS, Learning
from cbx_supervisor.execution.lending import Lending
from cbx_supervisor.execution.live import LiveJob
from cbx_supervisor.execution.mailbox import Mailbox
from cbx_supervisor.execution.ordering import ProgramOrder
from cbx_supervisor.execution.progress import Progress
from cbx_supervisor.execution.returning import Returning
from cbx_supervisor.execution.sharing import SharedAnswers
from cbx_supervisor.execution.submission import Caller, Descriptors, Ending, Submission
from cbx_supervisor.execution.transactions import Transactions
from cbx_supervisor.execution.workers import Workers
from cbx_supervisor.model import retention
from cbx_supervisor.model.job import Ended
from cbx_supervisor.paths import Paths
from cbx_supervisor.scheduling.budgets import MEMORY
from cbx_supervisor.scheduling.capacity import Capacity, Share
from cbx_supervisor.scheduling.engine import Engine
from cbx_supervisor.scheduling.lock_modes import LockKey
from cbx_supervisor.scheduling.retries import Rations
from cbx_supervisor.scheduling.strategies import Strategy
from cbx_supervisor.settings import Settings
from cbx_supervisor.store import checkpoints, jobs
from cbx_supervisor.store.database import Database

if TYPE_CHECKING:
    from cbx_supervisor.execution.networking import Networks

T = TypeVar("T")
P = ParamSpec("P")
Log = Callable[..., None]
LOOKING = 2  # threads that look at files, as long as none is stuck
AGAIN_SECONDS = 5.0  # between tries to write down how jobs ended


class Executor:
    """Runs jobs."""

    def __init__(
        self,
        *,
        paths: Paths,
        settings: Settings,
        database: Database,
        launching: Launching,
        report: runner.HostReport,
        log: Log,
        taken: int = 0,
        started: int = 0,
    ) -> None:
        """``taken`` and ``started`` are the highest numbers of layers and of jobs that may be on no record."""
        self.paths = paths
        self.settings = settings
        self.database = database
        self.launching = launching
        self.report = report
        self.log = log
        self.host = Host(paths, settings.sandbox.hide)
        self._wake = functools.partial(waking.wake, self)  # one for all parked jobs
        self.admission = Admission(_engine(settings), self._freeze, self._wake)
        self.breaking = Breaking(database, self.admission.engine)
        self.rations = Rations()
        self.boot_id = boot_id()
        self.order = ProgramOrder(kept=settings.scheduling.program_order)
        self.live: dict[int, LiveJob] = {}
        self._of_user: collections.Counter[int] = collections.Counter()  # how many of these are whose
        self.caught_up = CaughtUp(self._behind)
        self.returning = Returning(database, self.live, self.recorded)
        self.stopping = False
        self.draining = False  # somebody has it take no more jobs until told otherwise
        self.on_change: Callable[[LiveJob], None] = _nobody_listens
        self._recording: set[asyncio.Task[None]] = set()
        self._afterwards: set[asyncio.Task[None]] = set()
        self._resumed: set[asyncio.Task[Ending | None]] = set()
        self._lookups = Workers("look", settings.timeouts.file_system_seconds, at_once=LOOKING)
        self._work = Workers("work", None)
        self._closers = Workers("close", None, at_once=1)
        self._closing: collections.Counter[int] = collections.Counter()
        self._loop = asyncio.get_running_loop()
        self._written: Mailbox[tuple[asyncio.Future[None], BaseException | None]] = Mailbox(_tell)
        self._answers = SharedAnswers()
        self._warming = asyncio.Lock()
        self._warm = False
        self._job = max(started, database.read(lambda connection: jobs.last_number(connection, "jobs")))
        # Layers may have outlived a database that was moved away: their numbers are taken.
        left = [int(name) for name in os.listdir(paths.layers) if name.isdecimal()]
        known = database.read(lambda connection: jobs.last_number(connection, "checkpoints"))
        self._checkpoint = max(known, *left, taken)
        self.owner = leftovers.identity(paths.database)
        self._defaults = _defaults(settings)
        self.learning = Learning(database, settings)
        self.leaks = LeakAudit(self)
        self.lending = Lending(self)
        self.incidents = Incidents(self, paths.incidents)
        self._networks: Networks | None = None
        self.transactions = Transactions(self)

    @property
    def networks(self) -> Networks:
        """What jobs with an allowlist or published ports need, from the first of them on."""
        if self._networks is None:
            from cbx_supervisor.execution.networking import Networks  # noqa: PLC0415  # few jobs need it

            self._networks = Networks()
        return self._networks

    def use(self, settings: Settings) -> None:
        """Go by these from now on: limits of jobs that are planned, slots, queues. What runs keeps what it has."""
        self.settings = settings
        self._defaults = _defaults(settings)
        self.learning.use(settings)
        self.order.kept = settings.scheduling.program_order
        self.admission.use(capacity(settings), Strategy(settings.scheduling.strategy))
        self.admission.engine.preemption = settings.scheduling.preemption
        self.admission.engine.breakers.tolerance = tolerance(settings)

    def submit(self, submission: Submission) -> LiveJob:
        """Give a submission its number. Raises NotStartedError: the supervisor ends, or the queue takes no more."""
        return self.submit_all([submission])[0]

    def submit_all(self, submissions: Sequence[Submission]) -> list[LiveJob]:
        """Give submissions of one user their numbers, or none of them. Raises as :meth:`submit`."""
        if submissions:
            self._check_room(submissions[0].uid, len(submissions))
        return [self._take(submission) for submission in submissions]

    def _check_room(self, uid: int, more: int) -> None:
        if self.stopping:
            raise NotStartedError("cannot start the job: the supervisor is ending", hint="try again")
        if self.draining:
            hint = "`cbx-sandbox queue resume` has it take jobs again"
            raise NotStartedError("cannot take the job: the queue is being drained", hint=hint)
        if uid != 0:
            mine = self._of_user[uid]
            if mine + more > self.settings.access.queue_per_user_max:
                what = "the job" if more == 1 else f"{more} jobs"
                raise NotStartedError(f"cannot take {what}: you have {mine} unfinished ones", hint="try again later")
            if self.settings.access.checkpoint_mb_per_user_max or self.settings.retention.held_mb_max:
                self.check_held(uid)

    def _take(self, submission: Submission) -> LiveJob:
        self._job += 1
        live = LiveJob(self._job, submission, time.time(), self.on_change)
        self._add(live)
        self.on_change(live)
        self.returning.bind(live)
        self.order.expect(live)
        return live

    def _add(self, live: LiveJob) -> None:
        if live.number not in self.live:  # one that was parked stays
            self.live[live.number] = live
            self._of_user[live.uid] += 1

    def _behind(self) -> int:
        """How many jobs the engine does not know yet."""
        engine = self.admission.engine
        return len(self.live) - len(engine.running) - engine.waiting()

    def _remove(self, live: LiveJob) -> None:
        del self.live[live.number]
        self.caught_up.look()
        self._of_user[live.uid] -= 1
        if not self._of_user[live.uid]:
            del self._of_user[live.uid]

    def check_held(self, uid: int) -> None:
        """Raise NotStartedError if as much is held for ``uid``, or for everybody, as may be."""
        kept = self.settings.retention
        per_user = self.settings.access.checkpoint_mb_per_user_max
        most = retention.Most(kept.held_per_user_max, per_user << 20, kept.held_mb_max << 20)
        mine = self.database.read(lambda connection: checkpoints.held(connection, uid))
        everybody = self.database.read(lambda connection: checkpoints.held(connection, None)) if most.bytes else mine
        retention.check(mine, everybody, most)

    def resume(self, live: LiveJob, work: Coroutine[Any, Any, Ending]) -> None:
        """Go on with a job that an earlier supervisor took, or that was parked; its caller, if any, comes later."""
        self._add(live)
        task = asyncio.get_running_loop().create_task(self.through(live, work, Descriptors({})))
        self._resumed.add(task)
        task.add_done_callback(self._resumed.discard)

    def forget(self, live: LiveJob) -> None:
        """Take a submission back that :meth:`run` was never called for."""
        self._remove(live)
        self.returning.unbind(live)
        self.order.over(live.number)
        live.result.cancel()

    def unfinished(self, submission: Submission) -> tuple[LiveJob, ...]:
        """Those of the jobs that a submission comes after that are not over.

        Raises UsageError: there is no such job; NotStartedError: one did not succeed.
        """
        waited_for: list[LiveJob] = []
        for number in submission.after:
            live = self.live.get(number)
            if live is not None and submission.uid in {0, live.uid}:
                waited_for.append(live)
            elif not self._succeeded(number, submission.uid):
                raise NotAfter(number)
        return tuple(waited_for)

    def _succeeded(self, number: int, uid: int) -> bool:
        row = self.database.read(lambda connection: jobs.find(connection, number))
        if row is None or row.result is None or uid not in {0, row.job.uid}:
            raise UsageError(f"there is no job {number} to come after", hint="`cbx-sandbox list` shows yours")
        return row.result.state == "exited" and row.result.status == 0

    async def run(
        self, live: LiveJob, descriptors: Descriptors, caller: Caller, first: Callable[[], None]
    ) -> Ending | None:
        """Take a job from its submission to its result, and tell everybody who waits for it; None: it is parked.

        ``first`` is called in a thread before anything else: what it raises is how the job ends.
        """
        job = Progress(self, live, descriptors, caller, first)
        job.recorded = live.durable.is_set()  # one of many that were written down together
        return await self.through(live, run.whole(job), descriptors)

    async def through(
        self, live: LiveJob, work: Coroutine[Any, Any, Ending], descriptors: Descriptors
    ) -> Ending | None:
        """Do a job's work to its end and tell everybody who waits for it; None: it is parked."""
        over = True
        try:
            ending = await work
        except parking.Parked:
            over = False
            self.returning.unbind(live)
            live.park(self._wake)
            return None
        except BaseException:
            live.result.cancel()
            raise
        finally:
            self.close(descriptors.release(), live.uid)
            if over:
                if (master := live.take_terminal()) is not None:
                    os.close(master)
                self._remove(live)
                self.returning.unbind(live)
                self.order.over(live.number)
        live.state = Ended(ending.result, time.time())
        live.result.set_result(ending.result)
        return ending

    async def look(
        self, uid: int, function: Callable[..., T], *args: object, late: Callable[[T], object] | None = None
    ) -> T:
        """Look at files for ``uid``. Raises NotStartedError if one of them hangs; ``late`` undoes what comes then."""
        return await self._lookups.run(uid, functools.partial(function, *args), late=late)

    async def on_files(self, uid: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Work on files for ``uid``, as long as it takes; what the system refuses becomes an error for people."""
        try:
            return await self._work.run(uid, functools.partial(function, *args, **kwargs))
        except OSError as error:
            hint = "is the disk full or read-only?"
            raise CbxError(f"cannot keep the job's changes apart: {error}", hint=hint) from error

    async def view(self, uid: int) -> box.HostView:
        """The host as it is now."""
        known = self.host.known()
        return known if known is not None else await self.look(uid, self.host.view)

    async def plan(
        self,
        submission: Submission,
        at_least: Reason | None = None,
        *,
        first: Callable[[], None] | None = None,
        came: float | None = None,
        observe: bool = True,
    ) -> runner.Plan:
        """Analyse and decide, after ``first``, which may look at files too.

        ``came`` is when the job was submitted, by the Unix clock: what others saw since then it need not look up. None:
        it goes by what is there now. ``observe`` allows an overlay for the sake of learning.

        Raises DeniedError, UsageError, UnavailableError; NotStartedError if a file system hangs.
        """
        if not self._warm and not submission.request.submitter_is_root:
            await self.warm()  # what is imported late is imported as root

        lessons = await self.learning.lessons(submission)

        def whole() -> runner.Plan:
            if first is not None:
                first()
            return self._plan(self._request_of(submission), at_least, lessons, came=came, observe=observe)

        return await self.look(submission.uid, whole)

    def _request_of(self, submission: Submission) -> runner.Request:
        """The request with what it depends on: a transaction, or a checkpoint."""
        return viewing.request_of(self, submission, self.transactions.request_of(submission))

    async def warm(self) -> None:
        """Have everything imported and the parsers build their tables before somebody waits for them."""
        identity = Identity(0, 0, (0,), "root", "/root")
        request = runner.Request(identity, "/", {}, line='true && for i in a; do echo "$i"; done')
        async with self._warming:
            if not self._warm:
                handlers.load()
                await self.look(0, functools.partial(self._plan, request, None, NO_LESSONS, observe=False))
                self._warm = True

    async def describe(self, submission: Submission, first: Callable[[], None]) -> bytes:
        """What would be done, as JSON; nothing is."""
        planned = await self.plan(submission, first=first)
        view = await self.view(submission.uid)
        places = [
            box.OverlayPlace(target, "(a new layer)", redirect=True)
            for target in box.overlay_targets(planned.policy, view)
        ]
        locked = [box.LockedDirectory(grant.path, 0, 0) for grant in planned.policy.grants if grant.direct]
        operations = box.operations(planned.policy, view, places, locked)
        # Not msgspec: paths may hold bytes that are no text, which json escapes.
        return json.dumps(planned.describe(operations), default=str).encode()

    def _freeze(self, number: int, on: bool) -> None:
        """The engine has a job stopped for a more important one, or go on."""
        if (live := self.live.get(number)) is not None:
            live.freeze("a critical job", on=on)
            self.log("frozen" if on else "thawed", job=number)

    def close(self, fds: Iterable[int], uid: int) -> None:
        """Close descriptors that ``uid`` has passed.

        To close a file is to ask its file system, which may hang: nobody waits for that, but :meth:`closing` counts it.
        """
        files = []
        for fd in fds:
            if _is_pipe(fd):
                os.close(fd)
            else:
                files.append(fd)
        if files:
            self._closing[uid] += len(files)
            self._closers.soon(functools.partial(_close_all, files), functools.partial(self._closed, uid, len(files)))

    def closing(self, uid: int) -> int:
        """How many files that ``uid`` passed are still being closed."""
        return self._closing[uid]

    def _closed(self, uid: int, count: int) -> None:
        self._closing[uid] -= count

    def next_checkpoint(self) -> int:
        """A number for a checkpoint."""
        self._checkpoint += 1
        return self._checkpoint

    def out_of_reach(self, mount: Mount) -> bool:
        """Whether no running job can get at the directory for layers on ``mount``, which exists by now.

        Who takes a lock later finds it and has it hidden; who holds one may have looked before it was there.
        """
        writers = self.admission.engine.locks.writers(LockKey(mount.device, mount.root))
        jobs_ = [live for owner in writers if (live := self.live.get(owner)) is not None]
        return all(homes.path_of(mount) in live.hidden for live in jobs_)

    async def write(self, *operations: Callable[[Any], object]) -> None:
        """Have all of these written, whole or not at all; on disk when this returns."""

        def together(connection: Any) -> None:
            for operation in operations:
                operation(connection)

        answer: asyncio.Future[None] = self._loop.create_future()

        def told(_value: object, error: BaseException | None) -> None:
            self._written.put((answer, error))

        self.database.put(together, lambda: not answer.done(), told)
        await answer

    def record(self, writing: Coroutine[Any, Any, None]) -> None:
        """Have a result written whose caller does not wait for that; :meth:`recorded` does."""
        task = asyncio.get_running_loop().create_task(writing)
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)

    async def recorded(self) -> None:
        """Return when every result that somebody was told is on disk: what is read then is not behind."""
        if self._recording:
            await asyncio.wait(tuple(self._recording))

    def afterwards(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what is left to do of a job whose caller was told already."""
        task = asyncio.get_running_loop().create_task(work)
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)

    def write_later(self, *operations: Callable[[Any], object]) -> None:
        """Have these written some time: what may be lost in a crash."""
        for operation in operations:
            self.database.write(operation)

    async def keep_trying(self, *operations: Callable[[Any], object]) -> None:
        """As :meth:`write`, again and again while the disk is full: how a job ended must not be forgotten."""
        while True:
            try:
                await self.write(*operations)
            except (CbxError, sqlite3.Error) as error:
                self.log("cannot write, will try again", error=str(error))
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return

    async def stop(self, patience: float) -> None:
        """Take no more jobs, end those that run, wait until their results are on disk."""
        self.stopping = True
        self.admission.pause_all()  # or those that wait had the slots of those that are ended now
        # Those that wait, are on disk and need no client are the next supervisor's.
        left_alone = {live.number for live in self.live.values() if live.waits_without_client}
        ending = [live for live in self.live.values() if live.number not in left_alone]
        for live in ending:
            live.stop()
        pending = [live.result for live in ending]
        if pending:
            await asyncio.wait(pending, timeout=patience)
        ending = [live for live in self.live.values() if live.number not in left_alone]
        for live in ending:
            live.kill()
        pending = [live.result for live in ending]
        if pending:
            await asyncio.wait(pending, timeout=5.0)
        if left := (*self._recording, *self._afterwards):
            await asyncio.wait(left, timeout=5.0)
        await self.leaks.finish()
        if self._networks is not None:
            self._networks.close()

    async def leave(self, patience: float) -> None:
        """Take no more jobs, leave those that run or wait to the next supervisor, finish with those that are over."""
        self.stopping = True
        over = [live.result for live in self.live.values() if live.init is not None and live.init.over]
        if over:
            await asyncio.wait(over, timeout=patience)
        if left := (*self._recording, *self._afterwards):
            await asyncio.wait(left, timeout=5.0)
        await self.leaks.finish()

    def _plan(
        self,
        request: runner.Request,
        at_least: Reason | None,
        lessons: Mapping[str, Lesson],
        *,
        observe: bool,
        came: float | None = None,
    ) -> runner.Plan:
        visible = runner.seen(request)
        facts = HostFacts(
            request.options.workdir or request.cwd,
            visible,
            home=request.identity.home,
            uid=request.identity.uid,
            answers=self._answers.of((request.submitter_is_root, request.identity), came),
        )
        more: dict[str, Any] = {"at_least": at_least, "lessons": lessons, "observe": observe, "visible": visible}
        if request.submitter_is_root:
            return runner.plan(request, facts, self._defaults, self.report, **more)
        who = request.identity
        # Looked up with the caller's own rights: a plan tells nobody what lies in directories that are closed to them.
        with acting_as(Submitter(who.uid, who.gid, who.groups)):
            return runner.plan(request, facts, self._defaults, self.report, **more)


def _nobody_listens(_live: LiveJob) -> None:
    """Until somebody does."""


def _defaults(settings: Settings) -> runner.Defaults:
    return runner.Defaults(
        limits={tier: settings.limits(tier) for tier in Tier},
        predicted_network=NetworkMode(settings.sandbox.network),
        allow_hosts=settings.network.allow,
        host_sets=settings.network.sets,
        ports=settings.network.ports,
        strict=settings.sandbox.strict,
        pooled=settings.sandbox.run_as == "pool",
        observe_every=settings.learning.observe_every,
        watch_reads=runner.Watching(settings.learning.reads),
    )


def capacity(settings: Settings) -> Capacity:
    """How much may run at once, as configured."""
    instances = settings.instances
    slots = {
        Tier.SAFE_PARALLEL: instances.safe_parallel_max,
        Tier.CONDITIONAL_PARALLEL: instances.conditional_parallel_max,
        Tier.SEQUENTIAL_REQUIRED: instances.sequential_max,
        Tier.DANGEROUS_ISOLATED: instances.dangerous_isolated_max,
    }
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return Capacity(
        slots,
        instances.total_capacity_max,
        instances.instance_spawn_rate,
        budgets={**settings.scheduling.resources, MEMORY: int(memory * (1 - instances.resource_safety_margin))},
        share=Share(settings.access.slots_per_user_max, settings.access.memory_per_user_max_mb),
        cores=len(os.sched_getaffinity(0)),
    )


def _engine(settings: Settings) -> Engine:
    scheduling = settings.scheduling
    return Engine(
        capacity(settings),
        Strategy(scheduling.strategy),
        tolerance=tolerance(settings),
        preemption=scheduling.preemption,
    )


def _tell(written: tuple[asyncio.Future[None], BaseException | None]) -> None:
    answer, error = written
    if not answer.done():
        answer.set_result(None) if error is None else answer.set_exception(error)


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):  # it is closed all the same: what it could not write is its owner's loss
            os.close(fd)


def _is_pipe(fd: int) -> bool:
    try:
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) > 0
    except OSError:
        return False
