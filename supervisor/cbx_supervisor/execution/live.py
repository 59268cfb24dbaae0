"""A job that is not over yet, as others can act on it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from cbx_supervisor.execution.launching import Init
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.model.job import JobState, Queued
from cbx_supervisor.model.result import Result
from cbx_supervisor.scheduling.edges import Tie

# What a job that waits cannot handle yet, and would end most programs.
_ENDING = frozenset({"HUP", "INT", "QUIT", "TERM", "KILL"})

Before = tuple[tuple["LiveJob", Tie], ...]


BY_HAND = "somebody"  # the reason for which a job is frozen by hand


class Cancelled(Exception):  # noqa: N818  # an order that was given, not a fault
    """The job was cancelled before it was started."""


class LiveJob:
    """One job between its submission and its result."""

    def __init__(self, number: int, submission: Submission, since: float, on_change: Callable[[LiveJob], None]) -> None:
        self.number = number
        self.submission = submission
        self.since = since
        self._state: JobState = Queued(since)
        self._on_change = on_change
        self.init: Init | None = None
        self.master: int | None = None  # of its terminal, while nobody is there to be given it
        self.durable = asyncio.Event()  # its submission is on disk
        self.hidden: tuple[str, ...] = ()  # what its box does not show of the host; known when its locks are held
        self.result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.succeeded: bool | None = None  # once it gave its place back: whether those that come after it may run
        self.held: int | None = None  # the checkpoint that its changes wait in, once it is over
        self.before: Before = ()  # the jobs that it comes after because of what they do; forgotten when it is over
        self.frozen: frozenset[str] = frozenset()  # why it was stopped
        self.attempt = 1
        self.unwanted = False  # somebody had it ended: it is not tried again
        self._launching = False
        self._withdrawn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._orders: list[tuple[str, int]] = []

    @property
    def state(self) -> JobState:
        """Where it is in its life."""
        return self._state

    @state.setter
    def state(self, state: JobState) -> None:
        self._state = state
        self._on_change(self)

    @property
    def waits_without_client(self) -> bool:
        """True if it is on disk, was not started, and nobody has to be there for that."""
        return self.submission.detached and self.durable.is_set() and not self._launching

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
        return self._withdrawn

    def about_to_launch(self) -> None:
        """The last moment to withdraw it. Raises Cancelled."""
        if self._withdrawn.done():
            raise Cancelled
        self._launching = True

    def waits_again(self, attempt: int) -> None:
        """It failed, and waits for another attempt: as before the first one."""
        self.attempt = attempt
        self.init, self.hidden, self.frozen = None, (), frozenset()
        self._launching = False
        self._orders.clear()
        self.state = Queued(self.since)

    def launched(self, init: Init) -> None:
        """It runs: carry out what was ordered meanwhile."""
        self.init = init
        for order, number in self._orders:
            self._carry_out(init, order, number)
        self._orders.clear()

    def signal(self, name: str, number: int) -> None:
        """Pass a signal on to the command; a job that waits is withdrawn by those that would end it."""
        self.unwanted = self.unwanted or name in _ENDING
        if self._launching or name not in _ENDING:
            self._order("signal", number)
        else:
            self._withdraw()

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
        if not self._withdrawn.done():
            self._withdrawn.set_result(None)

    def _order(self, order: str, number: int) -> None:
        if self.init is not None:
            self._carry_out(self.init, order, number)
        elif len(self._orders) < 64:
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
