"""Threads for what touches files: a file system that does not answer holds up who asked for it, and nobody else.

A thread that waits for a dead server cannot be ended. So every user has a bounded number of them, and who waits for
one gives up after a time; the thread goes on waiting, and what it brings then is thrown away. The threads are daemonic:
they do not keep the process from ending. Who has only to wait for a thread, because many ask at once, does not give up
as long as those before him get on. Nor does who computes, or waits for his turn to: what counts is the time that a
thread sleeps in the kernel, as seen every now and then, and, apart from that, its processor time.

Python runs one thread at a time, so many that all have work only take turns, and each turn costs two switches. That is
why a pool begins with as few as it is told, and has one more for each that has been at the same call for long.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from cbx_sandbox.errors import NotStartedError
from cbx_sandbox.linux import threads
from cbx_supervisor.execution.mailbox import Mailbox

T = TypeVar("T")
_Told = Callable[[Any, BaseException | None], None]
_Finished = tuple[_Told | None, Any, BaseException | None]

EACH = 8  # calls of one user at once
ROOTS = 48
MOST = 256  # threads; only many users with dead file systems at once come to it
LOOKS = 20  # at who stands still, during the time that one may
STUCK = 0.05  # s at one call: its thread counts as waiting for a file system, and another one takes its place


class Workers:
    """A pool of threads, made as they are needed. All methods are for the event loop."""

    def __init__(self, name: str, patience: float | None, *, at_once: int = MOST) -> None:
        """``patience`` is how long a call may stand still, or compute, in seconds; None: as long as it takes.

        Of a call that has not begun: how long none of those that it waits for has begun, computed or ended.

        ``at_once``: so many threads are enough as long as none of them is stuck.
        """
        self._name = name
        self._patience = patience
        self._at_once = at_once
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._rooms: dict[int, _Room] = {}
        self._asked: dict[asyncio.Future[Any], _Call] = {}  # those that somebody waits for, and not for ever
        self._watch: asyncio.TimerHandle | None = None
        self._looked = 0.0  # when it was last looked who stands still, by the monotonic clock
        self._finished: Mailbox[_Finished] = Mailbox(self._take)
        self._busy = 0
        self._threads: list[_Thread] = []
        self._relief: asyncio.TimerHandle | None = None

    async def run(self, uid: int, function: Callable[[], T], *, late: Callable[[T], object] | None = None) -> T:
        """Call ``function`` in a thread, on behalf of ``uid``.

        Raises NotStartedError when that took too long. If it returns after all, ``late`` is called with what it
        returned, in a thread, too.
        """
        answer: asyncio.Future[T] = self._loop.create_future()
        room = self._rooms.get(uid)
        if room is None:
            room = self._rooms[uid] = _Room(EACH if uid else ROOTS)

        def told(value: Any, error: BaseException | None) -> None:
            room.left += 1
            room.moved = time.monotonic()
            self._let_in(room)
            if not answer.done():
                answer.set_result(value) if error is None else answer.set_exception(error)
            elif error is None and late is not None:
                self.soon(functools.partial(late, value))

        call = _Call(function, told, room)
        room.waiting.append((answer, call))
        self._let_in(room)
        if self._patience is None:
            return await answer
        self._asked[answer] = call
        if self._watch is None:
            self._looked = time.monotonic()
            self._watch = self._loop.call_later(self._patience / LOOKS, self._look_around)
        try:
            return await answer
        finally:
            del self._asked[answer]

    def soon(self, function: Callable[[], object], then: Callable[[], None] | None = None) -> None:
        """Call ``function`` in a thread, and ``then`` in the loop; nobody waits for it."""
        self._put(_Call(function, None if then is None else lambda *_: then()))

    def _let_in(self, room: _Room) -> None:
        while room.left and room.waiting:
            answer, call = room.waiting.popleft()
            if not answer.done():  # nobody waits any more for one that is
                room.left -= 1
                call.queued = True
                self._put(call)

    def _look_around(self) -> None:
        """See who stands still, tell those who have waited for too long, and look again."""
        assert self._patience is not None
        now, before, self._watch = time.monotonic(), self._looked, None
        self._looked = now
        for thread in self._threads:
            thread.watch(before, now, 2 * self._patience / LOOKS)
        waits = {answer: call for answer, call in self._asked.items() if not answer.done()}
        pool = max((thread.moved for thread in self._threads), default=0.0)
        behind = {call.room for call in waits.values() if call.queued and call.begun is None}
        for answer, call in waits.items():
            if now - call.since(pool if call.room in behind else 0.0) >= self._patience:
                answer.set_exception(_no_answer(self._patience))
            elif call.computed >= self._patience:
                answer.set_exception(_no_end(self._patience))
        if any(not answer.done() for answer in waits):
            self._watch = self._loop.call_later(self._patience / LOOKS, self._look_around)

    # ── threads ──

    def _put(self, call: _Call) -> None:
        self._busy += 1
        self._queue.put(call)
        if len(self._threads) < min(self._busy, self._at_once):
            self._one_more()
        elif self._relief is None and len(self._threads) < min(self._busy, MOST):
            self._relief = self._loop.call_later(STUCK, self._relieve)

    def _one_more(self) -> None:
        thread = _Thread(f"cbx-{self._name}-{len(self._threads) + 1}", self._queue, self._finished)
        self._threads.append(thread)
        thread.start()

    def _relieve(self) -> None:
        """Have a thread more for each that has been at the same call since the last look, if there is work for it."""
        self._relief = None
        stuck = sum(thread.look() for thread in self._threads)
        while len(self._threads) < min(self._busy, self._at_once + stuck, MOST):
            self._one_more()
        if len(self._threads) < min(self._busy, MOST):
            self._relief = self._loop.call_later(STUCK, self._relieve)

    def _take(self, finished: _Finished) -> None:
        told, value, error = finished
        self._busy -= 1
        if told is not None:
            told(value, error)


class _Room:
    """How many more calls of one user may be in threads, and those that wait for that."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.waiting: collections.deque[tuple[asyncio.Future[Any], _Call]] = collections.deque()
        self.moved = 0.0  # when a call of that user last began or ended, by the monotonic clock


