"""A commit from its record on: done, finished after an interruption, or taken back; all layers or none."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cbx_sandbox.checkpoint.apply import Applier
from cbx_sandbox.checkpoint.changes import Change, Kind, split
from cbx_sandbox.checkpoint.conflicts import same_target
from cbx_sandbox.checkpoint.diff import live_root
from cbx_sandbox.checkpoint.journal import Entry, Journal
from cbx_sandbox.checkpoint.plan import Step
from cbx_sandbox.checkpoint.record import LayerWork, Record
from cbx_sandbox.checkpoint.retract import Retractor
from cbx_sandbox.checkpoint.session import Session, boot_id, change_clock, clock_offset, discard, keep_replaced
from cbx_sandbox.checkpoint.stage import StageError, Staging
from cbx_sandbox.checkpoint.survey import arriving
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files
from cbx_sandbox.linux.credentials import ROOT, Submitter, acting_as

AHEAD = 4 << 20  # bytes; less is on disk within moments under the locks, too
FEW = 32  # up to so many entries are synced one by one: syncfs waits for everybody's writes


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One layer's share, opened."""

    live_fd: int
    staging: Staging

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
            stack.enter_context(Applier(part.live_fd, part.staging.fd, rights, part.work, again=again))
            for part in parts
        ]
        with acting_as(rights):
            for applier in appliers:
                applier.run()
            for applier in appliers:
                applier.finish()


def backward(parts: Sequence[Part], submitter: Submitter, rights: Submitter = ROOT) -> None:
    """Take everything back, with the rights of ``rights``. The objects of the layers are in the stages then.

    Raises CbxError if others have put something in the way: that is left alone, and what belongs there is kept.
    """
    stuck: list[bytes] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(acting_as(rights))
        for part in reversed(parts):
            with Retractor(part.live_fd, part.staging.fd, submitter, part.work) as retractor:
                retractor.run()
            stuck += retractor.stuck
    if stuck:
        names = ", ".join(path.decode("utf-8", "backslashreplace") for path in stuck[:3])
        raise CbxError(
            f"cannot take back {names}: somebody else has put something there meanwhile",
            hint="move it away; `cbx-sandbox fsck --repair` then puts back what was there before",
        )


def sync_ahead(session: Session, changes: Sequence[Change]) -> None:
    """Put large contents of the layers on disk before the commit has its locks, so that nobody waits for the disk.

    The commit syncs once more: this decides nothing. Raises OSError: the disk reports an error.
    """
    made = [c for c in changes if c.new is not None and c.new.is_file and c.kind not in {Kind.META, Kind.RENAMED}]
    if sum(change.new.size for change in made if change.new is not None) < AHEAD:
        return
    for index in sorted({change.layer for change in made}):
        upper = os.open(session.layers[index].upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            paths = [change.path for change in made if change.layer == index]
            if len(paths) > FEW:
                files.syncfs(upper)
            else:
                _sync_entries(upper, paths)
        finally:
            os.close(upper)


def sync_layers(session: Session, steps: Sequence[tuple[int, Sequence[Step]]]) -> None:
    """Put what is to be committed on disk, where it lies. Nobody needs a lock for this. ``steps`` by layer."""
    synced: set[int] = set()
    for index, some in steps:
        layer = session.layers[index]
        upper = os.open(layer.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            device = os.fstat(upper).st_dev
            moved = [step for step in some if arriving(step)]
            trees = any(step.change.new is not None and step.change.new.is_dir for step in moved)
            if device in synced:
                continue
            if trees or len(moved) > FEW:
                files.syncfs(upper)
                synced.add(device)
            else:
                _sync_entries(upper, {step.path for step in moved})
        finally:
            os.close(upper)


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
        _sync_entries(part.live_fd, paths)
        os.fsync(part.staging.fd)


def _sync_entries(root: int, paths: Iterable[bytes]) -> None:
    with files.Cursor(root, os.O_PATH) as cursor:
        for path in sorted({*paths, *(split(path)[0] for path in paths)}):
            directory, name = split(path)
            try:
                fd = cursor.go(directory)
            except OSError as error:
                if not files.leads_elsewhere(error):
                    raise
                continue  # moved away by somebody in the meantime: no longer ours to keep
            _sync_entry(fd, name or b".")


def _sync_entry(dir_fd: int, name: bytes) -> None:
    """Put one file or directory on disk; other types have nothing of their own, and missing ones need nothing."""
    try:
        mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def finished(session: Session, parts: Sequence[Part], written: Journal, *, keep: bool, partial: bool) -> None:
    """Everything is in the live tree and on disk: say so in the journal, and remove what nobody needs.

    With ``keep`` the journal stays until session.discard: whoever keeps books writes them first. What was replaced can
    be put back as long as it lies on its own file system, and nothing of the checkpoint still waits (``partial``).
    """
    if partial:
        written.remove()
        for part in parts:
            part.staging.remove()
        return
    if not keep:
        for part in parts:
            part.staging.leave_home()
        discard(session)
        return
    undoable = not any(part.work.home for part in parts)
    written.append(Entry.DONE, clocks(parts) if undoable else {})
    for part in () if undoable else parts:
        part.staging.remove()
    keep_replaced(session)


def abandon(parts: Sequence[Part], submitter: Submitter, written: Journal) -> None:
    """Take a commit back and make the layers what they were; its journal is gone then.

    Raises OSError, CbxError: the journal stays, and the next recovery goes on.
    """
    with acting_as(ROOT):
        with contextlib.suppress(OSError):  # without it the next recovery tries to go forward, and comes here again
            written.append(Entry.ABORT)
        backward(parts, submitter)
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
