"""The leak audit: some moments after jobs have ended, one look at the host for all of them.

Their callers have their results by then. What is found becomes part of the result and an incident in the audit trail.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cbx_sandbox.box import leaks
from cbx_supervisor.store import audit, jobs

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor

SETTLE_SECONDS = 2.0  # for namespaces to be taken down, relays to end, and more jobs to end
REST_SECONDS = 5.0  # between two looks at the least


class LeakAudit:
    """Knows which jobs have ended since the last look."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._over: list[leaks.Marks] = []
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0

    def ended(self, marks: leaks.Marks) -> None:
        """Have a look for what a job has left, soon."""
        self._over.append(marks)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            wait = max(SETTLE_SECONDS, self._last + REST_SECONDS - loop.time())
            self._timer = loop.call_later(wait, self._due)

    async def finish(self) -> None:
        """Look at once for what is left of jobs that nobody looked for yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            await self._look()

    def _due(self) -> None:
        self._timer = None
        self._executor.writing.afterwards(self._look())

    async def _look(self) -> None:
        over, self._over = self._over, []
        self._last = asyncio.get_running_loop().time()
        for job, texts in (await self._executor.files.work(0, leaks.sweep, over)).items():
            await incident(self._executor, int(job), texts)


async def incident(executor: Executor, job: int, texts: Sequence[str]) -> None:
    """Write down that a job has left something behind: in its result, in the audit trail and in the log."""
    executor.log("left behind", job=job, left=list(texts))
    left = audit.record(time.time(), "incident", f"job {job}", uid=0, detail={"left behind": list(texts)})
    await executor.writing.write(jobs.leaked(job, texts), left)
