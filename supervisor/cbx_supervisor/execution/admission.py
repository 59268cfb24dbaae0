"""The engine, for coroutines: ask to be started and wait for it, hold locks, give everything back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from cbx_sandbox.errors import NotStartedError
from cbx_sandbox.policy import LockMode
from cbx_supervisor.scheduling.actions import Action, Freeze, Grant, Refuse, Start, Thaw
from cbx_supervisor.scheduling.capacity import Capacity
from cbx_supervisor.scheduling.engine import Engine
from cbx_supervisor.scheduling.lock_modes import LockKey, Want
from cbx_supervisor.scheduling.locks import Blocked, Blocker, Granted
from cbx_supervisor.scheduling.moving import Where
from cbx_supervisor.scheduling.order import Entry
from cbx_supervisor.scheduling.reasons import Reason
from cbx_supervisor.scheduling.strategies import Strategy

_READERS = frozenset({LockMode.S, LockMode.IS})


class NotAfter(NotStartedError):  # noqa: N818  # an answer, not a fault
    """The job was to come after one that did not succeed."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"cannot start the job: it was to come after job {number}, which did not succeed",
            hint=f"`cbx-sandbox show {number}` says how that one ended",
        )
        self.number = number


class Admission:
    """Whoever waits is woken by whoever lets go, or by the clock where starts are limited in rate."""

    def __init__(
        self, engine: Engine, on_freeze: Callable[[int, bool], None], on_parked: Callable[[int, int | None], None]
    ) -> None:
        """``on_parked`` is told of jobs that nobody awaits: they are started, or refused because of another one."""
        self.engine = engine
        self._on_freeze = on_freeze
        self._on_parked = on_parked
        self._loop = asyncio.get_running_loop()
        self._starts: dict[int, asyncio.Future[None]] = {}
        self._grants: dict[int, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    # ── jobs ──

    def enter(self, entry: Entry) -> bool:
        """Ask for a slot and locks: True if the job has them now; else :meth:`started` must be awaited."""
        waiter = self._starts[entry.number] = self._loop.create_future()
        self._carry_out(self.engine.submit(entry, self._loop.time()))
        if waiter.done():
            del self._starts[entry.number]
            waiter.result()
            return True
        return False

    @property
    def awaited(self) -> int:
        """How many jobs wait whose start somebody awaits."""
        return len(self._starts)

    def park(self, number: int) -> bool:
        """Await the start of a job no longer; False if it was decided already."""
        if self._starts[number].done():
            return False
        del self._starts[number]
        return True

    async def started(
        self,
        number: int,
        *,
        patience: float | None,
        notice: float,
        on_notice: Callable[[tuple[Reason, ...]], None],
    ) -> tuple[Reason, ...]:
        """Wait for the start. Returns nothing when it has come; after ``patience`` seconds what is still waited for.

        ``on_notice`` is told the same after each ``notice`` seconds. Raises NotAfter. Who gives up calls :meth:`leave`.
        """
        waiter = self._starts[number]
        end = None if patience is None else self._loop.time() + patience
        try:
            while True:
                left = notice if end is None else min(notice, end - self._loop.time())
                await asyncio.wait([waiter], timeout=max(0.0, left))
                if waiter.done():
                    waiter.result()
                    return ()
                reasons = self.engine.why(number, self._loop.time())
                if end is not None and self._loop.time() >= end:
                    return reasons
                on_notice(reasons)
        finally:
            del self._starts[number]
            waiter.cancel()

    def adopt(self, entry: Entry) -> None:
        """The job runs already: it was started by an earlier supervisor. Raises ValueError: its locks are not free."""
        self.engine.adopt(entry)

    def leave(self, number: int, *, succeeded: bool, healthy: bool | None = None) -> None:
        """The job is over, or will never run; ``healthy`` is what its end says of its circuit."""
        self._carry_out(self.engine.ended(number, self._loop.time(), succeeded=succeeded, healthy=healthy))

    def step_back(self, number: int, *, healthy: bool | None = None) -> None:
        """Give the slot and the locks back, to ask again."""
        self._carry_out(self.engine.postponed(number, self._loop.time(), healthy=healthy))

    def reset_breaker(self, name: str) -> bool:
        """Forget the failures of a circuit; False if there are none."""
        actions = self.engine.reset_breaker(name, self._loop.time())
        self._carry_out(actions or [])
        return actions is not None

    def use(self, capacity: Capacity, strategy: Strategy) -> None:
        """So much runs at once from now on. Less than what runs ends nothing: it only starts nothing."""
        self.resize(capacity)
        self.order_by(strategy)

    def resize(self, capacity: Capacity) -> None:
        """So much runs at once from now on, in the same order."""
        self._carry_out(self.engine.resize(capacity, self._loop.time()))

    def order_by(self, strategy: Strategy) -> None:
        """Go on by this strategy."""
        if strategy is not self.engine.strategy:
            self._carry_out(self.engine.reorder(strategy, self._loop.time()))

    def pause_all(self) -> None:
        """Start nothing any more."""
        self.engine.pause()

    def resume_all(self) -> None:
        """Start jobs again."""
        self._carry_out(self.engine.resume(self._loop.time()))

    def hold(self, number: int) -> bool:
        """Keep a job from being started, wherever it is on its way to that; False if it was, or is kept already."""
        return self.engine.hold(number)

    def unhold(self, number: int) -> None:
        """Let it be started."""
        self._carry_out(self.engine.unhold(number, self._loop.time()))

    def change(self, entry: Entry) -> None:
        """Say otherwise of a job that waits. Raises KeyError: it does not."""
        self._carry_out(self.engine.change(entry, self._loop.time()))

    def move(self, number: int, where: Where) -> None:
        """Put a job that waits elsewhere in its line. Raises KeyError: one does not wait; OtherLineError."""
        self._carry_out(self.engine.move(number, where, self._loop.time()))

    def decide(self) -> None:
        """Start what can be started by now, although nothing has happened: it raises if nobody could be started."""
        self._carry_out(self.engine.decide(self._loop.time()))

    def why(self, number: int) -> tuple[Reason, ...]:
        """What a job waits for."""
        return self.engine.why(number, self._loop.time())

    # ── locks beside slots ──

    def request(self, owner: int, wants: Sequence[Want]) -> Granted | Blocked:
        """Take a set of locks without a slot, or begin to wait for it: then :meth:`granted` must be awaited."""
        answer = self.engine.request(owner, wants)
        if isinstance(answer, Blocked):
            self._grants[owner] = self._loop.create_future()
        return answer

    async def granted(self, owner: int, *, patience: float) -> tuple[Blocker, ...] | None:
        """Wait for what was asked for; None when it is held, else who is in the way after ``patience`` seconds."""
        waiter = self._grants[owner]
        try:
            await asyncio.wait([waiter], timeout=patience)
            return None if waiter.done() else self.engine.locks.blockers(owner)
        finally:
            del self._grants[owner]
            # Granted and given up in the same moment: the lock is held, and who gives up releases the owner.
            if not waiter.done():
                waiter.cancel()
                self._carry_out(self.engine.cancel(owner, self._loop.time()))

    async def upgrade(
        self, owner: int, keys: Sequence[LockKey], *, patience: float, reader_grace: float | None
    ) -> bool:
        """Make the owner's U into X. After ``reader_grace`` go on beside readers: U keeps all writers out.

        None waits for readers as for others. False if somebody was in the way for ``patience`` seconds.
        """
        answer = self.engine.upgrade(owner, keys)
        if not isinstance(answer, Blocked):
            return isinstance(answer, Granted)
        self._grants[owner] = self._loop.create_future()
        grace = patience if reader_grace is None else min(reader_grace, patience)
        only_readers = all(blocker.mode in _READERS for blocker in self.engine.locks.blockers(owner))
        left = await self.granted(owner, patience=grace if only_readers else patience)
        return left is None or (reader_grace is not None and all(blocker.mode in _READERS for blocker in left))

    def release(self, owner: int) -> None:
        """Let go of an owner's locks; a job keeps its slot."""
        self._grants.pop(owner, None)
        self._carry_out(self.engine.release(owner, self._loop.time()))

    # ── what the engine decided ──

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Freeze(number) | Thaw(number):
                    self._on_freeze(number, isinstance(action, Freeze))
                case Start(number):
                    if (start := self._starts.get(number)) is None:
                        self._on_parked(number, None)
                    else:
                        _wake(start)
                case Grant(number):
                    _wake(self._grants.get(number))
                case Refuse(number, because):
                    waiter = self._starts.get(number)
                    if waiter is None:
                        self._on_parked(number, because)
                    elif not waiter.done():
                        waiter.set_exception(NotAfter(because))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self.engine.next_time(self._loop.time())
        if at is not None:
            self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.decide()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
