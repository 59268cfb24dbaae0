"""Commits that a process before this one left unfinished: finished, or taken back. Before anybody may change anything.

The last whole record of the journal says in which direction. What cannot be done now, because a file system is not
there or its disk fails, stays as it is, on record, until the next time.
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Sequence

from cbx_sandbox.checkpoint import journal, parting, transaction
from cbx_sandbox.checkpoint.diff import live_root
from cbx_sandbox.checkpoint.journal import Entry
from cbx_sandbox.checkpoint.places import RacedError
from cbx_sandbox.checkpoint.record import Record, holds_slots
from cbx_sandbox.checkpoint.session import Session, directories, gone, keep_replaced
from cbx_sandbox.checkpoint.stage import clear
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import files


class Recovered(enum.Enum):
    """What became of a checkpoint."""

    UNTOUCHED = "untouched"  # nobody had begun to commit it
    COMMITTED = "committed"
    PARTLY = "partly committed"  # the layers hold the rest
    TAKEN_BACK = "taken back"  # its layers are what they were
    UNDONE = "undone"


class UnfinishedError(CbxError):
    """A commit can neither be finished nor taken back now; everything that it needs is kept."""


def recover(session: Session, *, keep: bool = False) -> Recovered:
    """Bring the checkpoint to a whole state. ``keep`` as for commit. Raises UnfinishedError."""
    directory = next((path for path in directories(session) if journal.read(path)), None)
    if directory is None:
        _clean(session)
        return Recovered.UNTOUCHED
    try:
        return _recover(session, directory, keep=keep)
    except (CbxError, OSError, KeyError, TypeError, ValueError) as error:
        raise UnfinishedError(
            f"cannot finish the commit of checkpoint {session.checkpoint}: {error}{_lost(session)}",
            hint="what was there before and what the job made is kept; it is tried again at each start",
        ) from error


def _lost(session: Session) -> str:
    with contextlib.suppress(OSError):
        if names := gone(session):
            return f" ({', '.join(names)} is not there)"
    return ""


def _clean(session: Session) -> None:
    """Remove what a commit that was cut short before its record left behind; the layers have everything."""
    if damaged(session):
        raise UnfinishedError(
            f"cannot tell how far the commit of checkpoint {session.checkpoint} came: its journal is damaged",
            hint="what it replaced is kept in the stage beside its layers: look there before anything is removed",
        )
    for directory in directories(session):
        with contextlib.suppress(OSError):
            journal.remove(directory)  # one that ends within its first record
    for index, layer in enumerate(session.layers):
        if files.is_directory(layer.upper) and files.is_directory(f"{layer.root}/stage"):
            with live_root(session, index) as live_fd:
                clear(layer, live_fd)


def damaged(session: Session) -> bool:
    """Whether steps were taken and the record that they were taken by cannot be read: the disk has lost it.

    A record is on disk before the first slot of a stage is filled, but for stages on the other side of a copy.
    """
    broken = any(
        files.is_there(f"{directory}/{journal.NAME}") and not journal.read(directory)
        for directory in directories(session)
    )
    return broken and any(_filled(f"{layer.root}/stage") for layer in session.layers)


def _filled(stage: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        names = os.listdir(stage)
        return any(name.isdecimal() for name in names) or any(
            os.listdir(f"{stage}/{name}") for name in names if holds_slots(name)
        )
    return False


def _recover(session: Session, directory: str, *, keep: bool) -> Recovered:
    records = journal.read(directory)
    record = Record.from_json(records[0][1])
    last = records[-1][0]
    if last is Entry.DONE and record.partial and files.is_directory(session.layers[record.layers[0].index].upper):
        # What it replaced was on its way to a checkpoint of its own: the layers have the rest.
        for work in record.layers:
            with live_root(session, work.index) as live_fd:
                clear(session.layers[work.index], live_fd)
        parting.clear(session, parting.changes_of(record))
        journal.remove(directory)  # last: it is what says that there is something to clear
        return Recovered.PARTLY
    if last is Entry.DONE:
        for work in record.layers if not records[-1][1] else ():
            with live_root(session, work.index) as live_fd:
                clear(session.layers[work.index], live_fd)
        keep_replaced(session)
        return Recovered.COMMITTED
    if last is Entry.UNDONE:
        return Recovered.UNDONE
    journal.trim(directory)
    written = journal.opened(directory)
    assert written is not None
    with contextlib.closing(written), transaction.opened(session, record) as parts:
        if last is Entry.COMMIT:
            return _forward(session, parts, record, written, keep=keep)
        if last is Entry.ABORT:
            transaction.abandon(parts, record.rights, written)
            return Recovered.TAKEN_BACK
        if last is Entry.UNDO:
            transaction.backward(parts, record.rights)
            transaction.sync_all(parts)
            written.append(Entry.UNDONE, transaction.clocks(parts))
            return Recovered.UNDONE
        transaction.forward(parts, record.rights, again=True, staged=True)
        transaction.sync_all(parts)
        written.append(Entry.DONE, transaction.clocks(parts))
        return Recovered.COMMITTED


def _forward(
    session: Session, parts: Sequence[transaction.Part], record: Record, written: journal.Journal, *, keep: bool
) -> Recovered:
    try:
        transaction.forward(parts, record.rights, again=True)
    except (RacedError, OSError):
        # Others were faster, or it may no longer be done: as a commit that meets this does, it is taken back.
        transaction.abandon(parts, record.rights, written)
        return Recovered.TAKEN_BACK
    transaction.sync_all(parts)
    partial = parting.changes_of(record) if record.partial else None
    transaction.finished(session, parts, written, keep=keep, partial=partial)
    return Recovered.PARTLY if record.partial else Recovered.COMMITTED


def refuse_unfinished(session: Session) -> None:
    """Raise CbxError if a commit or an undo has begun that is neither done nor taken back."""
    for directory in directories(session):
        records = journal.read(directory)
        if records and records[-1][0] not in {Entry.DONE, Entry.UNDONE}:
            raise CbxError(
                f"cannot use checkpoint {session.checkpoint}: its commit was interrupted and is not over",
                hint="restart the supervisor: it finishes the commit or takes it back",
            )
