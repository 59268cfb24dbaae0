"""Make a job's changes in the live tree: checked as a whole first, each step with the submitter's own rights."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence

from cbx_sandbox.checkpoint import homes, journal, transaction
from cbx_sandbox.checkpoint.ahead import Copies
from cbx_sandbox.checkpoint.apply import REFUSALS, explain
from cbx_sandbox.checkpoint.changes import Change, Kind, Meta, Summary, live_path, split, summarise
from cbx_sandbox.checkpoint.conflicts import Conflict, same_target
from cbx_sandbox.checkpoint.diff import diff, live_root
from cbx_sandbox.checkpoint.history import State
from cbx_sandbox.checkpoint.places import RacedError
from cbx_sandbox.checkpoint.plan import links_inside, plan, printable
from cbx_sandbox.checkpoint.record import Record
from cbx_sandbox.checkpoint.recover import refuse_unfinished
from cbx_sandbox.checkpoint.resolve import Decision, OnConflict, Resolution, resolved
from cbx_sandbox.checkpoint.select import EVERYTHING, Selection, choose
from cbx_sandbox.checkpoint.session import Session, discard, gone
from cbx_sandbox.checkpoint.stage import Staging
from cbx_sandbox.checkpoint.survey import survey
from cbx_sandbox.errors import CbxError, DeniedError
from cbx_sandbox.linux import files
from cbx_sandbox.linux.credentials import Submitter


@dataclasses.dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit came to: COMMITTED, EMPTY, CONFLICT with nothing changed; HELD if ``left`` still waits."""

    state: State
    summary: Summary
    conflicts: tuple[Conflict, ...] = ()
    skipped: tuple[Change, ...] = ()  # left out because ``theirs`` was asked for
    notes: tuple[str, ...] = ()  # what a reader should know: hard links that were broken
    made: tuple[Change, ...] = ()  # what is in the live tree now
    left: tuple[Change, ...] = ()  # not selected: still in the layers
    decisions: tuple[Decision, ...] = ()  # of each conflict: whose version stayed, or why it could not be decided


