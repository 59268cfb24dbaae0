"""What becomes of a job's changes when it has ended: committed under their locks, held, or rolled back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from cbx_sandbox import runner
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.errors import NotStartedError
from cbx_sandbox.linux.credentials import Submitter
from cbx_sandbox.policy import Grant, LockMode
from cbx_supervisor.execution import checkpoints as work
from cbx_supervisor.execution import lockset
from cbx_supervisor.model.checkpoint import CheckpointState
from cbx_supervisor.scheduling.locks import Blocked

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor

T = TypeVar("T")
P = ParamSpec("P")


async def settle(planned: runner.Plan, session: Session, ended: Outcome | None, commit: Commit) -> work.Settled:
    """Decide and do it. Never raises: what cannot be decided or done is held."""
    try:
        return await _settle(planned, session, ended, commit)
    except Exception as error:  # noqa: BLE001  # also a bug of ours must not cost anybody their changes
        commit.executor.log("not settled", checkpoint=session.checkpoint, error=repr(error))
        message = f"changes kept as checkpoint {session.checkpoint}: {error}"
        return work.Settled(CheckpointState.HELD, None, message)


async def _settle(planned: runner.Plan, session: Session, ended: Outcome | None, commit: Commit) -> work.Settled:
    if ended is None:
        return await commit.on_files(work.hold, session, None, "the job was lost")
    if ended["reason"] == "not-started":
        return await commit.on_files(work.roll_back, session, "the command was not started")
    found = await commit.on_files(work.look, planned, session, ended)
    with found.ahead:
        return dataclasses.replace(await _decide(planned, session, commit, found), seen=found.seen)


async def _decide(planned: runner.Plan, session: Session, commit: Commit, found: work.Found) -> work.Settled:
    suspect = commit.executor.incidents.had(commit.owner)
    if found.empty or (found.fate is runner.Fate.ROLL_BACK and not suspect):
        return work.rolled_back(found)
    if suspect:
        return await commit.on_files(work.hold, session, found.changes, "it had an incident")
    if found.fate is runner.Fate.HOLD:
        return await commit.on_files(work.hold, session, found.changes, found.why)
    if not await commit.lock(planned, session, found):
        why = f"its locks were not free for {commit.patience:g} s"
        return await commit.on_files(work.hold, session, found.changes, why)
    who = planned.policy.identity
    rights = Submitter(who.uid, who.gid, who.groups)
    # Who opens a file for writing after the look does not make it written in place beside readers: it is exchanged.
    alone = found.in_place or planned.policy.overlay_all
    wish = work.Wish(allow_privileged=planned.policy.allow_privileged, unasked=alone)
    return await commit.on_files(work.apply, session, found.changes, rights, wish, found.ahead)


class Commit:
    """The locks of one job on their way to a commit. ``locks`` may be another set afterwards."""

    def __init__(self, executor: Executor, owner: int, uid: int, locks: lockset.LockSet) -> None:
        self.executor = executor
        self.owner = owner
        self.uid = uid
        self.locks = locks
        self.patience = executor.settings.timeouts.lock_acquisition_timeout_seconds

    async def on_files(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Work on files for this job's submitter."""
        return await self.executor.files.work(self.uid, function, *args, **kwargs)

    async def lock(self, planned: runner.Plan, session: Session, found: work.Found) -> bool:
        """Get X on what the commit writes; False if that took too long."""
        locks, grace = self.executor.admission, self.executor.settings.timeouts.commit_reader_grace_seconds
        if not planned.policy.overlay_all:
            keys = [key for key, mode in self.locks.wants if mode is LockMode.U]
            # Who reads what is written in place would see it half done.
            wait = None if found.in_place else grace
            return await locks.upgrade(self.owner, keys, patience=self.patience, reader_grace=wait)
        # It wrote anywhere, so what it has to lock is known only now; the conflict clock covers the gap.
        directories = await self.on_files(work.commit_directories, session, found.changes)
        locks.release(self.owner)
        self.locks.close()
        try:
            grants = [Grant(path, LockMode.X, overlay=False) for path in directories]
            table = self.executor.host.table
            self.locks = await self.executor.files.look(
                self.uid, lockset.resolve, grants, table, late=lockset.LockSet.close
            )
        except (OSError, NotStartedError):
            self.locks = lockset.LockSet(())
            return False
        if not isinstance(locks.request(self.owner, self.locks.wants), Blocked):
            return True
        return await locks.granted(self.owner, patience=self.patience) is None