class _Call:
    """One call, from when it is asked for."""

    __slots__ = ("asked", "begun", "computed", "excused", "function", "queued", "room", "told")

    def __init__(self, function: Callable[[], Any], told: _Told | None, room: _Room | None = None) -> None:
        self.function = function
        self.told = told
        self.room = room
        self.queued = False  # it had room, and waits for a thread at most
        self.asked = time.monotonic()
        self.begun: float | None = None  # when a thread took it, by the same clock
        self.excused = 0.0  # s since then in which it did not stand still
        self.computed = 0.0  # s of its thread's processor time

    def begin(self) -> float:
        """Say when."""
        now = self.begun = time.monotonic()
        if self.room is not None:
            self.room.moved = now
        return now

    def since(self, pool: float) -> float:
        """Since when it, or all that it waits for, stands still; the times in which it did not are taken out.

        ``pool`` is when any thread last began or ended a call, if that is what its user waits for; else 0.
        """
        if self.begun is not None:
            return self.begun + self.excused
        return max(self.asked, pool, 0.0 if self.queued or self.room is None else self.room.moved)


class _Thread(threading.Thread):
    """Makes one call after the other."""

    def __init__(self, name: str, calls: queue.SimpleQueue[_Call], finished: Mailbox[_Finished]) -> None:
        super().__init__(name=name, daemon=True)
        self._calls = calls
        self._finished = finished
        self.moved = 0.0  # when it last began or ended a call, by the monotonic clock
        self._count = 0  # of calls begun and calls ended: odd while it is at one
        self._seen = 0
        self._call: _Call | None = None  # that it is at
        self._began = self._ran = 0.0  # its processor time when it began with that, and at the last look, in seconds

    def look(self) -> bool:
        """Whether it is at the same call as at the last look."""
        before, self._seen = self._seen, self._count
        return self._seen == before and self._seen % 2 == 1

    def watch(self, before: float, now: float, most: float) -> None:
        """Excuse its call for the time since ``before``, if it does not stand still; else for all but ``most`` seconds.

        If nobody has looked for longer than that, the whole process may have been stopped.
        """
        call = self._call
        if call is None or call.begun is None or self.native_id is None or self.ident is None:
            return
        ran = time.clock_gettime(time.pthread_getcpuclockid(self.ident))
        gone_on, self._ran = ran > self._ran, ran
        call.computed = ran - self._began
        seconds = now - max(before, call.begun)
        place = threads.sleeps_in(self.native_id)
        # Who waits until he may execute Python wakes again and again to ask for that.
        if place is None or (place == threads.FUTEX and gone_on):
            call.excused += seconds
            self.moved = now
            if call.room is not None:
                call.room.moved = now
        else:
            call.excused += max(0.0, seconds - most)

    def run(self) -> None:
        """For ever."""
        while True:
            call = self._calls.get()
            self._began = self._ran = time.thread_time()
            self.moved = call.begin()
            self._call = call
            self._count += 1
            value, error = None, None
            try:
                value = call.function()
            except BaseException as raised:  # noqa: BLE001  # it belongs to who asked
                error = raised
            self._count += 1
            self._call = None
            self.moved = time.monotonic()
            self._finished.put((call.told, value, error))
            del call, value, error


def _no_answer(patience: float) -> NotStartedError:
    return NotStartedError(
        f"cannot go on: a file system has not answered for {patience:g} s",
        hint="the command, its directory or its output lies on a mount that hangs; try again when it answers",
    )


def _no_end(patience: float) -> NotStartedError:
    return NotStartedError(
        f"cannot go on: after {patience:g} s of processor time it is not known what the command does",
        hint="submit less at once; `timeouts.file_system_seconds` of the configuration is how long that may take",
    )
