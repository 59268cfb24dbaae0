"""Transactions: begun, worked in by one job at a time, saved and gone back in, committed or rolled back as a whole.

Between its commands a transaction holds no locks, as a held checkpoint does not: whoever forgets it keeps nobody
waiting, and what others change meanwhile is found by its commit. Each of its jobs holds U on all of its directories.

What is done to the layers is written down before (``pending``) and after; what was interrupted is done again at the
next start, before anybody is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from msgspec import structs

from cbx_sandbox import runner
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.checkpoint import levels, trial
from cbx_sandbox.checkpoint import session as sessions
from cbx_sandbox.checkpoint.session import Session, boot_id
from cbx_sandbox.errors import CbxError, DeniedError, NotStartedError, UsageError
from cbx_sandbox.facts import HostFacts
from cbx_sandbox.linux.credentials import Submitter, acting_as
from cbx_sandbox.policy import Identity
from cbx_supervisor.execution import checkpoints as work
from cbx_supervisor.execution import layering
from cbx_supervisor.execution.review import previewed, rendered
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.model.result import Result
from cbx_supervisor.model.transaction import Pending, Savepoint, Transaction
from cbx_supervisor.store import audit
from cbx_supervisor.store import checkpoints as rows
from cbx_supervisor.store import transactions as store

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor

Write = Callable[[sqlite3.Connection], object]


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, for the audit trail."""

    uid: int
    pid: int


