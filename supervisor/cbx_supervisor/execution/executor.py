"""What all jobs share: numbers, locks, slots, the host, the store; and the list of those that are not over."""

from __future__ import annotations

import asyncio
import collections
import functools
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from cbx_sandbox import runner
from cbx_sandbox.checkpoint import homes, leftovers
from cbx_sandbox.checkpoint.session import boot_id
from cbx_sandbox.errors import NotStartedError, UsageError
from cbx_sandbox.linux.mountinfo import Mount
from cbx_supervisor.execution import configured, parking, run, waking
from cbx_supervisor.execution.admission import Admission, NotAfter
from cbx_supervisor.execution.backlog import CaughtUp
from cbx_supervisor.execution.breaking import Breaking, tolerance
from cbx_supervisor.execution.files import Files
from cbx_supervisor.execution.health import Health
from cbx_supervisor.execution.host import Host
from cbx_supervisor.execution.incidents import Incidents
from cbx_supervisor.execution.launching import Launching
from cbx_supervisor.execution.leaking import LeakAudit
from cbx_supervisor.execution.learning import Learning
from cbx_supervisor.execution.lending import Lending
from cbx_supervisor.execution.live import FOR_ANOTHER, LiveJob
from cbx_supervisor.execution.ordering import ProgramOrder
from cbx_supervisor.execution.planning import Planning
from cbx_supervisor.execution.progress import Progress
from cbx_supervisor.execution.returning import Returning
from cbx_supervisor.execution.submission import Caller, Descriptors, Ending, Submission
from cbx_supervisor.execution.transactions import Transactions
from cbx_supervisor.execution.writing import Writing
from cbx_supervisor.model import retention
from cbx_supervisor.model.heat import Pace
from cbx_supervisor.model.job import Ended, Running, Starting
from cbx_supervisor.paths import Paths
from cbx_supervisor.scheduling.capacity import Capacity
from cbx_supervisor.scheduling.lock_modes import LockKey
from cbx_supervisor.scheduling.retries import Rations
from cbx_supervisor.scheduling.strategies import Strategy
from cbx_supervisor.settings import Settings
from cbx_supervisor.store import checkpoints, jobs
from cbx_supervisor.store.database import Database

if TYPE_CHECKING:
    from cbx_supervisor.execution.networking import Networks

Log = Callable[..., None]


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
        self.files = Files(settings.timeouts.file_system_seconds)
        self.writing = Writing(database, log)
        self.host = Host(paths, settings.sandbox.hide)
        self.wake = functools.partial(waking.wake, self)  # one for all parked jobs
        self.admission = Admission(configured.engine(settings), self._freeze, self.wake)
        self.breaking = Breaking(database, self.admission.engine)
        self.rations = Rations()
        self.boot_id = boot_id()
        self.live: dict[int, LiveJob] = {}
        self.order = ProgramOrder(self.live, kept=settings.scheduling.program_order)
        self._of_user: collections.Counter[int] = collections.Counter()  # how many of these are whose
        self._started: dict[int, Starting | Running] = {}  # those that do not wait: few, while very many may
        self.caught_up = CaughtUp()
        # Those of an earlier supervisor; newer ones have their place after them, and are not waited for.
        self.taking_up = CaughtUp()
        self.returning = Returning(database, self.live, self.writing.recorded)
        self.stopping = False
        self.draining = False  # somebody has it take no more jobs until told otherwise
        self.on_change: Callable[[LiveJob], None] = _nobody_listens
        self.changed = self._changed  # one for all jobs: each look at a method makes another
        self.health = Health(self)
        self._pace = Pace()
        self._resumed: set[asyncio.Task[Ending | None]] = set()
        self._job = max(started, database.read(lambda connection: jobs.last_number(connection, "jobs")))
        # Layers may have outlived a database that was moved away: their numbers are taken.
        left = [int(name) for name in os.listdir(paths.layers) if name.isdecimal()]
        known = database.read(lambda connection: jobs.last_number(connection, "checkpoints"))
        self._checkpoint = max(known, *left, taken)
        self.owner = leftovers.identity(paths.database)
        self.learning = Learning(database, settings)
        self.planning = Planning(self, settings)
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
        self.planning.use(settings)
        self.learning.use(settings)
        self.order.kept = settings.scheduling.program_order
        self.admission.use(self._capacity(), Strategy(settings.scheduling.strategy))
        self.admission.engine.preemption = settings.scheduling.preemption
        self.admission.engine.breakers.tolerance = tolerance(settings)

    def go_at(self, pace: Pace) -> None:
        """Use this share of the slots from now on."""
        self._pace = pace
        self.admission.resize(self._capacity())

    def _capacity(self) -> Capacity:
        return configured.capacity(self.settings).at(self._pace.share, self._pace.why)

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
        live = LiveJob(self._job, submission, time.time(), self.changed)
        self._add(live)
        self.caught_up.taken(live.uid, live.number)
        self.on_change(live)
        self.returning.bind(live)
        self.order.expect(live)
        return live

    def _changed(self, live: LiveJob) -> None:
        """A job is in another state than before."""
        if isinstance(live.state, Starting | Running):
            self._started[live.number] = live.state
        else:
            self._started.pop(live.number, None)
        self.on_change(live)

    def counts(self) -> tuple[int, int]:
        """How many jobs run, and how many wait."""
        running = sum(isinstance(state, Running) for state in self._started.values())
        return running, len(self.live) - len(self._started)

    def keep(self, live: LiveJob) -> None:
        """Know a job that waits, and that nobody goes on with yet."""
        self._add(live)

    def _add(self, live: LiveJob) -> None:
        if live.number not in self.live:  # one that was parked stays
            self.live[live.number] = live
            self._of_user[live.uid] += 1

    def has_place(self, live: LiveJob) -> None:
        """It waits for its start where it belongs, or will not."""
        self.caught_up.over(live.uid, live.number)
        self.taking_up.over(live.uid, live.number)

    def _remove(self, live: LiveJob) -> None:
        del self.live[live.number]
        self._started.pop(live.number, None)
        self.has_place(live)
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
        self.order.over(live)
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
            live.park(self.wake)
            return None
        except BaseException:
            live.result.cancel()
            raise
        finally:
            self.files.close(descriptors.release(), live.uid)
            if over:
                if (master := live.take_terminal()) is not None:
                    os.close(master)
                self._remove(live)
                self.returning.unbind(live)
                self.order.over(live)
        live.state = Ended(ending.result, time.time())
        live.result.set_result(ending.result)
        return ending

    def _freeze(self, number: int, on: bool) -> None:
        """The engine has a job stopped for a more important one, or go on."""
        if (live := self.live.get(number)) is not None:
            live.freeze(FOR_ANOTHER, on=on)
            self.log("frozen" if on else "thawed", job=number)

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
        await self.writing.finish(5.0)
        await self.leaks.finish()
        if self._networks is not None:
            self._networks.close()

    async def leave(self, patience: float) -> None:
        """Take no more jobs, leave those that run or wait to the next supervisor, finish with those that are over."""
        self.stopping = True
        over = [live.result for live in self.live.values() if live.init is not None and live.init.over]
        if over:
            await asyncio.wait(over, timeout=patience)
        await self.writing.finish(5.0)
        await self.leaks.finish()


def _nobody_listens(_live: LiveJob) -> None:
    """Until somebody does."""
