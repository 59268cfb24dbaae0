"""How far one job has come, and what it holds: all its steps share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from cbx_sandbox import runner
from cbx_sandbox.box import plan as box
from cbx_sandbox.box.jobusers import Loan
from cbx_sandbox.checkpoint.session import Session
from cbx_supervisor.execution import checkpoints as work
from cbx_supervisor.execution import lockset
from cbx_supervisor.execution.live import LiveJob
from cbx_supervisor.execution.submission import Caller, Descriptors, Submission
from cbx_supervisor.scheduling.order import Entry
from cbx_supervisor.store.attempts import Again

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor
    from cbx_supervisor.execution.networking import JobNetwork
    from cbx_supervisor.execution.reading import Reading

T = TypeVar("T")
P = ParamSpec("P")


def box_name(job: int, attempt: int) -> str:
    """What the launcher, the groups and the exit record call an attempt: no two have the same name."""
    return str(job) if attempt == 1 else f"{job}-{attempt}"


class Progress:
    """One job on its way, from its plan to its result."""

    def __init__(
        self,
        executor: Executor,
        live: LiveJob,
        descriptors: Descriptors,
        caller: Caller,
        first: Callable[[], None] | None = None,
        *,
        attempt: int = 1,
        again: Again | None = None,
    ) -> None:
        """``again``: what is known of this attempt, if it is not the first."""
        self.executor = executor
        self.first = first  # what the first plan is to call
        self.live = live
        self.number = live.number
        self.descriptors = descriptors
        self.caller = caller
        self.planned: runner.Plan | None = None
        self.locks = lockset.LockSet(())
        self.session: Session | None = None
        self.settled: work.Settled | None = None
        self.view: box.HostView | None = None  # that its box was built from
        self.circuit = ""  # what its success depends on
        self.entered = False  # the engine knows it
        self.granted: Entry | None = None  # it was parked: what the engine has started
        self.doomed: Exception | None = None  # it was parked: why it is not started
        self.parks = True  # it may be parked
        self.after: tuple[LiveJob, ...] = ()  # jobs that must succeed first
        self.observe = True
        self.predicted = False  # its prediction is on disk
        self.recorded = False  # its submission is on disk
        self.network: JobNetwork | None = None
        self.shown: list[box.OverlayPlace] = []  # of a checkpoint that it looks around in
        self.namespaces: frozenset[str] = frozenset()  # its init's, by which what it left is found
        self.loan: Loan | None = None  # of the job user that it runs as
        self.note = ""
        self.reading: Reading | None = None  # if it is looked at what it reads
        self.attempt = attempt
        self.again = again
        self.due: float | None = None  # by the loop's clock, if this supervisor has decided on this attempt
        self.box = box_name(self.number, attempt)
        self.record = f"{executor.paths.jobs}/{self.box}.json"

    @property
    def submission(self) -> Submission:
        """What was asked for."""
        return self.live.submission

    @property
    def places(self) -> list[box.OverlayPlace]:
        """Where its overlays lie."""
        if self.session is None:
            return self.shown
        saved = 0 if self.submission.transaction is None else self.executor.transactions.saved(self.submission)
        return work.places(self.session, saved)

    async def look(self) -> box.HostView:
        """The host as it is now. After the locks were taken: others rely on what is hidden from who holds one."""
        view = await self.executor.planning.view(self.live.uid)
        self.live.hidden = view.hidden
        return view

    async def look_at(self, function: Callable[..., T], *args: object, late: Callable[[T], object] | None = None) -> T:
        """Look at files for its submitter, for a limited time; ``late`` gets what comes after that."""
        return await self.executor.files.look(self.live.uid, function, *args, late=late)

    async def on_files(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Work on files for its submitter."""
        return await self.executor.files.work(self.live.uid, function, *args, **kwargs)
