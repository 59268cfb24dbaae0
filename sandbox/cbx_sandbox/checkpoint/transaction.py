"""A commit from its record on: done, finished after an interruption, or taken back; all layers or none."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

from cbx_sandbox.checkpoint import parting
from cbx_sandbox.checkpoint.apply import Applier
from cbx_sandbox.checkpoint.changes import Change
from cbx_sandbox.checkpoint.conflicts import same_target
from cbx_sandbox.checkpoint.diff import live_root
from cbx_sandbox.checkpoint.journal import Entry, Journal
from cbx_sandbox.checkpoint.parting import Apart
from cbx_sandbox.checkpoint.record import LayerWork, Record
from cbx_sandbox.checkpoint.retract import Retractor
from cbx_sandbox.checkpoint.session import Session, boot_id, change_clock, clock_offset, discard, keep_replaced
from cbx_sandbox.checkpoint.stage import StageError, Staging
from cbx_sandbox.checkpoint.syncing import FEW, sync_entries
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files
from cbx_sandbox.linux.credentials import ROOT, Submitter, acting_as


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One layer's share, opened."""

    live_fd: int
    staging: Staging
    begun: set[int] = dataclasses.field(default_factory=set)  # slots of files that this process has written in place

    @property
    def work(self) -> LayerWork:
        """What is to be done; complete when the stage was made or found."""
        return self.staging.work


@contextlib.contextmanager
def opened(session: Session, record: Record) -> Iterator[list[Part]]:
    """The parts of a commit that was begun earlier. Raises StageError: one of them is out of reach now."""
    with contextlib.ExitStack() as stack:
        parts = []
        for work in record.layers:
            layer = session.layers[work.index]
            live_fd = stack.enter_context(live_root(session, work.index))
            if not same_target(session, work.index, live_fd):
                raise StageError(f"cannot reach {layer.target}: it is not the directory that it was")
            staging = stack.enter_context(Staging(layer, live_fd, record.rights, work))
            staging.find()
            parts.append(Part(live_fd, staging))
        yield parts


def forward(parts: Sequence[Part], rights: Submitter, *, again: bool = False, staged: bool = False) -> None:
    """Make everything real. ``again`` after an interruption; ``staged`` if the layers are gone, and the stage is full.

    Raises RacedError, OSError: take it back then.
    """
    if not staged:
        for part in parts:
            part.staging.fill(again=again)
    with contextlib.ExitStack() as stack:
        appliers = [
            stack.enter_context(Applier(part.live_fd, part.staging.fd, rights, part.work, part.begun, again=again))
            for part in parts
        ]
        with acting_as(rights):
            for applier in appliers:
                applier.run()
            for applier in appliers:
                applier.cut()
            for applier in appliers:
                applier.finish()


def backward(parts: Sequence[Part], submitter: Submitter, rights: Submitter = ROOT, *, own: bool = False) -> None:
    """Take everything back, with the rights of ``rights``. The objects of the layers are in the stages then.

    ``own``: no other process than this one has done any of it.

    Raises CbxError if others have put something in the way: that is left alone, and what belongs there is kept.
    """
    stuck: list[bytes] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(acting_as(rights))
        for part in reversed(parts):
            begun = part.begun if own else None
            with Retractor(part.live_fd, part.staging.fd, submitter, part.work, begun) as retractor:
                retractor.run()
            stuck += retractor.stuck
    if stuck:
        names = ", ".join(path.decode("utf-8", "backslashreplace") for path in stuck[:3])
        raise CbxError(
            f"cannot take back {names}: somebody else has put something there meanwhile",
            hint="move it away; `cbx-sandbox fsck --repair` then puts back what was there before",
        )


def sync(parts: Sequence[Part]) -> None:
    """Put what was done on disk."""
    synced: set[int] = set()
    for part in parts:
        device = os.fstat(part.live_fd).st_dev
        paths = {step.path for step in part.work.steps}
        if device in synced:
            continue
        if len(paths) > FEW or part.work.home:
            files.syncfs(part.staging.fd)
            synced.add(device)
            continue
        sync_entries(part.live_fd, paths)
        os.fsync(part.staging.fd)


def finished(
    session: Session,
    parts: Sequence[Part],
    written: Journal,
    *,
    keep: bool,
    partial: Sequence[Change] | None = None,
    apart: Apart | None = None,
) -> Session | None:
    """Everything is in the live tree and on disk: say so in the journal, and remove what nobody needs.

    With ``keep`` the journal stays until session.discard: whoever keeps books writes them first. What was replaced can
    be put back as long as it lies on its own file system. If something of the checkpoint still waits, ``partial`` is
    what does not: it goes from the layers and becomes the checkpoint ``apart``, which is returned; without that it is
    removed.
    """
    undoable = not any(part.work.home for part in parts)
    if partial is not None:
        written.append(Entry.DONE, clocks(parts))
        parted = None
        if undoable and apart is not None:
            with contextlib.suppress(OSError):  # no room for it: it is committed, and cannot be undone
                parted = parting.part(session, [part.work.index for part in parts], apart)
        for part in parts if parted is None else ():
            part.staging.remove()
        parting.clear(session, partial)
        if parted is None:
            written.remove()  # last: it is what says that there is something to clear
        return parted
    if not keep:
        for part in parts:
            part.staging.leave_home()
        discard(session)
        return None
    written.append(Entry.DONE, clocks(parts) if undoable else {})
    for part in () if undoable else parts:
        part.staging.remove()
    keep_replaced(session)
    return None


def abandon(parts: Sequence[Part], submitter: Submitter, written: Journal, *, own: bool = False) -> None:
    """Take a commit back and make the layers what they were; its journal is gone then. ``own`` as for backward.

    Raises OSError, CbxError: the journal stays, and the next recovery goes on.
    """
    with acting_as(ROOT):
        with contextlib.suppress(OSError):  # without it the next recovery tries to go forward, and comes here again
            written.append(Entry.ABORT)
        backward(parts, submitter, own=own)
        for part in parts:
            part.staging.empty()
        sync_all(parts)
        written.remove()


def sync_all(parts: Sequence[Part]) -> None:
    """Put both sides of all parts on disk."""
    for part in parts:
        files.syncfs(part.staging.fd)
        if not part.staging.layer.same_filesystem:
            upper = os.open(part.staging.layer.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                files.syncfs(upper)
            finally:
                os.close(upper)


def clocks(parts: Sequence[Part]) -> dict[str, Any]:
    """What tells later changes from the commit's own: for the record that says that it is done."""
    return {
        "boot_id": boot_id(),
        "clock_offset_ns": clock_offset(),
        "clocks": [[part.work.index, change_clock(part.staging.fd)] for part in parts],
    }
