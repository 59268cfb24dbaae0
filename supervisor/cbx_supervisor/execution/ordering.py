"""The order in which jobs were submitted, kept where one uses what another one changes.

It is kept among the jobs of one user and one session (``--session``), and among a user's detached jobs without one:
whoever starts foreground jobs beside each other has said that they go together. What each does is known when it is
planned, which takes longer for some than for others: so a job waits until those before it were planned, too.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterable, Mapping

from cbx_sandbox.errors import NotStartedError
from cbx_supervisor.execution.live import Before, Cancelled, LiveJob
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.scheduling.accesses import Access
from cbx_supervisor.scheduling.edges import READ_AFTER_WRITE, Edges

_NOBODY: frozenset[int] = frozenset()  # one for all: each call of frozenset() makes another
_Key = tuple[int, str | None]  # a user and a session


class _Line:
    """The jobs of one user and session."""

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.edges = Edges()
        # In the order of their numbers. A dict would find its first one behind all that were removed.
        self.unplanned: collections.OrderedDict[int, None] = collections.OrderedDict()
        self.waiters: dict[int, asyncio.Future[None]] = {}

    def expect(self, number: int) -> None:
        behind = next(reversed(self.unplanned), 0) > number
        self.unplanned[number] = None
        if behind:  # only when jobs of an earlier supervisor are taken up
            self.unplanned = collections.OrderedDict.fromkeys(sorted(self.unplanned))

    def next_may_go(self) -> None:
        first = next(iter(self.unplanned), None)
        if first is not None and (waiter := self.waiters.get(first)) is not None and not waiter.done():
            waiter.set_result(None)


class ProgramOrder:
    """Whom each job comes after. All methods are for the event loop."""

    def __init__(self, live: Mapping[int, LiveJob], *, kept: bool) -> None:
        """``live``: all jobs. ``kept``: as configured; without, no job comes after one that it does not name."""
        self.kept = kept
        self._live = live
        self._lines: dict[_Key, _Line] = {}

    def expect(self, live: LiveJob) -> None:
        """A job was submitted."""
        if _ordered(live.submission):
            self.expect_in_order(live)

    def expect_in_order(self, live: LiveJob) -> None:
        """The same of one that has a place among others, whatever else is known of it."""
        if not self.kept:
            return
        key = (live.uid, live.session)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(key)
        line.expect(live.number)

    def adopt(self, live: LiveJob, accesses: Iterable[Access]) -> None:
        """A job runs that an earlier supervisor has started: it waits for nobody, and later ones come after it."""
        self.expect(live)
        self.place(live, accesses)
        live.before = ()

    def ahead(self, live: LiveJob) -> int | None:
        """The job that has to be planned before this one is placed; None: it is its turn, or it has no place."""
        line = self._line(live)
        if line is None or live.number not in line.unplanned:
            return None
        first = next(iter(line.unplanned))
        return None if first == live.number else first

    async def turn(self, live: LiveJob) -> None:
        """Wait until all that were submitted before are placed, or over. Raises Cancelled as soon as it is withdrawn.

        The next one goes on in the next round of the loop, without a task in between: the order of very many must not
        fall behind the threads that plan them.
        """
        line = self._line(live)
        if line is None or self.ahead(live) is None:
            return
        number, withdrawn = live.number, live.withdrawn
        waiter = line.waiters[number] = asyncio.get_running_loop().create_future()

        def call_off(_: asyncio.Future[None]) -> None:
            if not waiter.done():
                waiter.set_exception(Cancelled())

        withdrawn.add_done_callback(call_off)
        try:
            await waiter
        finally:
            withdrawn.remove_done_callback(call_off)
            del line.waiters[number]

    def place(self, live: LiveJob, accesses: Iterable[Access]) -> None:
        """Say what a job does, when it is its turn; only the first time counts, however often it is planned."""
        line, number = self._line(live), live.number
        if line is None or number not in line.unplanned:
            return
        found, live.stand = line.edges.add(number, accesses)
        del line.unplanned[number]
        line.next_may_go()
        live.before = tuple((self._live[earlier], tie) for earlier, tie in sorted(found.items()))

    def follows(self, live: LiveJob) -> frozenset[int]:
        """Those of the jobs that one comes after that are not over."""
        if not live.before or self._line(live) is None:
            return _NOBODY
        return frozenset(earlier.number for earlier, _ in live.before if earlier.stand)

    def over(self, live: LiveJob) -> None:
        """A job is over, or will never be."""
        line = self._line(live)
        if line is None:
            return
        live.before = ()
        line.edges.remove(live.number, live.stand)
        live.stand = ()
        line.unplanned.pop(live.number, None)
        line.next_may_go()
        if not line.unplanned and line.edges.empty:
            self._lines.pop(line.key, None)

    def _line(self, live: LiveJob) -> _Line | None:
        """Where it stands, if it is ordered; there may be none any more."""
        return self._lines.get((live.uid, live.session))


def check(number: int, before: Before) -> None:
    """Raise NotStartedError if a job would read what an earlier one has changed, and nobody has committed yet."""
    for earlier, tie in before:
        if earlier.held is not None and tie.kind == READ_AFTER_WRITE:
            raise NotStartedError(
                f"cannot start job {number}: it reads {tie.resource}, which job {earlier.number} has changed, and its"
                f" changes are held as checkpoint {earlier.held}",
                hint=f"`cbx-sandbox checkpoint commit {earlier.held}`, or rollback, then submit it again; --unordered"
                " runs it on what is there",
            )


def _ordered(submission: Submission) -> bool:
    return not submission.unordered and (submission.detached or submission.session is not None)
