"""What becomes of jobs, as a stream: each change of a state has a number, and who was away asks for what came since.

The number is the time in microseconds, made unique. So no event needs to be written down: what is not in memory any
more, or happened under an earlier supervisor, is told from the times in the store. An event may come twice that way,
never not at all.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Iterable

from cbx_supervisor.execution.live import LiveJob
from cbx_supervisor.model.job import Ended, state_name
from cbx_supervisor.store import jobs
from cbx_supervisor.store.database import Database

KEPT = 8192  # in memory
UNREAD = 1024  # of one listener: one that is further behind is hung up on, and asks again for what it missed
SLACK = 5.0  # s; what the store calls the time of a change is not exactly the number of its event


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A job is in another state now. ``status`` is what a client exits with, once the job is over."""

    number: int
    job: int
    uid: int
    state: str
    status: int | None = None
    growing: str = ""  # it runs, and its memory grows without end


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """Whose events somebody hears: of ``uid``, of everybody if None; of one job, of all if None."""

    uid: int | None = None
    job: int | None = None

    def __contains__(self, event: Event) -> bool:
        return self.uid in {None, event.uid} and self.job in {None, event.job}


class Listener:
    """One stream's end. ``overrun``: it read too slowly, and what comes is not kept for it any more."""

    def __init__(self, wanted: Filter) -> None:
        self.wanted = wanted
        self.overrun = False
        self.queue: asyncio.Queue[Event] = asyncio.Queue(UNREAD)

    def offer(self, event: Event) -> None:
        """Keep an event until it is read."""
        if event not in self.wanted or self.overrun:
            return
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            self.overrun = True


class Events:
    """The latest events, and who listens."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._ring: collections.deque[Event] = collections.deque(maxlen=KEPT)
        self._listeners: set[Listener] = set()
        self._last = self._whole_from = int(clock() * 1e6)

    def changed(self, live: LiveJob) -> None:
        """A job is in another state than before."""
        state = live.state
        status = state.result.status if isinstance(state, Ended) else None
        self._last = max(self._last + 1, int(self._clock() * 1e6))
        self._tell(Event(self._last, live.number, live.uid, state_name(state), status))

    def grows(self, live: LiveJob, text: str) -> None:
        """The memory of a job grows without end: it is in the same state, and there is something to say."""
        self._last = max(self._last + 1, int(self._clock() * 1e6))
        self._tell(Event(self._last, live.number, live.uid, state_name(live.state), growing=text))

    def _tell(self, event: Event) -> None:
        if len(self._ring) == KEPT:
            self._whole_from = self._ring[0].number
        self._ring.append(event)
        for listener in self._listeners:
            listener.offer(event)

    async def since(self, number: int | None, wanted: Filter, silence: float) -> AsyncIterator[Event | None]:
        """Events after ``number``, of the past first; None is the present. None comes after each ``silence`` seconds.

        Ends when the listener has not kept up.
        """
        listener = Listener(wanted)
        self._listeners.add(listener)
        try:
            past = [] if number is None else [event for event in self._ring if event.number > number]
            if number is not None and number < self._whole_from:
                before = past[0].number if past else self._last + 1
                for event in await asyncio.to_thread(self._stored, number, before, wanted):
                    yield event
            for event in past:
                if event in wanted:
                    yield event
            while not listener.overrun or not listener.queue.empty():
                try:
                    yield await asyncio.wait_for(listener.queue.get(), silence)
                except TimeoutError:
                    yield None
        finally:
            self._listeners.discard(listener)

    def _stored(self, number: int, before: int, wanted: Filter) -> Iterable[Event]:
        found = self._database.read(
            lambda connection: jobs.changes(
                connection, uid=wanted.uid, job=wanted.job, after=number / 1e6 - SLACK, before=before / 1e6
            )
        )
        return [Event(max(number + 1, int(at * 1e6)), job, uid, state, status) for at, job, uid, state, status in found]
