"""A job's overlays: made before it starts, and decided on after it has ended. Blocking: called in worker threads."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Sequence

from cbx_sandbox import lockset, runner
from cbx_sandbox.box import plan as box
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.checkpoint import ahead, bases, homes, inplace, leftovers, listing, recover
from cbx_sandbox.checkpoint import layers as layer_store
from cbx_sandbox.checkpoint import session as sessions
from cbx_sandbox.checkpoint.apply import explain
from cbx_sandbox.checkpoint.changes import Change, Kind, Summary, absolute, live_path, summarise
from cbx_sandbox.checkpoint.commit import CommitResult, commit
from cbx_sandbox.checkpoint.diff import diff
from cbx_sandbox.checkpoint.parting import Apart
from cbx_sandbox.checkpoint.resolve import OnConflict
from cbx_sandbox.checkpoint.select import EVERYTHING, Selection
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.errors import CbxError, ConflictError
from cbx_sandbox.linux.credentials import Submitter
from cbx_sandbox.linux.mountinfo import Mount
from cbx_sandbox.policy import Identity
from cbx_sandbox.shell.observation import Observation, compare
from cbx_supervisor.execution.outcome import printable
from cbx_supervisor.model.checkpoint import CheckpointState
from cbx_supervisor.model.result import Changes
from cbx_supervisor.model.retention import check_room

SMALL, SMALL_SHARE = 1 << 30, 10  # of a file system of less than that many bytes, no more than a tenth need be free


def begin(
    identity: Identity,
    view: box.HostView,
    targets: list[str],
    number: int,
    state_dir: str,
    owner: bytes,
    least_free: int,
    redirect_dir: bool,
    claims: Sequence[Mount] | None = None,
) -> Session:
    """Make the layers of one job or transaction. Leaves nothing behind when it fails.

    Raises NotStartedError if less than ``least_free`` bytes, or a tenth of a small file system, are free where they go.
    Raises homes.UnclaimedError if ``claims`` is None and directories for layers were made: call again with those that
    no running job can reach. The layers of others go to the state directory.
    """
    unclaimed = homes.fresh(targets, state_dir, view.mounts)
    if unclaimed and claims is None:
        raise homes.UnclaimedError(unclaimed)
    for mount in claims or ():
        homes.claim(mount, state_dir)
    placed = layer_store.place(
        targets,
        state_dir,
        view.mounts,
        checkpoint=number,
        redirect_dir=redirect_dir,
    )
    for directory in {os.path.dirname(os.path.dirname(layer.root)) for layer in placed}:
        room = os.statvfs(directory)
        whole = room.f_blocks * room.f_frsize
        # A small file system, as a memory one may be, is not asked for more than a part of itself.
        least = least_free if whole >= SMALL else min(least_free, whole // SMALL_SHARE)
        check_room(directory, room.f_bavail * room.f_frsize, least)
    try:
        leftovers.make(placed, owner)
        for layer in placed:
            layer_store.create(layer)
        return sessions.begin(placed, Submitter(identity.uid, identity.gid, identity.groups), checkpoint=number)
    except BaseException:
        for layer in placed:
            with contextlib.suppress(OSError):
                layer_store.remove(layer)
        raise


def places(session: Session, saved: int = 0) -> list[box.OverlayPlace]:
    """The overlays to mount, over so many ``saved`` levels."""
    return [box.OverlayPlace(layer.target, layer.root, layer.redirect_dir, saved) for layer in session.layers]


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a job changed, and what is to become of it."""

    changes: list[Change]
    summary: Summary
    fate: runner.Fate
    why: str
    seen: Observation
    gone: tuple[str, ...] = ()  # directories whose changes went with their file systems
    in_place: bool = False  # a commit would write into files that somebody goes on with
    ahead: ahead.Ahead = dataclasses.field(default_factory=ahead.Ahead)  # to be closed when it is decided

    @property
    def empty(self) -> bool:
        """True if it changed nothing, as far as anybody can know."""
        return self.summary.empty and not self.gone


def look(planned: runner.Plan, session: Session, outcome: Outcome) -> Found:
    """Read the layers and decide."""
    changes = diff(session)
    targets = session.targets
    changed = [os.fsdecode(live_path(change, targets)) for change in changes if not change.implied]
    fate, why = runner.decide(planned, outcome, changed)
    home = planned.request.identity.home
    seen = compare(
        lockset.writes(planned.analysis.effects.paths),
        (*changed, *_moved_away(changes, targets)),
        lambda directory: lockset.shared(directory, home),
    )
    # Before the locks are asked for: readers need not wait for the disk.
    prepared = ahead.prepare(session, changes) if fate is runner.Fate.COMMIT else ahead.Ahead()
    in_place = fate is runner.Fate.COMMIT and inplace.expected(session, changes)
    return Found(changes, summarise(changes), fate, why, seen, sessions.gone(session), in_place, prepared)


def _moved_away(changes: list[Change], targets: Sequence[str]) -> list[str]:
    """Where what was renamed has been: it is no longer there."""
    renamed = [change for change in changes if change.kind is Kind.RENAMED and change.source is not None]
    return [os.fsdecode(absolute(change.live, targets[change.layer])) for change in renamed]


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """What became of a checkpoint."""

    state: CheckpointState
    changes: Changes | None
    message: str
    left: bool = False  # its layers are no longer needed, and still there
    listing: bytes | None = None  # what is in the live tree now
    partly: bool = False  # what was selected is committed, the rest is still held
    parted: Session | None = None  # partly: the checkpoint that what was committed has become
    done: Changes | None = None  # partly: how much that is
    seen: Observation | None = None  # its changes held against the prediction


