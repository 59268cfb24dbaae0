"""Whoever sends very many jobs at once waits until most of those before are planned."""

from __future__ import annotations

import asyncio

from cbx_supervisor.execution.backlog import MOST, CaughtUp


def test_who_sends_more_waits_until_the_analysis_has_caught_up():
    """The first that may go on can be too many again for the second."""

    async def main():
        behind, went = MOST + 2, []
        caught_up = CaughtUp(lambda: behind)

        async def send(name):
            nonlocal behind
            await caught_up.wait()
            behind += 1
            went.append(name)

        tasks = [asyncio.create_task(send(name)) for name in ("a", "b")]
        for expected in ([], [], ["a"], ["a", "b"]):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert went == expected
            behind -= 1
            caught_up.look()
        await asyncio.gather(*tasks)

    asyncio.run(main())
