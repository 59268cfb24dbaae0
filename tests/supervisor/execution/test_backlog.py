"""Whoever sends very many jobs at once waits until most of the own ones before are planned."""

from __future__ import annotations

import asyncio

from cbx_supervisor.execution.backlog import MOST, CaughtUp

ONE, OTHER = 1000, 2000


async def settle():
    for _ in range(3):
        await asyncio.sleep(0)


def test_who_sends_more_waits_until_the_analysis_has_caught_up():
    """The first that may go on can be too many again for the second; planned twice, or gone, is one less but once."""

    async def main():
        caught_up, went = CaughtUp(), []
        for job in range(MOST + 2):
            caught_up.taken(ONE, job)

        async def send(name, job):
            await caught_up.wait(ONE)
            caught_up.taken(ONE, job)
            went.append(name)

        tasks = [asyncio.create_task(send(name, 10_000 + number)) for number, name in enumerate("ab")]
        for job, expected in ((0, []), (0, []), (1, ["a"]), (2, ["a", "b"])):
            await settle()
            caught_up.over(ONE, job)
            await settle()
            assert went == expected, job
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_nobody_waits_for_what_others_sent():
    """Theirs may lie on a file system that hangs; the control, who sent them, waits."""

    async def main():
        caught_up = CaughtUp()
        for job in range(MOST + 1):
            caught_up.taken(ONE, job)
        await asyncio.wait_for(caught_up.wait(OTHER), 10)
        own = asyncio.create_task(caught_up.wait(ONE))
        await settle()
        assert not own.done()
        caught_up.over(ONE, 0)
        await own

    asyncio.run(main())