def as_changes(summary: Summary) -> Changes:
    """Counts, for the result."""
    return Changes(summary.added, summary.changed, summary.deleted, summary.bytes)


def roll_back(session: Session, why: str) -> Settled:
    """Throw the changes away. Raises CbxError: a commit of them has begun, and is not over."""
    recover.refuse_unfinished(session)
    sessions.discard(session)
    return Settled(CheckpointState.ROLLED_BACK, None, f"changes rolled back: {why}")


def rolled_back(found: Found) -> Settled:
    """Call the changes rolled back; the layers are removed when the caller was told, who need not wait for that."""
    if found.empty:
        return Settled(CheckpointState.EMPTY, as_changes(found.summary), "nothing was changed", left=True)
    text = f"changes rolled back: {found.why}"
    return Settled(CheckpointState.ROLLED_BACK, as_changes(found.summary), text, left=True)


def hold(
    session: Session,
    changes: Sequence[Change] | None,
    why: str,
    state: CheckpointState = CheckpointState.HELD,
) -> Settled:
    """Keep the changes, and what a later merge needs; on disk before anybody is told so."""
    if changes is not None:
        with contextlib.suppress(OSError):  # without it, what others change meanwhile cannot be merged
            bases.keep(session, changes)
    sessions.sync(session)
    number = session.checkpoint
    if lost := sessions.gone(session):
        why += f"; what was changed on {', '.join(map(printable, lost))} went with its file system"
    hint = f"`cbx-sandbox checkpoint diff {number}`, then commit or rollback"
    counts = None if changes is None else as_changes(summarise(changes))
    return Settled(state, counts, f"changes held as checkpoint {number}: {why} ({hint})")


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """How somebody wants a commit."""

    allow_privileged: bool = False
    on_conflict: OnConflict = OnConflict.ABORT
    paths: tuple[tuple[bytes, OnConflict], ...] = ()  # for conflicts there and beneath
    selection: Selection = EVERYTHING
    in_place: tuple[bytes, ...] = ()  # files there and beneath keep their inodes
    unasked: bool = True  # also what somebody goes on with: no job reads beside the commit


def apply(
    session: Session,
    changes: list[Change] | None,
    rights: Submitter,
    wish: Wish,
    prepared: ahead.Ahead,
    apart: Apart | None = None,
) -> Settled:
    """Commit; whatever keeps it from that holds it. Of a part, the commit becomes the checkpoint ``apart``."""
    try:
        result = commit(
            session,
            changes,
            rights,
            allow_privileged=wish.allow_privileged,
            on_conflict=wish.on_conflict,
            paths=wish.paths,
            selection=wish.selection,
            keep=True,
            copies=prepared.copies,
            in_place=wish.in_place,
            unasked=wish.unasked,
            apart=apart,
        )
    except ConflictError as error:
        return hold(session, None, error.brief, CheckpointState.CONFLICT)
    except CbxError as error:
        return hold(session, changes, str(error))
    except OSError as error:
        return hold(session, changes, f"the commit failed: {_in_words(error)}")
    state = CheckpointState(result.state.value)
    if state is CheckpointState.CONFLICT:
        return hold(session, changes, f"others changed the same paths ({describe(session, result)})", state)
    counts = as_changes(result.summary)
    notes = "".join(f"; {note}" for note in result.notes[:3])
    if state is CheckpointState.EMPTY:
        return Settled(state, counts, "nothing was changed")
    number = counts.added + counts.changed + counts.deleted
    said = f"{number} change{'' if number == 1 else 's'} committed{notes}"
    made = listing.dump(result.made, session.targets)
    if state is CheckpointState.HELD:
        where = "" if result.parted is None else f" as checkpoint {result.parted.checkpoint}"
        rest = hold(session, result.left, f"{said}{where}, the rest was not selected")
        return dataclasses.replace(rest, partly=True, parted=result.parted, done=counts, listing=made)
    return Settled(state, counts, said, listing=made)


def _in_words(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"no room is left where the changes are kept ({explain(error)}): free some, then commit again"
    return explain(error)


def describe(session: Session, result: CommitResult, most: int = 3) -> str:
    """The conflicts that nobody has decided, for one line."""
    decided = {d.conflict for d in result.decisions if d.choice is not OnConflict.ABORT}
    left = [conflict for conflict in result.conflicts if conflict not in decided]
    why = {d.conflict: d.why for d in result.decisions}
    first = [
        f"{printable(os.fsdecode(absolute(c.path, session.targets[c.layer])))}: {c.reason}"
        + (f"; {why[c]}" if why.get(c) else "")
        for c in left[:most]
    ]
    return "; ".join([*first, *([f"and {len(left) - most} more"] if len(left) > most else [])])


def commit_directories(session: Session, changes: list[Change], limit: int = 64) -> list[str]:
    """The existing directories in which a commit of ``changes`` writes: at most ``limit``, else their targets."""
    found = set()
    for change in changes:
        path = os.fsdecode(live_path(change, session.targets))
        parent = os.path.dirname(path)
        while not os.path.isdir(parent) or os.path.islink(parent):
            parent = os.path.dirname(parent)
        found.add(os.path.realpath(parent))
    outermost = {p for p in found if not any(p != o and p.startswith(o.rstrip("/") + "/") for o in found)}
    return sorted(outermost) if len(outermost) <= limit else sorted(session.targets)
