"""The layers that one job writes to: made before it starts, removed when nobody needs them."""

from __future__ import annotations

from cbx_sandbox import runner
from cbx_sandbox.box import plan as box
from cbx_sandbox.checkpoint import homes
from cbx_sandbox.checkpoint import session as sessions
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.errors import CbxError, NotStartedError
from cbx_supervisor.execution import checkpoints as work
from cbx_supervisor.execution.progress import Progress


async def begin(
    job: Progress, planned: runner.Plan, view: box.HostView, targets: list[str]
) -> tuple[Session, box.HostView]:
    """Make the layers. A mount that has no place for them yet is given one, if no running job can reach it."""
    if job.submission.uid != 0:
        job.executor.check_held(job.submission.uid)
    number, state_dir = job.executor.next_checkpoint(), job.executor.paths.state
    owner, least = job.executor.owner, job.executor.settings.retention.free_mb_min << 20
    try:
        return await _make(job, planned, view, targets, number, state_dir, owner, least), view
    except homes.UnclaimedError as found:
        job.executor.host.layers_made()  # from now on no job sees them
        claims = [mount for mount in found.mounts if job.executor.out_of_reach(mount)]
    view = await job.look()
    return await _make(job, planned, view, targets, number, state_dir, owner, least, claims), view


async def _make(job: Progress, *arguments: object) -> Session:
    try:
        return await job.look_at(work.begin, *arguments, late=sessions.discard)
    except OSError as error:
        raise CbxError(f"cannot keep the job's changes apart: {error}", hint="is the disk full?") from error


def check_targets(job: Progress) -> None:
    """The layers were begun by name: they must lie over the very directories that were locked."""
    locked = {entry.grant.path: (entry.device, entry.inode) for entry in job.locks.entries}
    for target, root in zip(job.session.targets, job.session.roots, strict=True) if job.session else ():
        if locked.get(target, (root.device, root.inode)) != (root.device, root.inode):
            raise NotStartedError(f"cannot start the job: {target} was replaced just now", hint="try again")


async def remove(job: Progress, session: Session) -> None:
    """Remove layers that nobody needs, once it is on disk that nobody does."""
    await job.executor.recorded()  # no record may speak of changes whose layers are gone
    try:
        await job.on_files(sessions.discard, session)
    except CbxError as error:
        job.executor.log("layers not removed", job=job.number, checkpoint=session.checkpoint, error=str(error))
