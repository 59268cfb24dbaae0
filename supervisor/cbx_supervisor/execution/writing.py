"""What is written down of jobs, and who waits until it is on disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any

from cbx_sandbox.errors import CbxError
from cbx_supervisor.execution.mailbox import Mailbox
from cbx_supervisor.store.database import Database

AGAIN_SECONDS = 5.0  # between tries to write down how jobs ended


class Writing:
    """The way to the database, and the tasks of those who were told before theirs is there."""

    def __init__(self, database: Database, log: Callable[..., None]) -> None:
        self._database = database
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._written: Mailbox[tuple[asyncio.Future[None], BaseException | None]] = Mailbox(_tell)
        self._recording: set[asyncio.Task[None]] = set()
        self._afterwards: set[asyncio.Task[None]] = set()

    async def write(self, *operations: Callable[[Any], object]) -> None:
        """Have all of these written, whole or not at all; on disk when this returns."""

        def together(connection: Any) -> None:
            for operation in operations:
                operation(connection)

        answer: asyncio.Future[None] = self._loop.create_future()

        def told(_value: object, error: BaseException | None) -> None:
            self._written.put((answer, error))

        self._database.put(together, lambda: not answer.done(), told)
        await answer

    def record(self, writing: Coroutine[Any, Any, None]) -> None:
        """Have a result written whose caller does not wait for that; :meth:`recorded` does."""
        task = self._loop.create_task(writing)
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)

    async def recorded(self) -> None:
        """Return when every result that somebody was told is on disk: what is read then is not behind."""
        if self._recording:
            await asyncio.wait(tuple(self._recording))

    def afterwards(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what is left to do of a job whose caller was told already."""
        task = self._loop.create_task(work)
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)

    def write_later(self, *operations: Callable[[Any], object]) -> None:
        """Have these written some time: what may be lost in a crash."""
        for operation in operations:
            self._database.write(operation)

    async def keep_trying(self, *operations: Callable[[Any], object]) -> None:
        """As :meth:`write`, again and again while the disk is full: how a job ended must not be forgotten."""
        while True:
            try:
                await self.write(*operations)
            except (CbxError, sqlite3.Error) as error:
                self._log("cannot write, will try again", error=str(error))
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return

    async def finish(self, patience: float) -> None:
        """Wait for all that is still to be done of jobs that are over."""
        if left := (*self._recording, *self._afterwards):
            await asyncio.wait(left, timeout=patience)


def _tell(written: tuple[asyncio.Future[None], BaseException | None]) -> None:
    answer, error = written
    if not answer.done():
        answer.set_result(None) if error is None else answer.set_exception(error)
