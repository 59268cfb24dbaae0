"""A job that is not over yet, as others can act on it."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from collections.abc import Callable

from cbx_supervisor.execution.launching import Init
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.model.job import JobState, Queued
from cbx_supervisor.model.result import Result
from cbx_supervisor.scheduling.edges import Stand, Tie
from cbx_supervisor.scheduling.order import Importance

# What a job that waits cannot handle yet, and would end most programs.
_ENDING = frozenset({"HUP", "INT", "QUIT", "TERM", "KILL"})

MOST_ORDERS = 64  # among which signals are kept for a job that has no init yet

Before = tuple[tuple["LiveJob", Tie], ...]


# Why a job is frozen.
BY_HAND = "somebody"
FOR_ANOTHER = "a critical job"


class Cancelled(Exception):  # noqa: N818  # an order that was given, not a fault
    """The job was cancelled before it was started."""


# Of very many jobs: each call of frozenset() makes another empty one.
_NOTHING: frozenset[str] = frozenset()
_DURABLE = asyncio.Event()  # of all parked jobs
_DURABLE.set()


@dataclasses.dataclass(frozen=True, slots=True)
class OnDisk:
    """What is known of a job that waits since before this supervisor, until somebody goes on with it."""

    number: int
    uid: int
    session: str | None
    submitted: float  # by the Unix clock
    unordered: bool  # nobody keeps its place among the jobs of its submitter


class LiveJob:
    """One job between its submission and its result. Very many may wait: what few of them need is made when asked for.

    A parked one (execution/parking) is without what was asked for, which is on disk.
    """

    __slots__ = (
        "_launching", "_on_change", "_orders", "_result", "_said", "_state", "_submission", "_wake", "_withdrawn",
        "attempt", "before", "durable", "frozen", "held", "hidden", "init", "master", "number", "session", "since",
        "stand", "succeeded", "uid", "unwanted",
    )  # fmt: skip

    def __init__(
        self, number: int, whose: Submission | OnDisk, since: float, on_change: Callable[[LiveJob], None]
    ) -> None:
        """``whose``: what was asked for, or who did where that is on disk alone; :meth:`park` follows then."""
        self.number = number
        self.uid = whose.uid
        self.session = None if whose.session is None else sys.intern(whose.session)
        self._submission: Submission | None = None if isinstance(whose, OnDisk) else whose
        self._said: Importance | None = None  # while what was asked for is not here
        self.since = since
        self._state: JobState | None = None  # it is queued since it was submitted
        self._on_change = on_change
        self.init: Init | None = None
        self.master: int | None = None  # of its terminal, while nobody is there to be given it
        self.durable = asyncio.Event()  # its submission is on disk
        self.hidden: tuple[str, ...] = ()  # what its box does not show of the host; known when its locks are held
        self._result: asyncio.Future[Result] | None = None
        self.succeeded: bool | None = None  # once it gave its place back: whether those that come after it may run
        self.held: int | None = None  # the checkpoint that its changes wait in, once it is over
        self.before: Before = ()  # the jobs that it comes after because of what they do; forgotten when it is over
        self.stand: Stand = ()  # where it stands in the order of its submitter's jobs, until it is over
        self.frozen: frozenset[str] = _NOTHING  # why it was stopped
        self.attempt = 1
        self.unwanted = False  # somebody had it ended: it is not tried again
        self._launching = False
        self._withdrawn: asyncio.Future[None] | None = None
        self._orders: list[tuple[str, int]] | None = None
        self._wake: Callable[[int], None] | None = None

    @property
    def submission(self) -> Submission:
        """What was asked for."""
        assert self._submission is not None, "a parked job"
        return self._submission

    @submission.setter
    def submission(self, submission: Submission) -> None:
        # What is on disk may have been read before somebody said otherwise.
        said, self._said = self._said, None
        self._submission = submission if said is None else dataclasses.replace(submission, importance=said)

    def prioritise(self, importance: Importance) -> None:
        """Its submitter says otherwise of it: for its start, and for other attempts."""
        if self._submission is None:
            self._said = importance
        else:
            self._submission = dataclasses.replace(self._submission, importance=importance)

    @property
    def result(self) -> asyncio.Future[Result]:
        """How it ends."""
        if self._result is None:
            self._result = asyncio.get_running_loop().create_future()
        return self._result

    @property
    def parked(self) -> bool:
        """Whether what was asked for is on disk alone: it waits there, or is being read."""
        return self._submission is None

    def park(self, wake: Callable[[int], None]) -> None:
        """Forget what its start needs; ``wake`` is called when somebody withdraws it. Orders to its init are kept."""
        self._submission, self._withdrawn = None, None
        self.durable, self._wake = _DURABLE, wake

    def unpark(self) -> bool:
        """Somebody goes on with it, and sets what was asked for; False if it is not parked or somebody does already."""
        wake, self._wake = self._wake, None
        return wake is not None

    @property
    def state(self) -> JobState:
        """Where it is in its life."""
        return Queued(self.since) if self._state is None else self._state

    @state.setter
    def state(self, state: JobState) -> None:
        self._state = state
        self._on_change(self)

    @property
    def waits_without_client(self) -> bool:
        """True if it is on disk, was not started, and nobody has to be there for that."""
        return self.parked or (self.submission.detached and self.durable.is_set() and not self._launching)

    def terminal(self, master: int) -> None:
        """Keep the master of its terminal until its client comes for it."""
        self.master = os.dup(master)

    def take_terminal(self) -> int | None:
        """Give that away: it is the receiver's to close."""
        master, self.master = self.master, None
        return master

    @property
    def withdrawn(self) -> asyncio.Future[None]:
        """Done once somebody cancelled the job before it was started."""
        if self._withdrawn is None:
            self._withdrawn = asyncio.get_running_loop().create_future()
        return self._withdrawn

    def about_to_launch(self) -> None:
        """The last moment to withdraw it. Raises Cancelled."""
        if self._withdrawn is not None and self._withdrawn.done():
            raise Cancelled
        self._launching = True

    def waits_again(self, attempt: int) -> None:
        """It failed, and will wait for another attempt: as before the first one, but for what somebody stopped."""
        self.attempt = attempt
        self.init, self.hidden, self.frozen = None, (), self.frozen & {BY_HAND}
        self._launching = False
        self._orders = None
        self.state = Queued(self.since)

    def left_its_place(self) -> bool:
        """What ran of it has given everything back, so nothing is to stand still; True if somebody had it do so."""
        paused, self.frozen = BY_HAND in self.frozen, _NOTHING
        self._orders = [order for order in self._orders or () if order[0] == "signal"] or None
        return paused

    def launched(self, init: Init) -> None:
        """It runs: carry out what was ordered meanwhile."""
        self.init = init
        for order, number in self._orders or ():
            self._carry_out(init, order, number)
        self._orders = None

    def signal(self, name: str, number: int) -> bool:
        """Pass a signal on to the command; a job that waits is withdrawn by those that would end it: True."""
        self.unwanted = self.unwanted or name in _ENDING
        if self._launching or name not in _ENDING:
            self._order("signal", number)
            return False
        self._withdraw()
        return True

    def stop(self) -> None:
        """End it: SIGTERM first."""
        self.unwanted = True
        self._order("stop", 0) if self._launching else self._withdraw()

    def kill(self) -> None:
        """End it at once."""
        self.unwanted = True
        self._order("kill", 0) if self._launching else self._withdraw()

    def freeze(self, why: str, *, on: bool) -> None:
        """Stop every process of it; it goes on when every reason to stop it is gone."""
        was = bool(self.frozen)
        self.frozen = self.frozen | {why} if on else self.frozen - {why}
        if bool(self.frozen) is not was:
            self._order("freeze" if on else "thaw", 0)

    def _withdraw(self) -> None:
        if not self.withdrawn.done():
            self.withdrawn.set_result(None)
        if self._wake is not None:
            self._wake(self.number)

    def _order(self, order: str, number: int) -> None:
        if self.init is not None:
            self._carry_out(self.init, order, number)
        elif self._orders is None:
            self._orders = [(order, number)]
        elif order != "signal" or len(self._orders) < MOST_ORDERS:  # the others are few
            self._orders.append((order, number))

    def _carry_out(self, init: Init, order: str, number: int) -> None:
        if init.closed:
            return
        match order:
            case "signal":
                init.control.signal(number)
            case "stop":
                init.control.stop()
            case "freeze" | "thaw":
                init.control.freeze(on=order == "freeze")
            case _:
                init.control.kill()