def commit(
    session: Session,
    changes: Sequence[Change] | None = None,
    rights: Submitter | None = None,
    *,
    allow_privileged: bool = False,
    on_conflict: OnConflict = OnConflict.ABORT,
    paths: Sequence[tuple[bytes, OnConflict]] = (),
    selection: Selection = EVERYTHING,
    keep: bool = False,
    copies: Copies | None = None,
) -> CommitResult:
    """Apply ``changes`` (as :func:`diff` just returned them; None: look again) with the rights of ``rights``.

    ``rights`` defaults to the job's submitter. ``paths`` are absolute and decide the conflicts there and beneath.
    All or nothing: a step that fails takes back those before it, and what is interrupted is finished or taken back by
    recover.recover. Raises DeniedError for what the submitter may not do or what needs ``allow_privileged``, UsageError
    for a ``selection`` that cannot be parted from the rest, journal.InDoubtError. The layers are gone after COMMITTED
    and EMPTY, have what was not selected after HELD, and are as they were otherwise. With ``keep`` the journal and what
    the commit replaced stay until session.discard. ``copies`` are what ahead.prepare has made of these layers.
    """
    refuse_unfinished(session)
    rights = rights or session.submitter
    wanted = list(diff(session) if changes is None else changes)
    summary = summarise(wanted)
    missing = [f"what was changed on {target} went with its file system" for target in gone(session)]
    if summary.empty and missing:
        raise CbxError(f"cannot commit: {missing[0]}", hint="mount it again where it was, or roll back")
    if summary.empty:
        discard(session)
        return CommitResult(State.EMPTY, summary)
    wanted, left = choose(wanted, session.targets, selection)
    with resolved(session, wanted, Resolution(on_conflict, tuple(paths)), selection) as found:
        if found.aborted:
            return CommitResult(State.CONFLICT, summary, found.conflicts, decisions=tuple(found.decisions))
        _review(session, found.changes, allow_privileged=allow_privileged)
        try:
            partial = not summarise(left).empty
            notes = _commit(
                session, found.changes, rights, forced=found.forced, keep=keep, partial=partial, copies=copies or {}
            )
        except RacedError as error:
            layer = next((change.layer for change in found.changes if change.path == error.path), 0)
            raced = Conflict(layer, error.path, error.reason, error.path)
            return CommitResult(State.CONFLICT, summary, (*found.conflicts, raced), decisions=tuple(found.decisions))
        found.kept = True
    still = summarise(left).empty
    if not still:
        _clear(session, wanted)
    return CommitResult(
        State.COMMITTED if still else State.HELD,
        summarise(found.changes),
        found.conflicts,
        tuple(found.skipped),
        (*missing, *notes),
        tuple(found.changes),
        () if still else tuple(left),
        tuple(found.decisions),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Preview:
    """What a commit would do."""

    changes: tuple[Change, ...]  # they would be made
    skipped: tuple[Change, ...]  # left out, since the live version stays
    left: tuple[Change, ...]  # not selected
    decisions: tuple[Decision, ...]
    refused: str = ""  # why nothing would be done; conflicts that nobody decided are in ``decisions``


def preview(
    session: Session,
    *,
    allow_privileged: bool = False,
    on_conflict: OnConflict = OnConflict.ABORT,
    paths: Sequence[tuple[bytes, OnConflict]] = (),
    selection: Selection = EVERYTHING,
) -> Preview:
    """What :func:`commit` would do now. Changes nothing, and is no promise: somebody may be faster."""
    wanted, left = choose(diff(session), session.targets, selection)
    with resolved(session, wanted, Resolution(on_conflict, tuple(paths)), selection) as found:
        refused = ""
        try:
            _review(session, found.changes, allow_privileged=allow_privileged)
        except DeniedError as error:
            refused = str(error)
        made = () if found.aborted or refused else tuple(found.changes)
        return Preview(made, tuple(found.skipped), tuple(left), tuple(found.decisions), refused)


def _clear(session: Session, done: Sequence[Change]) -> None:
    """Take what was committed out of the layers; the rest stays as it is."""
    for layer in session.layers:
        own = [change for change in done if change.layer == layer.index and change.kind in {Kind.DELETED, Kind.META}]
        upper = os.open(layer.upper, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with files.Cursor(upper, os.O_PATH) as cursor:
                for change in own:
                    directory, name = split(change.path)
                    # A directory goes on showing what is beneath it; one that a step has moved is not there any more.
                    if name and not (change.new is not None and change.new.is_dir):
                        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                            os.unlink(name, dir_fd=cursor.go(directory))
        finally:
            os.close(upper)
        root = os.open(layer.root, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for name in map(os.fsencode, os.listdir(files.inside(root))):
                if name not in {b"upper", b"work", b"base"}:
                    files.remove_tree(root, name)
        finally:
            os.close(root)


def _review(session: Session, changes: Sequence[Change], *, allow_privileged: bool) -> None:
    for change in changes:
        if any(meta is not None and meta.xattrs and homes.is_marked(meta.xattrs) for meta in (change.old, change.over)):
            where = printable(live_path(change, session.targets))
            raise DeniedError(f"cannot commit: {where} is where cbx keeps the changes of jobs")
    if allow_privileged:
        return
    refused = [change for change in changes if any(flag.privileged for flag in change.flags)]
    if refused:
        lines = [
            f"{printable(live_path(change, session.targets))}: {', '.join(sorted(change.flags))}" for change in refused
        ]
        more = f"\nand {len(lines) - 20} more" if len(lines) > 20 else ""
        raise DeniedError(
            f"cannot commit: {len(refused)} of {len(changes)} changes give or keep privileges",
            details="\n".join(lines[:20]) + more,
            hint="look at them, then commit with --allow-privileged",
        )


def _commit(
    session: Session,
    changes: Sequence[Change],
    rights: Submitter,
    *,
    forced: frozenset[tuple[int, bytes]],
    keep: bool,
    partial: bool,
    copies: Copies,
) -> list[str]:
    """Stage, write the record, do the steps; what fails before the end takes all of them back."""
    with contextlib.ExitStack() as stack:
        parts, notes = _prepared(session, changes, rights, forced=forced, copies=copies, stack=stack)
        written = stack.enter_context(contextlib.closing(_decided(session, parts, rights, partial=partial)))
        _do(parts, rights, written)
        try:
            transaction.sync(parts)
            transaction.finished(session, parts, written, keep=keep, partial=partial)
        except OSError as error:
            # It is decided: taking it back would need the same disk. The next start syncs it once more.
            return [*notes, f"the disk reports an error, the changes may not last: {explain(error)}"]
    return notes


def _decided(
    session: Session, parts: Sequence[transaction.Part], rights: Submitter, *, partial: bool
) -> journal.Journal:
    """Put everything on disk, then the record: from here on it is committed. Raises OSError, InDoubtError."""
    try:
        transaction.sync_layers(session, [(part.work.index, part.work.steps) for part in parts])
        for part in parts:
            part.staging.make()
        for part in parts:
            if part.work.home:
                files.syncfs(part.staging.fd)
        record = Record(session.checkpoint, rights, tuple(part.work for part in parts), partial)
        directory = os.path.dirname(session.layers[parts[0].work.index].root)
        return journal.create(directory, record.to_json())
    except journal.InDoubtError:
        raise
    except BaseException:
        for part in parts:
            part.staging.remove()
        raise


def _prepared(
    session: Session,
    changes: Sequence[Change],
    rights: Submitter,
    *,
    forced: frozenset[tuple[int, bytes]],
    copies: Copies,
    stack: contextlib.ExitStack,
) -> tuple[list[transaction.Part], list[str]]:
    """Decide on the steps and look at all that they will change; nothing is touched."""
    notes: list[str] = []
    parts = []
    for index, layer in enumerate(session.layers):
        own = [change for change in changes if change.layer == index]
        if not own:
            continue
        live_fd = stack.enter_context(live_root(session, index))
        if not same_target(session, index, live_fd):
            raise RacedError(b"", "the checkpoint's directory is not the one it was")
        steps = plan(own, _Inside(live_fd, own, whole=layer.whole_mount))
        notes += steps.notes
        upper = os.open(layer.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            work = survey(index, steps, own, upper, live_fd, rights, session.clocks[index])
        finally:
            os.close(upper)
        work = dataclasses.replace(work, wins=frozenset(path for of, path in forced if of == index))
        parts.append(
            transaction.Part(live_fd, stack.enter_context(Staging(layer, live_fd, rights, work, copies.get(index))))
        )
    return parts, notes


def _do(parts: Sequence[transaction.Part], rights: Submitter, written: journal.Journal) -> None:
    try:
        transaction.forward(parts, rights)
    except BaseException as error:
        transaction.abandon(parts, rights, written)
        if isinstance(error, OSError):
            raise _worded(error) from error
        raise


def _worded(error: OSError) -> CbxError:
    path = error.filename if isinstance(error.filename, bytes) else b""
    kind = DeniedError if error.errno in REFUSALS else CbxError
    return kind(f"cannot commit {printable(path)}: {explain(error)}", details="nothing was changed")


class _Inside:
    """Whether all links of a live file lie in the target; the tree is walked at most once, and only if it matters."""

    def __init__(self, live_fd: int, changes: Sequence[Change], *, whole: bool) -> None:
        self._live_fd = live_fd
        self._whole = whole  # a whole mount: there is no name outside, short of another bind mount
        self._wanted = {c.old.inode for c in changes if c.old is not None and not c.old.is_dir and c.old.nlink > 1}
        self._found: frozenset[int] | None = None

    def __call__(self, old: Meta) -> bool:
        if self._whole:
            return True
        if self._found is None:
            try:
                self._found = frozenset(links_inside(self._live_fd, self._wanted))
            except OSError as error:
                if not files.leads_elsewhere(error):
                    raise
                self._found = frozenset()
        return old.inode in self._found