class Transactions:
    """All that are open. Who may use which is checked by the caller of these, but for jobs."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._jobs: dict[int, int] = {}  # which job works in a transaction
        self._saved: dict[int, int] = {}  # levels beneath the one that a running job writes to
        self._busy: dict[int, asyncio.Lock] = {}

    def find(self, number: int) -> Transaction:
        """One transaction, over or not. Raises UsageError."""
        found = self._executor.database.read(lambda connection: store.find(connection, number))
        if found is None:
            raise UsageError(f"there is no transaction {number}", hint="`cbx-sandbox tx list` shows yours")
        return found

    # ── begun ──

    async def begin(self, identity: Identity, caller: Caller, directories: list[str], label: str) -> Transaction:
        """Make layers over ``directories``. Raises UsageError, DeniedError, NotStartedError."""
        executor = self._executor

        def resolved() -> tuple[str, ...]:
            facts = HostFacts("/", {}, home=identity.home, uid=identity.uid)
            with acting_as(Submitter(identity.uid, identity.gid, identity.groups)):
                return runner.writable_directories(
                    directories, facts, submitter_is_root=caller.uid == 0, name=identity.name
                )

        targets = list(await executor.files.look(caller.uid, resolved))

        async def look() -> Any:
            return await executor.planning.view(caller.uid)

        session, _ = await layering.new(
            executor, caller.uid, identity, await look(), targets, redirect_dir=True, look=look
        )
        now = time.time()
        number = session.checkpoint
        checkpoint = Checkpoint(
            id=number,
            job=0,
            uid=identity.uid,
            gid=identity.gid,
            state=CheckpointState.OPEN,
            created=now,
            session=session.to_json(),
        )
        try:
            await executor.writing.write(
                rows.insert(checkpoint),
                rows.marked(number, pinned=None, label=label or None),
                store.insert(number, now),
                self._noted(now, "begun", number, caller),
            )
        except BaseException:
            await executor.files.work(caller.uid, sessions.discard, session)
            raise
        return self.find(number)

    # ── jobs ──

    def request_of(self, submission: Submission) -> runner.Request:
        """The request of a job, with the directories of the transaction that it works in, if it does."""
        if submission.transaction is None:
            return submission.request
        found = self._usable(submission.transaction, submission)
        options = structs.replace(submission.request.options, within=found.directories)
        return structs.replace(submission.request, options=options)

    def _usable(self, number: int, submission: Submission) -> Transaction:
        found = self.find(number)
        who = submission.request.identity
        if found.checkpoint.uid != who.uid:
            if submission.uid != 0:
                raise UsageError(f"there is no transaction {number}", hint="`cbx-sandbox tx list` shows yours")
            raise DeniedError(
                f"cannot run this in transaction {number}: it is user {found.checkpoint.uid}'s",
                hint=f"run it as that user: --user {found.checkpoint.uid}",
            )
        _insist_open(found)
        return found

    async def enter(self, submission: Submission, job: int) -> Session:
        """Have the layers ready for a job that holds its locks: no other one works in them."""
        number = submission.transaction
        assert number is not None
        async with self._alone(number):
            found = self._usable(number, submission)
            session = _session(found)
            saved = await self._executor.files.work(submission.uid, levels.ready, session)
            if saved != len(found.savepoints):
                raise CbxError(
                    f"cannot use transaction {number}: its savepoints are not what is on disk",
                    hint="`cbx-sandbox fsck` looks at it; `tx rollback` throws it away",
                )
            self._jobs[number], self._saved[number] = job, saved
            return session

    def adopt(self, submission: Submission, job: int) -> Session | None:
        """The layers of a job that an earlier supervisor started; nobody else works in them until it is over."""
        number = submission.transaction
        assert number is not None
        found = self.find(number)
        if found.checkpoint.session is None or not found.open:
            return None
        self._jobs[number] = job
        return _session(found)

    def saved(self, submission: Submission) -> int:
        """How many levels lie beneath the one that the running job writes to."""
        return self._saved.get(submission.transaction or 0, 0)

    async def ran(self, session: Session, uid: int, ended: Outcome | None) -> work.Settled:
        """What becomes of the changes of one of its jobs: they stay, on disk."""
        number = session.checkpoint
        try:
            if ended is not None and not ended["frozen"] and ended["reason"] != "not-started":
                # Overlayfs does not define what happens to a layer that two mounts write to.
                await self._executor.files.work(uid, levels.join, session)
                why = "something still holds files of the overlay open, so nothing more can run in it"
                return await self._executor.files.work(uid, work.hold, session, None, why)
            await self._executor.files.work(uid, sessions.sync, session)
        except CbxError as error:
            return work.Settled(
                CheckpointState.OPEN, None, f"changes are in transaction {number}, not on disk: {error}"
            )
        return work.Settled(CheckpointState.OPEN, None, f"changes stay in transaction {number}")

    def over(self, submission: Submission, result: Result, settled: work.Settled | None, now: float) -> list[Write]:
        """What is written down with a job's result."""
        number = submission.transaction
        assert number is not None
        writes: list[Write] = [store.rested(number, result.job)]
        if settled is None:
            return writes  # it did not come to run
        writes.append(store.step(number, now, "run", job=result.job, status=result.status, command=result.command))
        if settled.state is not CheckpointState.OPEN:
            writes.append(rows.decided(number, settled.state, now, message=settled.message))
        return writes

    def leave(self, number: int, job: int) -> None:
        """A job is over, if it ever began to work in it."""
        if self._jobs.get(number) == job:
            del self._jobs[number]
            self._saved.pop(number, None)

    # ── levels ──

    async def save(self, number: int, caller: Caller, name: str) -> Transaction:
        """Make a savepoint. Raises UsageError."""
        async with self._alone(number) as found:
            savepoints = found.saved(name, time.time())
            await self._do(found, Pending.SAVE, savepoints, caller.uid)
            await self._executor.writing.write(
                store.done(number), store.step(number, time.time(), "savepoint", name=name),
                self._noted(time.time(), "saved", number, caller, name=name),
            )  # fmt: skip
        return self.find(number)

    async def back(self, number: int, caller: Caller, name: str) -> Transaction:
        """Throw away what was done since a savepoint, which stays. Raises UsageError."""
        async with self._alone(number) as found:
            await self._do(found, Pending.BACK, found.back_to(name), caller.uid)
            await self._executor.writing.write(
                store.done(number), store.step(number, time.time(), "rollback-to", name=name),
                self._noted(time.time(), "gone back", number, caller, name=name),
            )  # fmt: skip
        return self.find(number)

    async def _do(self, found: Transaction, what: Pending, savepoints: tuple[Savepoint, ...], uid: int) -> None:
        await self._executor.writing.write(store.begun(found.number, what, savepoints, time.time()))
        await self._executor.files.work(uid, do, _session(found), what, len(savepoints))

    @contextlib.asynccontextmanager
    async def committing(self, number: int, caller: Caller) -> AsyncIterator[None]:
        """Join the levels and call the checkpoint held for the time of the block, in which it is committed.

        What is still held afterwards is an open transaction again, without savepoints.
        """
        async with self._alone(number) as found:
            await self._do(found, Pending.JOIN, (), caller.uid)
            now = time.time()
            await self._executor.writing.write(
                store.done(number), rows.decided(number, CheckpointState.HELD, now, message="being committed"),
                store.step(number, now, "commit"),
            )  # fmt: skip
            try:
                yield
            finally:
                await self._executor.writing.write(store.reopened(number))

    async def shown(
        self, number: int, uid: int, form: str, reader: Submitter, paths: tuple[bytes, ...]
    ) -> tuple[str, object]:
        """What a commit would change, as of a held checkpoint (Review.shown); no command may run meanwhile."""
        async with self._alone(number) as found:
            return await self._executor.files.work(uid, _shown, _session(found), form, reader, paths)

    async def preview(self, number: int, uid: int, wish: work.Wish) -> dict[str, object]:
        """What a commit would do; changes nothing, and the savepoints stay."""
        async with self._alone(number) as found:
            return await self._executor.files.work(uid, _previewed, _session(found), wish)

    async def roll_back(self, number: int, caller: Caller, why: str, action: str = "rolled back") -> Transaction:
        """Throw all of it away."""
        async with self._alone(number) as found:
            settled = await self._executor.files.work(caller.uid, work.roll_back, _session(found), why)
            now = time.time()
            await self._executor.writing.write(
                rows.decided(number, settled.state, now, message=settled.message),
                store.done(number), store.step(number, now, "rollback"),
                self._noted(now, action, number, caller),
            )  # fmt: skip
        return self.find(number)

    # ── after a restart ──

    def recover(self) -> None:
        """Do again what was interrupted, before anybody is served. Blocking."""
        for found in self._executor.database.read(store.all_open):
            try:
                self._recover(found)
            except (CbxError, OSError) as error:
                self._executor.log("transaction not recovered", transaction=found.number, error=str(error))

    def _recover(self, found: Transaction) -> None:
        session, database = _session(found), self._executor.database
        if found.pending is not None:
            do(session, found.pending, len(found.savepoints))
            database.write(store.done(found.number)).result()
        if found.running is None:
            return
        if session.boot_id != boot_id():
            # The overlay was volatile: what a power cut left of it is for somebody to look at.
            levels.join(session)
            why = "the host went down while a command ran in it: its changes may be incomplete"
            database.write(
                rows.decided(found.number, CheckpointState.HELD, time.time(), message=f"transaction held: {why}")
            ).result()
        if found.number not in self._jobs:
            database.write(store.rested(found.number, found.running)).result()

    # ── one at a time ──

    @contextlib.asynccontextmanager
    async def _alone(self, number: int) -> AsyncIterator[Transaction]:
        """The transaction, which nobody else touches inside the block. Raises UsageError: a job works in it."""
        async with self._busy.setdefault(number, asyncio.Lock()):
            if (job := self._jobs.get(number)) is not None:
                raise NotStartedError(
                    f"cannot do that now: job {job} runs in transaction {number}",
                    hint=f"`cbx-sandbox wait {job}` waits for it",
                )
            found = self.find(number)
            _insist_open(found)
            if found.pending is not None:
                await self._executor.files.work(
                    found.checkpoint.uid, do, _session(found), found.pending, len(found.savepoints)
                )
                await self._executor.writing.write(store.done(number))
            yield found

    def _noted(self, at: float, action: str, number: int, caller: Caller, **detail: object) -> Write:
        return audit.record(at, action, f"transaction {number}", uid=caller.uid, pid=caller.pid, detail=detail)


def do(session: Session, what: Pending, number: int) -> None:
    """Do to the layers what was written down; again, if it was interrupted."""
    if what is Pending.SAVE:
        levels.save(session, number)
    elif what is Pending.BACK:
        levels.back(session, number)
    else:
        levels.join(session)


def _shown(session: Session, form: str, reader: Submitter, paths: tuple[bytes, ...]) -> tuple[str, object]:
    with trial.joined(session) as whole:
        return rendered(whole, form, reader, paths)


def _previewed(session: Session, wish: work.Wish) -> dict[str, object]:
    with trial.joined(session) as whole:
        return previewed(whole, wish)


def _session(found: Transaction) -> Session:
    if found.checkpoint.session is None:
        raise CbxError(f"cannot use transaction {found.number}: its layers are not on record")
    return Session.from_json(found.checkpoint.session)


def _insist_open(found: Transaction) -> None:
    if not found.open:
        hint = None
        if found.checkpoint.state.waits:
            hint = f"its changes are held: `cbx-sandbox checkpoint diff {found.number}`, then commit or rollback"
        raise UsageError(f"transaction {found.number} is over: it is {found.checkpoint.state.value}", hint=hint)
