"""The lock table, for coroutines: ask, wait for the grant, give up after a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from cbx_sandbox.policy import LockMode
from cbx_supervisor.scheduling.locks import Blocked, Blocker, Granted, LockKey, LockTable, Want

_READERS = frozenset({LockMode.S, LockMode.IS})


class Locks:
    """Who waits is woken by whoever lets go."""

    def __init__(self) -> None:
        self.table = LockTable()
        self._waiters: dict[int, asyncio.Future[None]] = {}

    def request(self, owner: int, wants: Sequence[Want]) -> Granted | Blocked:
        """Take the set, or begin to wait for it: then :meth:`granted` must be awaited."""
        answer = self.table.request(owner, wants)
        if isinstance(answer, Blocked):
            self._waiters[owner] = asyncio.get_running_loop().create_future()
        return answer

    async def granted(
        self,
        owner: int,
        *,
        patience: float | None,
        notice: float,
        on_notice: Callable[[tuple[Blocker, ...]], None],
    ) -> tuple[Blocker, ...] | None:
        """Wait for what was asked for; None when it is held.

        After ``patience`` seconds return who is in the way: nothing is asked for then. ``on_notice`` is told the same
        after each ``notice`` seconds.
        """
        waiter = self._waiters[owner]
        loop = asyncio.get_running_loop()
        end = None if patience is None else loop.time() + patience
        try:
            while True:
                left = notice if end is None else min(notice, end - loop.time())
                await asyncio.wait([waiter], timeout=max(0.0, left))
                if waiter.done():
                    return None
                blockers = self.table.blockers(owner)
                if end is not None and loop.time() >= end:
                    return blockers
                on_notice(blockers)
        finally:
            del self._waiters[owner]
            # Granted and given up in the same moment: the lock is held, and who gives up releases the owner.
            if not waiter.done():
                waiter.cancel()
                self._wake(self.table.cancel(owner))

    async def upgrade(self, owner: int, keys: Sequence[LockKey], *, patience: float, reader_grace: float) -> bool:
        """Make the owner's U into X. After ``reader_grace`` go on beside readers: U keeps all writers out.

        False if somebody else than readers was in the way for ``patience`` seconds.
        """
        if isinstance(self.table.upgrade(owner, keys), Granted):
            return True
        self._waiters[owner] = asyncio.get_running_loop().create_future()
        only_readers = all(blocker.mode in _READERS for blocker in self.table.blockers(owner))
        limit = min(reader_grace, patience) if only_readers else patience
        left = await self.granted(owner, patience=limit, notice=patience + 1, on_notice=lambda _: None)
        return left is None or all(blocker.mode in _READERS for blocker in left)

    def release(self, owner: int) -> None:
        """Let go of everything, also of what is still waited for."""
        self._waiters.pop(owner, None)
        self._wake(self.table.release(owner))

    def _wake(self, owners: list[int]) -> None:
        for owner in owners:
            waiter = self._waiters.get(owner)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)


def describe(blockers: Sequence[Blocker]) -> str:
    """Who is in the way, for people. Numbers below zero are commits of held checkpoints."""
    return "; ".join(
        f"{f'job {b.owner}' if b.owner > 0 else f'the commit of checkpoint {-b.owner}'}"
        f" {'waits for' if b.waiting else 'holds'} {b.mode.value} on {b.key.path}"
        for b in blockers[:5]
    )
