"""The engine among coroutines: starts and grants wake, giving up leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from cbx_sandbox.policy import LockMode
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.execution.admission import Admission, NotAfter
from cbx_supervisor.execution.waits import describe, describe_blockers
from cbx_supervisor.scheduling.capacity import Capacity
from cbx_supervisor.scheduling.engine import Engine
from cbx_supervisor.scheduling.lock_modes import LockKey
from cbx_supervisor.scheduling.locks import Blocked, Granted
from cbx_supervisor.scheduling.order import Entry

KEY = LockKey(1, "/a")
SAFE = Tier.SAFE_PARALLEL


def want(mode, key=KEY):
    return ((key, mode),)


def entry(number, mode=None, **options):
    return Entry(number, uid=0, tier=SAFE, wants=want(mode) if mode else (), **options)


def made(slots=4, parked=lambda _number, _because: None, **options):
    return Admission(Engine(Capacity(dict.fromkeys(Tier, slots), 30, **options)), lambda _number, _on: None, parked)


async def started(admission, number, patience=5.0, notice=60.0, on_notice=lambda _: None):
    return await admission.started(number, patience=patience, notice=notice, on_notice=on_notice)


def test_a_job_that_leaves_wakes_the_next():
    """In order."""

    async def main():
        admission, order = made(), []
        assert admission.enter(entry(1, LockMode.X))

        async def wait(number):
            assert not admission.enter(entry(number, LockMode.X))
            assert await started(admission, number) == ()
            order.append(number)
            admission.leave(number, succeeded=True)

        tasks = [asyncio.create_task(wait(number)) for number in (2, 3, 4)]
        await asyncio.sleep(0.01)
        assert order == []
        admission.leave(1, succeeded=True)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(main()) == [2, 3, 4]


def test_giving_up_leaves_the_queue():
    """After a time: who waited behind is started, and is told the truth meanwhile."""

    async def main():
        admission = made()
        assert admission.enter(entry(1, LockMode.S))
        assert not admission.enter(entry(2, LockMode.X))
        assert not admission.enter(entry(3, LockMode.S))
        left = await started(admission, 2, patience=0.01)
        assert "job 1 holds S on /a" in describe(left, 0.0)
        assert "job 2 waits for X on /a" in describe(admission.why(3), 0.0)
        admission.leave(2, succeeded=False)
        assert await started(admission, 3) == ()
        assert admission.why(3) == ()

    asyncio.run(main())


def test_no_patience_is_an_answer_at_once():
    """--lock-timeout 0."""

    async def main():
        admission = made(slots=1)
        admission.enter(entry(1))
        admission.enter(entry(2))
        return describe(await asyncio.wait_for(started(admission, 2, patience=0), 1), 0.0)

    assert "1 jobs of SAFE_PARALLEL are running, the limit is 1" in asyncio.run(main())


def test_waiting_is_told_again_and_again():
    """Each time with what is waited for then."""

    async def main():
        admission, told = made(slots=1), []
        admission.enter(entry(1))
        admission.enter(entry(2))

        def notice(reasons):
            told.append(reasons)
            if len(told) == 3:
                admission.leave(1, succeeded=True)

        assert await started(admission, 2, patience=None, notice=0.02, on_notice=notice) == ()
        return told

    assert len(asyncio.run(main())) == 3


def test_a_start_rate_is_kept_by_the_clock():
    """Nothing else happens, and the next one starts all the same."""

    async def main():
        admission = made(rate=20.0)
        assert admission.enter(entry(1))
        assert not admission.enter(entry(2))
        assert "starts are limited in rate" in describe(admission.why(2), asyncio.get_running_loop().time())
        return await started(admission, 2)

    assert asyncio.run(main()) == ()


def test_who_comes_after_a_failure_is_told_whose():
    """And those after it in turn, with the one that they named."""

    async def main():
        admission = made()
        admission.enter(entry(1))
        admission.enter(entry(2, after=frozenset({1})))
        admission.enter(entry(3, after=frozenset({2})))
        assert describe(admission.why(2), 0.0) == "it comes after job 1"
        admission.leave(1, succeeded=False)
        for number, because in ((2, 1), (3, 2)):
            with pytest.raises(NotAfter) as raised:
                await started(admission, number)
            assert raised.value.number == because

    asyncio.run(main())


def test_an_upgrade_goes_on_beside_readers_after_a_moment():
    """U keeps writers out meanwhile, and new jobs wait behind the upgrade."""

    async def main():
        admission = made()
        admission.enter(entry(1, LockMode.U))
        admission.enter(entry(2, LockMode.S))
        assert await admission.upgrade(1, [KEY], patience=30, reader_grace=0.05)
        assert admission.engine.locks.held(1) == ((KEY, LockMode.U),)
        assert not admission.enter(entry(3, LockMode.X))
        admission.leave(3, succeeded=False)
        admission.leave(2, succeeded=True)
        assert await admission.upgrade(1, [KEY], patience=30, reader_grace=0.05)
        assert admission.engine.locks.held(1) == ((KEY, LockMode.X),)

    asyncio.run(main())


def test_an_upgrade_for_what_is_written_in_place_waits_for_readers():
    """Without going on beside them: in the end it gives up, or has X."""

    async def main():
        admission = made()
        admission.enter(entry(1, LockMode.U))
        admission.enter(entry(2, LockMode.S))
        assert not await admission.upgrade(1, [KEY], patience=0.05, reader_grace=None)
        assert admission.engine.locks.held(1) == ((KEY, LockMode.U),)
        waiting = asyncio.ensure_future(admission.upgrade(1, [KEY], patience=30, reader_grace=None))
        await asyncio.sleep(0)
        admission.leave(2, succeeded=True)
        assert await waiting
        assert admission.engine.locks.held(1) == ((KEY, LockMode.X),)

    asyncio.run(main())


def test_a_commit_of_a_held_checkpoint_needs_no_slot_and_goes_before_jobs():
    """Its owner's number is below zero; a job that wants the same waits for it."""

    async def main():
        admission = made(slots=1)
        admission.enter(entry(1, LockMode.X))
        assert isinstance(admission.request(-7, want(LockMode.X)), Blocked)
        assert not admission.enter(entry(2, LockMode.X))
        admission.leave(1, succeeded=True)
        assert await admission.granted(-7, patience=5) is None
        assert "the commit of checkpoint 7 holds X" in describe(admission.why(2), 0.0)
        admission.release(-7)
        assert await started(admission, 2) == ()

    asyncio.run(main())


def test_a_commit_that_gives_up_lets_jobs_pass():
    """What it waited for is reserved no longer."""

    async def main():
        admission = made()
        admission.enter(entry(1, LockMode.S))
        assert isinstance(admission.request(-7, want(LockMode.X)), Blocked)
        assert not admission.enter(entry(2, LockMode.S))
        left = await admission.granted(-7, patience=0.01)
        assert "job 1 holds S" in describe_blockers(left)
        assert await started(admission, 2) == ()
        assert isinstance(admission.request(-8, want(LockMode.S)), Granted)

    asyncio.run(main())
