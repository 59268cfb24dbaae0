"""The lock table among coroutines: grants wake, giving up leaves nothing behind."""

from __future__ import annotations

import asyncio

from cbx_sandbox.policy import LockMode
from cbx_supervisor.execution.waiting import Locks, describe
from cbx_supervisor.scheduling.locks import Blocked, Granted, LockKey

KEY = LockKey(1, "/a")


def want(mode, key=KEY):
    return [(key, mode)]


def silent(_blockers):
    return None


async def granted(locks, owner, patience=5.0):
    return await locks.granted(owner, patience=patience, notice=60, on_notice=silent)


def test_a_release_wakes_the_next():
    """In order."""

    async def main():
        locks, order = Locks(), []
        locks.request(1, want(LockMode.X))

        async def wait(owner):
            assert isinstance(locks.request(owner, want(LockMode.X)), Blocked)
            assert await granted(locks, owner) is None
            order.append(owner)
            locks.release(owner)

        tasks = [asyncio.create_task(wait(owner)) for owner in (2, 3, 4)]
        await asyncio.sleep(0.01)
        locks.release(1)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(main()) == [2, 3, 4]


def test_giving_up_leaves_the_queue():
    """After a time, or cancelled: whoever waited behind is granted."""

    async def main():
        locks = Locks()
        locks.request(1, want(LockMode.S))
        locks.request(2, want(LockMode.X))
        locks.request(3, want(LockMode.S))
        left = await granted(locks, 2, patience=0.01)
        assert [blocker.owner for blocker in left] == [1]
        assert "job 1 holds S on /a" in describe(left)
        assert await granted(locks, 3) is None
        locks.request(4, want(LockMode.X))
        task = asyncio.create_task(granted(locks, 4))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert locks.table.waiting() == []

    asyncio.run(main())


def test_no_patience_is_an_answer_at_once():
    """--lock-timeout 0."""

    async def main():
        locks = Locks()
        locks.request(1, want(LockMode.X))
        locks.request(2, want(LockMode.X))
        return await asyncio.wait_for(granted(locks, 2, patience=0), 1)

    assert asyncio.run(main())


def test_waiting_is_told_again_and_again():
    """Each time with who is in the way then."""

    async def main():
        locks, told = Locks(), []
        locks.request(1, want(LockMode.X))
        locks.request(2, want(LockMode.X))
        await locks.granted(2, patience=0.1, notice=0.02, on_notice=told.append)
        return told

    assert len(asyncio.run(main())) >= 2


def test_an_upgrade_goes_on_beside_readers_after_a_moment():
    """U keeps writers out meanwhile, and new readers wait behind the upgrade."""

    async def main():
        locks = Locks()
        locks.request(1, want(LockMode.U))
        locks.request(2, want(LockMode.S))
        began = asyncio.get_running_loop().time()
        assert await locks.upgrade(1, [KEY], patience=30, reader_grace=0.05)
        assert asyncio.get_running_loop().time() - began < 5
        assert locks.table.held(1) == ((KEY, LockMode.U),)
        assert isinstance(locks.request(3, want(LockMode.X)), Blocked)
        locks.release(2)
        assert await locks.upgrade(1, [KEY], patience=30, reader_grace=0.05)
        assert locks.table.held(1) == ((KEY, LockMode.X),)

    asyncio.run(main())


def test_a_release_forgets_what_was_never_waited_for():
    """A job that ends between asking and waiting."""

    async def main():
        locks = Locks()
        locks.request(1, want(LockMode.X))
        locks.request(2, want(LockMode.X))
        locks.release(2)
        locks.release(1)
        assert isinstance(locks.request(3, want(LockMode.X)), Granted)

    asyncio.run(main())
