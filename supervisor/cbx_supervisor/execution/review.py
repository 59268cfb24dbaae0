"""Held checkpoints: shown, committed, rolled back; one decision at a time for each."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.checkpoint import history, listing, recover, render, select
from cbx_sandbox.checkpoint import session as sessions
from cbx_sandbox.checkpoint import undo as undoing
from cbx_sandbox.checkpoint.ahead import prepare
from cbx_sandbox.checkpoint.apply import explain
from cbx_sandbox.checkpoint.changes import Change
from cbx_sandbox.checkpoint.commit import preview
from cbx_sandbox.checkpoint.diff import diff
from cbx_sandbox.checkpoint.parting import Apart
from cbx_sandbox.checkpoint.session import Session, gone
from cbx_sandbox.errors import CbxError, ConflictError, NotStartedError, UsageError
from cbx_sandbox.linux.credentials import Submitter
from cbx_sandbox.policy import Grant, LockMode
from cbx_supervisor.execution import checkpoints as work
from cbx_supervisor.execution import lockset
from cbx_supervisor.execution.outcome import printable
from cbx_supervisor.execution.waits import describe_blockers
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.model.result import Changes
from cbx_supervisor.scheduling.locks import Blocked
from cbx_supervisor.store import audit
from cbx_supervisor.store import checkpoints as rows

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor

MOST_UNDONE = 1000  # of the latest undos, looked at before another one
MOST_TOLD = 5  # directories that are named in an error


class Review:
    """Decisions on held checkpoints. Who asks is checked by the caller of these."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self._busy: dict[int, asyncio.Lock] = {}

    async def shown(
        self, checkpoint: Checkpoint, form: str, reader: Submitter, paths: tuple[bytes, ...] = ()
    ) -> tuple[str, object]:
        """The change set, at ``paths`` and beneath only if there are any, as ("text", text) or ("json", values).

        Of a committed one, what was written down about it: without the contents of files.
        """
        async with self._alone(checkpoint.id):
            found = self._again(checkpoint.id)
            if found.state is CheckpointState.COMMITTED:
                kept = self.executor.database.read(lambda connection: rows.listing(connection, found.id))
                if kept is None:
                    raise UsageError(f"cannot show checkpoint {found.id}: what it committed was not written down")
                return await self.executor.files.work(reader.uid, _remembered, kept, form, paths)
            return await self.executor.files.work(reader.uid, rendered, _session(found), form, reader, paths)

    async def preview(self, checkpoint: Checkpoint, *, uid: int, wish: work.Wish) -> dict[str, object]:
        """What a commit would do, as plain values. Changes nothing, and takes no locks."""
        async with self._alone(checkpoint.id):
            found = self._again(checkpoint.id)
            history.follow(history.State(found.state.value), history.State.COMMITTED, found.id)
            return await self.executor.files.work(uid, previewed, _session(found), wish)

    async def commit(self, checkpoint: Checkpoint, *, uid: int, pid: int, wish: work.Wish) -> Checkpoint:
        """Make the changes real. Raises ConflictError, DeniedError, NotStartedError (locked by others for too long)."""
        async with self._alone(checkpoint.id):
            found = self._again(checkpoint.id)
            history.follow(history.State(found.state.value), history.State.COMMITTED, found.id)
            session = _session(found)
            changes = await self.executor.files.work(uid, diff, session)
            selected, _ = select.choose(changes, session.targets, wish.selection)
            directories = await self.executor.files.work(uid, work.commit_directories, session, selected)
            with await self.executor.files.work(uid, prepare, session, selected) as ahead:
                locks = await self._lock(-found.id, uid, directories)
                whole = wish.selection == select.EVERYTHING
                apart = None if whole else Apart(self.executor.next_checkpoint(), self.executor.owner)
                try:
                    settled = await self.executor.files.work(
                        uid, work.apply, session, changes, session.submitter, wish, ahead, apart
                    )
                    decided = await self._decide(found, settled, uid, pid, "committed")
                finally:
                    self.executor.admission.release(-found.id)
                    locks.close()
        if settled.state is CheckpointState.CONFLICT:
            raise ConflictError(
                f"cannot commit checkpoint {found.id}: others changed the same paths",
                details=settled.message,
                hint="--on-conflict and --resolve decide, `checkpoint rollback` throws the changes away",
            )
        if not (settled.state.final or settled.partly):
            raise CbxError(f"cannot commit checkpoint {found.id}", details=settled.message)
        return decided

    async def roll_back(self, checkpoint: Checkpoint, *, uid: int, pid: int) -> Checkpoint:
        """Throw the changes away."""
        async with self._alone(checkpoint.id):
            found = self._again(checkpoint.id)
            history.follow(history.State(found.state.value), history.State.ROLLED_BACK, found.id)
            if found.state is CheckpointState.ROLLED_BACK:
                return found
            settled = await self.executor.files.work(uid, work.roll_back, _session(found), "as asked")
            return await self._decide(found, settled, uid, pid, "rolled back")

    async def undo(self, checkpoint: Checkpoint, *, uid: int, pid: int, again: bool = False) -> Checkpoint:
        """Take a commit back, or do it ``again`` after that. Raises ConflictError: what it made was changed."""
        wanted = CheckpointState.COMMITTED if again else CheckpointState.UNDONE
        needed = CheckpointState.UNDONE if again else CheckpointState.COMMITTED
        async with self._alone(checkpoint.id):
            found = self._again(checkpoint.id)
            if found.state is not needed or found.session is None:
                verb = "redo" if again else "undo"
                raise UsageError(f"cannot {verb} checkpoint {found.id}: it is {found.state.value}")
            session = Session.from_json(found.session)
            directories = await self.executor.files.work(uid, undoing.touched, session)
            locks = await self._lock(-found.id, uid, directories)
            try:
                if again:
                    await self.executor.files.work(uid, undoing.redo, session)
                else:
                    await self.executor.files.work(uid, _undone, session, self._undone_sessions())
                settled = work.Settled(wanted, None, "done again" if again else "undone: what it had replaced is back")
                return await self._decide(found, settled, uid, pid, "redone" if again else "undone")
            finally:
                self.executor.admission.release(-found.id)
                locks.close()

    def _undone_sessions(self) -> list[Session]:
        choice = rows.Choice(states=(CheckpointState.UNDONE.value,))
        undone = self.executor.database.read(lambda connection: rows.listed(connection, choice, limit=MOST_UNDONE))
        return [Session.from_json(found.session) for found in undone if found.session is not None]

    async def expire(self, checkpoint: Checkpoint, why: str, *, still: Callable[[Checkpoint], bool]) -> None:
        """Roll back what nobody decided on, if that is ``still`` so when its turn comes."""
        async with self._alone(checkpoint.id):
            found = self._again(checkpoint.id)
            if still(found):
                settled = await self.executor.files.work(0, work.roll_back, _session(found), why)
                await self._decide(found, settled, 0, os.getpid(), "expired")

    async def mark(
        self, checkpoint: Checkpoint, *, uid: int, pid: int, pinned: bool | None, label: str | None
    ) -> Checkpoint:
        """Pin, unpin or label a checkpoint; None leaves what is there."""
        async with self._alone(checkpoint.id):
            found = self._again(checkpoint.id)
            detail = {"job": found.job, "pinned": pinned, "label": label}
            await self.executor.writing.write(
                rows.marked(found.id, pinned=pinned, label=label),
                audit.record(time.time(), "marked", f"checkpoint {found.id}", uid=uid, pid=pid, detail=detail),
            )
            return self._again(found.id)

    async def remove(self, checkpoint: Checkpoint, *, uid: int, pid: int) -> None:
        """Forget one that is decided on, and what it replaced, which is undone no more. Raises UsageError."""
        async with self._alone(checkpoint.id):
            found = self._again(checkpoint.id)
            if not found.state.final:
                raise UsageError(
                    f"cannot remove checkpoint {found.id}: it is {found.state.value}",
                    hint="commit it or roll it back first",
                )
            if found.session is not None:
                await self.executor.files.work(uid, _forgotten, Session.from_json(found.session))
            detail = {"job": found.job, "state": found.state.value}
            await self.executor.writing.write(
                rows.removed(found.id),
                audit.record(time.time(), "removed", f"checkpoint {found.id}", uid=uid, pid=pid, detail=detail),
            )

    def _alone(self, number: int) -> asyncio.Lock:
        return self._busy.setdefault(number, asyncio.Lock())

    def _again(self, number: int) -> Checkpoint:
        found = self.executor.database.read(lambda connection: rows.find(connection, number))
        if found is None:
            raise UsageError(f"there is no checkpoint {number}")
        if found.state is CheckpointState.OPEN:
            raise UsageError(f"cannot use checkpoint {number}: its job {found.job} still runs", hint="wait for it")
        return found

    async def _lock(self, owner: int, uid: int, directories: list[str]) -> lockset.LockSet:
        patience = self.executor.settings.timeouts.lock_acquisition_timeout_seconds
        grants = [Grant(path, LockMode.X, overlay=False) for path in directories]
        table = self.executor.host.table
        try:
            locks = await self.executor.files.look(uid, lockset.resolve, grants, table, late=lockset.LockSet.close)
        except OSError as error:
            raise ConflictError(
                f"cannot lock the directories of checkpoint {-owner}: {explain(error)}",
                details="\n".join(directories[:MOST_TOLD]),
                hint="put back what is missing, then try again",
            ) from error
        if isinstance(self.executor.admission.request(owner, locks.wants), Blocked):
            left = await self.executor.admission.granted(owner, patience=patience)
            if left is not None:
                locks.close()
                raise NotStartedError(
                    f"cannot commit now: its directories were not free for {patience:g} s",
                    details=describe_blockers(left),
                    hint="the checkpoint is kept; try again when that job has ended",
                )
        return locks

    async def _decide(self, found: Checkpoint, settled: work.Settled, uid: int, pid: int, action: str) -> Checkpoint:
        now = time.time()
        detail = {"job": found.job, "outcome": settled.state.value}
        parts = []
        if settled.parted is not None:
            # What was committed is a checkpoint of its own from here on: this one has the rest.
            detail["part"] = settled.parted.checkpoint
            part = replace(
                found, id=settled.parted.checkpoint, session=settled.parted.to_json(), pinned=False, label=""
            )
            done, text = _counts(settled.done), f"a part of checkpoint {found.id}"
            parts = [
                rows.insert(part),
                rows.decided(
                    part.id, CheckpointState.COMMITTED, now, changes=done, message=text, listing=settled.listing, by=uid
                ),
            ]
        await self.executor.writing.write(
            *parts,
            rows.decided(
                found.id,
                settled.state,
                now,
                changes=_counts(settled.changes),
                message=settled.message,
                listing=None if parts else settled.listing,
                by=uid,
            ),
            audit.record(now, action, f"checkpoint {found.id}", uid=uid, pid=pid, detail=detail),
        )
        return self.executor.database.read(lambda connection: rows.find(connection, found.id)) or found


