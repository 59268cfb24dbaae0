"""Make a job's changes in the live tree: checked as a whole first, each step with the submitter's own rights."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence

from cbx_sandbox.checkpoint import homes, journal, syncing, transaction
from cbx_sandbox.checkpoint.ahead import Copies
from cbx_sandbox.checkpoint.apply import REFUSALS, explain
from cbx_sandbox.checkpoint.changes import Change, Meta, Summary, live_path, summarise
from cbx_sandbox.checkpoint.conflicts import Conflict, same_target
from cbx_sandbox.checkpoint.diff import diff, live_root
from cbx_sandbox.checkpoint.history import State
from cbx_sandbox.checkpoint.inplace import choose as choose_in_place
from cbx_sandbox.checkpoint.parting import Apart
from cbx_sandbox.checkpoint.places import RacedError
from cbx_sandbox.checkpoint.plan import links_inside, plan, printable
from cbx_sandbox.checkpoint.record import Record
from cbx_sandbox.checkpoint.recover import refuse_unfinished
from cbx_sandbox.checkpoint.resolve import Decision, OnConflict, Resolution, resolved
from cbx_sandbox.checkpoint.select import EVERYTHING, Selection, check_named, choose
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
    parted: Session | None = None  # HELD: the checkpoint that can undo what was committed


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
    in_place: Sequence[bytes] = (),
    unasked: bool = True,
    apart: Apart | None = None,
) -> CommitResult:
    """Apply ``changes`` (as :func:`diff` just returned them; None: look again) with the rights of ``rights``.

    ``rights`` defaults to the job's submitter. ``paths`` are absolute and decide the conflicts there and beneath.
    All or nothing: a step that fails takes back those before it, and what is interrupted is finished or taken back by
    recover.recover. Raises DeniedError for what the submitter may not do or what needs ``allow_privileged``, UsageError
    for a ``selection`` that cannot be parted from the rest and for paths at which nothing changes,
    journal.InDoubtError. The layers are gone after COMMITTED and EMPTY, have what was not selected after HELD, and are
    as they were otherwise. With ``keep`` the journal and what the commit replaced stay until session.discard.
    ``copies`` are what ahead.prepare has made of these layers.
    What is changed at the absolute paths ``in_place``, and beneath, keeps its inode, as does what inplace.choose finds,
    but without ``unasked``: the locks allow readers beside the commit, who would see it half written.
    Of what is not everything, the commit becomes the checkpoint ``apart``, so that it can be undone.
    """
    refuse_unfinished(session)
    wanted = list(diff(session) if changes is None else changes)
    summary = summarise(wanted)
    missing = [f"what was changed on {target} went with its file system" for target in gone(session)]
    if summary.empty:
        return _nothing(session, summary, missing)
    check_named(wanted, session.targets, [path for path, _ in paths], "decide on", within=True)
    check_named(wanted, session.targets, in_place, "write in place")
    wanted, left = choose(wanted, session.targets, selection)
    partial = None if summarise(left).empty else tuple(wanted)
    terms = _Terms(rights or session.submitter, keep, partial, copies or {}, tuple(in_place), unasked, apart)
    with resolved(session, wanted, Resolution(on_conflict, tuple(paths)), selection) as found:
        decisions = tuple(found.decisions)
        if found.aborted:
            return CommitResult(State.CONFLICT, summary, found.conflicts, decisions=decisions)
        _review(session, found.changes, allow_privileged=allow_privileged)
        try:
            notes, parted = _commit(session, found.changes, found.forced, terms)
        except RacedError as error:
            layer = next((change.layer for change in found.changes if change.path == error.path), 0)
            raced = Conflict(layer, error.path, error.reason, error.path)
            return CommitResult(State.CONFLICT, summary, (*found.conflicts, raced), decisions=decisions)
        found.kept = True
    return CommitResult(
        State.COMMITTED if partial is None else State.HELD,
        summarise(found.changes),
        found.conflicts,
        tuple(found.skipped),
        (*missing, *notes),
        tuple(found.changes),
        () if partial is None else tuple(left),
        decisions,
        parted,
    )


def _nothing(session: Session, summary: Summary, missing: Sequence[str]) -> CommitResult:
    """There is nothing to commit. Raises CbxError: there may have been something."""
    if missing:
        raise CbxError(f"cannot commit: {missing[0]}", hint="mount it again where it was, or roll back")
    discard(session)
    return CommitResult(State.EMPTY, summary)


@dataclasses.dataclass(frozen=True, slots=True)
class _Terms:
    """How a commit is made; see :func:`commit`."""

    rights: Submitter
    keep: bool
    partial: tuple[Change, ...] | None  # what was selected, if not everything was: the rest stays in the layers
    copies: Copies
    in_place: tuple[bytes, ...]
    unasked: bool
    apart: Apart | None


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
    changes = diff(session)
    check_named(changes, session.targets, [path for path, _ in paths], "decide on", within=True)
    wanted, left = choose(changes, session.targets, selection)
    with resolved(session, wanted, Resolution(on_conflict, tuple(paths)), selection) as found:
        refused = ""
        try:
            _review(session, found.changes, allow_privileged=allow_privileged)
        except DeniedError as error:
            refused = str(error)
        made = () if found.aborted or refused else tuple(found.changes)
        return Preview(made, tuple(found.skipped), tuple(left), tuple(found.decisions), refused)


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
    session: Session, changes: Sequence[Change], forced: frozenset[tuple[int, bytes]], terms: _Terms
) -> tuple[list[str], Session | None]:
    """Stage, write the record, do the steps; what fails before the end takes all of them back."""
    with contextlib.ExitStack() as stack:
        beside = stack.enter_context(syncing.Beside(session, changes))
        parts, notes = _prepared(session, changes, forced, terms, stack)
        written = stack.enter_context(contextlib.closing(_decided(session, parts, terms, beside)))
        _do(parts, terms.rights, written)
        try:
            transaction.sync(parts)
            parted = transaction.finished(
                session, parts, written, keep=terms.keep, partial=terms.partial, apart=terms.apart
            )
        except OSError as error:
            # It is decided: taking it back would need the same disk. The next start syncs it once more.
            return [*notes, f"the disk reports an error, the changes may not last: {explain(error)}"], None
    return notes, parted


def _decided(
    session: Session, parts: Sequence[transaction.Part], terms: _Terms, beside: syncing.Beside
) -> journal.Journal:
    """Put everything on disk, then the record: from here on it is committed. Raises OSError, InDoubtError."""
    try:
        for part in parts:
            part.staging.make()
        for part in parts:
            if part.work.home:
                files.syncfs(part.staging.fd)
        work = tuple(part.work for part in parts)
        record = Record(session.checkpoint, terms.rights, work, terms.partial is not None).to_json()
        syncing.sync_layers(session, ((part.work.index, part.work.steps) for part in parts), beside.done())
        directory = os.path.dirname(session.layers[parts[0].work.index].root)
        return journal.create(directory, record)
    except journal.InDoubtError:
        raise
    except BaseException:
        for part in parts:
            part.staging.remove()
        raise


def _prepared(
    session: Session,
    changes: Sequence[Change],
    forced: frozenset[tuple[int, bytes]],
    terms: _Terms,
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
        inside = _Inside(live_fd, own, whole=layer.whole_mount)
        written = choose_in_place(session, index, own, live_fd, terms.in_place, inside, unasked=terms.unasked)
        steps = plan(own, inside, {path: how.action for path, how in written.items()})
        notes += steps.notes
        notes += [f"{printable(path)} was written in place: {how.why}" for path, how in written.items() if how.why]
        with files.directory(layer.upper) as upper:
            work = survey(index, steps, own, upper, live_fd, terms.rights, session.clocks[index])
        work = dataclasses.replace(work, wins=frozenset(path for of, path in forced if of == index))
        staging = stack.enter_context(Staging(layer, live_fd, terms.rights, work, terms.copies.get(index)))
        parts.append(transaction.Part(live_fd, staging))
    return parts, notes


def _do(parts: Sequence[transaction.Part], rights: Submitter, written: journal.Journal) -> None:
    try:
        transaction.forward(parts, rights)
    except BaseException as error:
        transaction.abandon(parts, rights, written, own=True)
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
