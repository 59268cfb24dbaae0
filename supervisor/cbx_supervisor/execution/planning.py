"""What will be done of a job, decided in a thread, with its submitter's own rights."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cbx_sandbox import runner
from cbx_sandbox.box import plan as box
from cbx_sandbox.facts import HostFacts
from cbx_sandbox.linux.credentials import Submitter, acting_as
from cbx_sandbox.policy import NOWHERE, Identity
from cbx_sandbox.shell import handlers
from cbx_sandbox.shell.learned import Lesson
from cbx_sandbox.shell.tiers import Reason
from cbx_supervisor.execution import configured, viewing
from cbx_supervisor.execution.defaults import defaults
from cbx_supervisor.execution.learning import NO_LESSONS
from cbx_supervisor.execution.sharing import SharedAnswers
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.settings import Settings

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor


class Planning:
    """Analyses and decides, by the settings."""

    def __init__(self, executor: Executor, settings: Settings) -> None:
        self._executor = executor
        self._answers = SharedAnswers()
        self._warming = asyncio.Lock()
        self._warm = False
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Go by these from now on."""
        self._defaults, self._placed = defaults(settings), configured.placed(settings)

    async def view(self, uid: int) -> box.HostView:
        """The host as it is now."""
        known = self._executor.host.known()
        return known if known is not None else await self._executor.files.look(uid, self._executor.host.view)

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

        lessons = await self._executor.learning.lessons(submission)

        def whole() -> runner.Plan:
            if first is not None:
                first()
            return self._plan(self._request_of(submission), at_least, lessons, came=came, observe=observe)

        return await self._executor.files.look(submission.uid, whole)

    def _request_of(self, submission: Submission) -> runner.Request:
        """The request with what it depends on: a transaction, or a checkpoint."""
        request = viewing.request_of(self._executor, submission, self._executor.transactions.request_of(submission))
        placed = self._placed.get((submission.detached, submission.importance), NOWHERE)
        return request if placed == NOWHERE else replace(request, options=replace(request.options, placed=placed))

    async def warm(self) -> None:
        """Have everything imported and the parsers build their tables before somebody waits for them."""
        identity = Identity(0, 0, (0,), "root", "/root")
        request = runner.Request(identity, "/", {}, line='true && for i in a; do echo "$i"; done')
        async with self._warming:
            if not self._warm:
                handlers.load()
                await self._executor.files.look(
                    0, functools.partial(self._plan, request, None, NO_LESSONS, observe=False)
                )
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
            return runner.plan(request, facts, self._defaults, self._executor.report, **more)
        who = request.identity
        # Looked up with the caller's own rights: a plan tells nobody what lies in directories that are closed to them.
        with acting_as(Submitter(who.uid, who.gid, who.groups)):
            return runner.plan(request, facts, self._defaults, self._executor.report, **more)