def _counts(changes: Changes | None) -> dict[str, int] | None:
    return (
        None if changes is None else {name: getattr(changes, name) for name in ("added", "changed", "deleted", "bytes")}
    )


def _undone(session: Session, later: list[Session]) -> None:
    undoing.undo(session, undoing.custody(later))


def _forgotten(session: Session) -> None:
    recover.refuse_unfinished(session)
    sessions.discard(session)


def _session(found: Checkpoint) -> Session:
    if found.session is None:
        raise CbxError(f"cannot use checkpoint {found.id}: its layers are not on record")
    if found.state.final:
        raise UsageError(f"checkpoint {found.id} was {found.state.value}: its changes are not kept apart any more")
    return Session.from_json(found.session)


def previewed(session: Session, wish: work.Wish) -> dict[str, object]:
    """What a commit would do, as plain values. Blocking."""
    found = preview(
        session,
        allow_privileged=wish.allow_privileged,
        on_conflict=wish.on_conflict,
        paths=wish.paths,
        selection=wish.selection,
    )
    return render.as_preview(found, session)


def rendered(session: Session, form: str, reader: Submitter, paths: tuple[bytes, ...]) -> tuple[str, object]:
    """The changes in one of the forms, of what ``reader`` may read. Blocking."""
    changes = select.at(diff(session, leaves=True), session.targets, paths)
    lost = "".join(f"({printable(t)}: its changes went with its file system)\n" for t in gone(session))
    if form == "text":
        return "text", render.as_text(session, changes, reader) + lost
    return _in_form(changes, session.targets, form, lost)


def _remembered(kept: bytes, form: str, paths: tuple[bytes, ...]) -> tuple[str, object]:
    changes, targets, more = listing.load(kept)
    rest = f"(and {more} more changes, which were not written down)\n" if more else ""
    return _in_form(select.at(changes, targets, paths), targets, "list" if form == "text" else form, rest)


def _in_form(changes: Sequence[Change], targets: Sequence[str], form: str, rest: str) -> tuple[str, object]:
    plain: dict[str, Callable[..., str]] = {
        "list": render.as_list,
        "tree": render.as_tree,
        "stat": render.stat,
        "name-status": render.name_status,
    }
    if form == "json":
        return "json", render.as_json(changes, targets)
    if form not in plain:
        raise UsageError(f"no such format: {form}", hint=f"known: text, json, {', '.join(plain)}")
    return "text", plain[form](changes, targets) + (rest if form != "name-status" else "")
