"""The layers that a job or a transaction writes to: made before it starts, removed when nobody needs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from cbx_sandbox import runner
from cbx_sandbox.box import plan as box
from cbx_sandbox.checkpoint import homes
from cbx_sandbox.checkpoint import session as sessions
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.errors import CbxError, NotStartedError
from cbx_sandbox.linux.mountinfo import Mount
from cbx_sandbox.policy import Identity
from cbx_supervisor.execution import checkpoints as work
from cbx_supervisor.execution.progress import Progress

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor


async def begin(
    job: Progress, planned: runner.Plan, view: box.HostView, targets: list[str]
) -> tuple[Session, box.HostView]:
    """Make the layers; those of a transaction are there already."""
    if job.submission.transaction is not None:
        return await job.executor.transactions.enter(job.submission, job.number), view
    policy = planned.policy
    redirect = not policy.overlay_all
    return await new(
        job.executor, job.submission.uid, policy.identity, view, targets, redirect_dir=redirect, look=job.look
    )


async def new(
    executor: Executor,
    uid: int,
    identity: Identity,
    view: box.HostView,
    targets: list[str],
    *,
    redirect_dir: bool,
    look: Callable[[], Awaitable[box.HostView]],
) -> tuple[Session, box.HostView]:
    """Make layers for what ``uid`` submitted; with the view of the host that knows of them.

    A mount that has no place for them yet is given one, if no running job can reach it; ``look`` has the host looked at
    again then. Raises NotStartedError: no room, or too much is held already; CbxError.
    """
    if uid != 0:
        executor.check_held(uid)
    number = executor.next_checkpoint()

    async def make(view: box.HostView, claims: Sequence[Mount] | None) -> Session:
        owner, least = executor.owner, executor.settings.retention.free_mb_min << 20
        arguments = (identity, view, targets, number, executor.paths.state, owner, least, redirect_dir, claims)
        try:
            return await executor.files.look(uid, work.begin, *arguments, late=sessions.discard)
        except OSError as error:
            raise CbxError(f"cannot keep the job's changes apart: {error}", hint="is the disk full?") from error

    try:
        return await make(view, None), view
    except homes.UnclaimedError as found:
        executor.host.layers_made()  # from now on no job sees them
        claims = [mount for mount in found.mounts if executor.out_of_reach(mount)]
    view = await look()
    return await make(view, claims), view


def check_targets(job: Progress) -> None:
    """The layers were begun by name: they must lie over the very directories that were locked."""
    locked = {entry.grant.path: (entry.device, entry.inode) for entry in job.locks.entries}
    for target, root in zip(job.session.targets, job.session.roots, strict=True) if job.session else ():
        if locked.get(target, (root.device, root.inode)) != (root.device, root.inode):
            raise NotStartedError(f"cannot start the job: {target} was replaced just now", hint="try again")


async def remove(job: Progress, session: Session) -> None:
    """Remove layers that nobody needs, once it is on disk that nobody does."""
    await job.executor.writing.recorded()  # no record may speak of changes whose layers are gone
    try:
        await job.on_files(sessions.discard, session)
    except CbxError as error:
        job.executor.log("layers not removed", job=job.number, checkpoint=session.checkpoint, error=str(error))
