"""Threads for files: who hangs is told, who does not goes on."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from cbx_sandbox.errors import NotStartedError
from cbx_supervisor.execution.workers import EACH, Workers


def test_a_call_brings_its_value_and_its_error():
    """From a thread of its own."""

    async def main():
        workers = Workers("test", 60)
        assert await workers.run(1, threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await workers.run(1, lambda: 1 // 0)

    asyncio.run(main())


def test_who_hangs_is_told_and_the_late_value_is_undone():
    """Not by whoever asks next: that one gets its own."""

    async def main():
        workers, answer, undone = Workers("test", 0.1), threading.Event(), asyncio.Queue()
        loop = asyncio.get_running_loop()

        def late(value):
            loop.call_soon_threadsafe(undone.put_nowait, value)

        with pytest.raises(NotStartedError, match="has not answered"):
            await workers.run(1, lambda: answer.wait() and "late", late=late)
        assert await workers.run(1, lambda: "own", late=late) == "own"
        answer.set()
        assert await undone.get() == "late"
        assert undone.empty()

    asyncio.run(main())


def computes(seconds):
    """Of its thread's processor time."""
    begun = time.thread_time()
    while time.thread_time() - begun < seconds:
        pass
    return "computed"


def test_who_computes_is_no_file_system_that_hangs():
    """However many at once, each of which has to wait for the others; who hangs beside them, the control, is told."""

    async def main():
        workers, (never, write) = Workers("test", 1.0), os.pipe()
        hanging = asyncio.ensure_future(workers.run(2, lambda: os.read(never, 1)))
        computing = [workers.run(1, lambda: computes(0.25)) for _ in range(EACH)]
        assert set(await asyncio.gather(*computing)) == {"computed"}
        with pytest.raises(NotStartedError, match="has not answered"):
            await hanging
        os.write(write, b"x")

    asyncio.run(main())


def test_who_computes_for_too_long_is_told_so():
    """By the thread's own time, not by that of others."""

    async def main():
        with pytest.raises(NotStartedError, match="of processor time"):
            await Workers("test", 0.2).run(1, lambda: computes(3))

    asyncio.run(main())


def test_one_user_takes_no_room_from_another():
    """However many of his calls hang; when they return, he has room again."""

    async def main():
        workers, answer = Workers("test", 0.2), threading.Event()
        hanging = [workers.run(1, answer.wait) for _ in range(EACH * 3)]
        hanging = asyncio.gather(*hanging, return_exceptions=True)
        assert await workers.run(2, lambda: "other") == "other"
        assert {type(told) for told in await hanging} == {NotStartedError}
        with pytest.raises(NotStartedError):
            await workers.run(1, lambda: "same")
        assert await workers.run(2, lambda: "other") == "other"
        answer.set()
        patient = Workers("test", None)
        while True:
            try:
                assert await workers.run(1, lambda: "same") == "same"
                break
            except NotStartedError:
                await patient.run(1, answer.wait)

    asyncio.run(main())


@pytest.mark.parametrize("users", [1, EACH * 5])
def test_who_only_waits_for_others_is_patient_while_these_get_on(users):
    """For room, or for a thread: together they take longer than each may."""

    async def main():
        workers = Workers("test", 2, at_once=1)
        calls = [workers.run(1 + number % users, lambda: time.sleep(0.04) or "made") for number in range(EACH * 8)]
        assert set(await asyncio.gather(*calls)) == {"made"}

    asyncio.run(main())


def test_soon_is_told_in_the_loop():
    """What is done in the loop afterwards."""

    async def main():
        workers, done = Workers("test", None), asyncio.Event()
        workers.soon(lambda: None, done.set)
        await done.wait()

    asyncio.run(main())


def test_another_thread_takes_the_place_of_one_that_is_stuck():
    """However few are enough as a rule: one dead file system holds up nobody else, nor do five of them."""

    async def main():
        workers, answer = Workers("test", None, at_once=1), threading.Event()
        stuck = [asyncio.ensure_future(workers.run(user, answer.wait)) for user in range(1, 6)]
        assert await workers.run(6, lambda: "other") == "other"
        assert not any(call.done() for call in stuck)
        answer.set()
        assert await asyncio.gather(*stuck) == [True] * 5

    asyncio.run(main())


def test_one_user_waits_for_his_own_calls_only():
    """More of his than may be in threads at once: they are made in order, as those before them end."""

    async def main():
        workers, made = Workers("test", 60), []
        await asyncio.gather(*(workers.run(1, lambda number=number: made.append(number)) for number in range(EACH * 5)))
        assert sorted(made) == list(range(EACH * 5))

    asyncio.run(main())


def test_who_is_cancelled_leaves_its_room():
    """A call that nobody waits for any more is not made, and takes no room from the next one."""

    async def main():
        workers, answer, made = Workers("test", 60), threading.Event(), []
        hanging = [asyncio.ensure_future(workers.run(1, answer.wait)) for _ in range(EACH)]
        waiting = asyncio.ensure_future(workers.run(1, lambda: made.append("nobody's")))
        await asyncio.sleep(0)
        waiting.cancel()
        answer.set()
        await asyncio.gather(*hanging)
        assert await workers.run(1, lambda: "next") == "next"
        assert not made

    asyncio.run(main())
