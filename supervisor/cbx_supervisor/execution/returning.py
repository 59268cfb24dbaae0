"""Callers that ask again: because their supervisor went away, or with a key that they have used before.

Neither starts anything twice. A client gives each foreground job a token that nobody else knows, and by it finds the
job again, running, over, or waiting for what only the client can pass: its descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from cbx_sandbox.errors import CbxError, UsageError
from cbx_supervisor.execution.live import LiveJob
from cbx_supervisor.execution.submission import Caller, Descriptors, Submission
from cbx_supervisor.model.result import Result
from cbx_supervisor.store import jobs, kept
from cbx_supervisor.store.database import Database


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """A client that came back for a job that was not started, and what it passes."""

    submission: Submission
    descriptors: Descriptors
    caller: Caller
    first: Callable[[], None]


class _Turn:
    """Of those who use one key, one at a time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wanted = 0


class Returning:
    """Finds the job that somebody means."""

    def __init__(
        self, database: Database, live: Mapping[int, LiveJob], recorded: Callable[[], Awaitable[None]]
    ) -> None:
        """``recorded`` returns when what is known to be over is on disk."""
        self._database = database
        self._live = live
        self._recorded = recorded
        self._awaited: dict[int, asyncio.Future[Claim]] = {}
        self._keys: dict[tuple[int, str], LiveJob] = {}  # of jobs that may not be on disk yet
        self._turns: dict[tuple[int, str], _Turn] = {}

    # ── tokens ──

    async def find(self, uid: int, token: str) -> LiveJob | Result | None:
        """The job that a client gave a token: not over, or over; None: it never came to be written down."""
        for live in self._live.values():
            # Who has a token has a client, and is never parked.
            if not live.parked and live.uid == uid and live.submission.token == token:
                return live

        def look(connection: sqlite3.Connection) -> Result | None:
            number = kept.tokened(connection, uid, token)
            row = None if number is None else jobs.find(connection, number)
            return None if row is None else row.result

        return await asyncio.to_thread(self._database.read, look)

    def claim(self, live: LiveJob, claim: Claim) -> bool:
        """Pass on what a job waits for; False if it does not wait for that."""
        awaited = self._awaited.get(live.number)
        if awaited is None or awaited.done():
            return False
        awaited.set_result(claim)
        return True

    async def claimed(self, live: LiveJob, patience: float) -> Claim | None:
        """Wait for the client of a job; None if it did not come, or somebody cancelled the job."""
        awaited = self._awaited[live.number] = asyncio.get_running_loop().create_future()
        try:
            both: set[asyncio.Future[Any]] = {awaited, live.withdrawn}
            await asyncio.wait(both, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            return awaited.result() if awaited.done() else None
        finally:
            del self._awaited[live.number]

    # ── keys ──

    def bind(self, live: LiveJob) -> None:
        """From now on the submission's key means this job."""
        if live.submission.key is not None:
            name = (live.submission.uid, live.submission.key[0])
            self._keys[name] = live

    def unbind(self, live: LiveJob) -> None:
        """Its key means nothing any more, or the store knows what."""
        if not live.parked and live.submission.key is not None:
            self._keys.pop((live.uid, live.submission.key[0]), None)

    @contextlib.asynccontextmanager
    async def alone(self, submissions: Iterable[Submission]) -> AsyncIterator[None]:
        """Let nobody else look for the keys of these, or submit with them, between the look and the submission."""
        names = sorted({(one.uid, one.key[0]) for one in submissions if one.key is not None})
        async with contextlib.AsyncExitStack() as stack:
            for name in names:  # in one order: who has some waits for nobody who waits for these
                turn = self._turns.setdefault(name, _Turn())
                turn.wanted += 1
                stack.callback(self._over, name)
                await stack.enter_async_context(turn.lock)
            yield

    def _over(self, name: tuple[int, str]) -> None:
        turn = self._turns[name]
        turn.wanted -= 1
        if not turn.wanted:
            del self._turns[name]

    async def bound(self, submission: Submission) -> LiveJob | Result | None:
        """The job that was submitted with the same key: on disk; None: there is none. To be called within ``alone``.

        Raises UsageError: something else was asked for with it; CbxError: how it ended could not be written yet.
        """
        return (await self.all_bound([submission]))[0]

    async def all_bound(self, submissions: Sequence[Submission]) -> list[LiveJob | Result | None]:
        """The same for many, in one look; None also for one without a key."""
        found: list[LiveJob | Result | None] = [await self._not_on_disk(one) for one in submissions]
        asked = [n for n, one in enumerate(submissions) if one.key is not None and found[n] is None]
        if not asked:
            return found

        def look(connection: sqlite3.Connection) -> list[tuple[int, str, Result | None] | None]:
            return [_stored(connection, submissions[n]) for n in asked]

        for n, stored in zip(asked, await asyncio.to_thread(self._database.read, look), strict=True):
            if stored is not None:
                found[n] = await self._known(submissions[n], *stored)
        return found

    async def _not_on_disk(self, submission: Submission) -> LiveJob | None:
        """The job that has the key, and maybe had it before it was on disk: it is now."""
        live = None if submission.key is None else self._keys.get((submission.uid, submission.key[0]))
        if live is None:
            return None
        assert live.submission.key is not None
        _check(submission, live.submission.key[1])
        await self._written(live)
        # One that was refused was never written down with its key: who asks again may be lucky.
        return live if live.durable.is_set() else None

    async def _known(self, submission: Submission, number: int, digest: str, result: Result | None) -> LiveJob | Result:
        _check(submission, digest)
        job = self._live.get(number) or result
        if job is None:
            await self._recorded()  # it has ended meanwhile, and that was not on disk yet
            row = await asyncio.to_thread(self._database.read, lambda connection: jobs.find(connection, number))
            job = None if row is None else row.result
        if job is None:
            raise CbxError(f"cannot tell how job {number} ended: that cannot be written", hint="is the disk full?")
        return job

    @staticmethod
    async def _written(live: LiveJob) -> None:
        durable = asyncio.ensure_future(live.durable.wait())
        both: set[asyncio.Future[Any]] = {durable, live.result}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        durable.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await durable


def _stored(connection: sqlite3.Connection, submission: Submission) -> tuple[int, str, Result | None] | None:
    """The number of the job that has the key, the digest of what was asked for, and how it ended, if it has."""
    assert submission.key is not None
    found = kept.keyed(connection, submission.uid, submission.key[0])
    row = None if found is None else jobs.find(connection, found[0])
    return None if found is None else (*found, None if row is None else row.result)


def _check(submission: Submission, known: str) -> None:
    assert submission.key is not None
    name, asked = submission.key
    if known != asked:
        raise UsageError(
            f"cannot use the key {name[:100]} again: something else was asked for with it",
            hint="the same key stands for the same request, or for none at all",
        )
