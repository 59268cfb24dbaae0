"""What threads hand over reaches the loop whole and in order, and one that cannot be taken keeps back no other."""

from __future__ import annotations

import asyncio
import threading

from cbx_supervisor.execution.mailbox import Mailbox


def test_everything_comes_in_order():
    """However many threads put at the same time, and however often the loop was called."""

    async def main():
        came, done = [], asyncio.Event()

        def take(thing):
            came.append(thing)
            if len(came) == 4000:
                done.set()

        mailbox = Mailbox(take)
        threads = [
            threading.Thread(target=lambda one=one: [mailbox.put((one, number)) for number in range(1000)])
            for one in range(4)
        ]
        for thread in threads:
            thread.start()
        await done.wait()
        for one in range(4):
            assert [number for who, number in came if who == one] == list(range(1000))

    asyncio.run(main())


def test_what_comes_later_calls_again():
    """The loop has looked already, and the box was empty."""

    async def main():
        came = asyncio.Queue()
        mailbox = Mailbox(came.put_nowait)
        for number in range(3):
            threading.Thread(target=mailbox.put, args=(number,)).start()
            assert await came.get() == number

    asyncio.run(main())


def test_one_that_cannot_be_taken_keeps_back_no_other():
    """The failure is the loop's to tell; those behind it are taken."""

    async def main():
        came, told = asyncio.Queue(), []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))

        def take(thing):
            if thing == "bad":
                raise ValueError(thing)
            came.put_nowait(thing)

        mailbox = Mailbox(take)
        mailbox.put("bad")
        mailbox.put("good")
        assert await came.get() == "good"
        assert [str(error) for error in told] == ["bad"]

    asyncio.run(main())


def test_nothing_is_told_when_the_loop_has_ended():
    """A thread that waited for a dead file system comes back to nobody."""

    async def main():
        return Mailbox(lambda _thing: None)

    asyncio.run(main()).put("late")
