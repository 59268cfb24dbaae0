"""What the store says held against what is on disk: journals, stages, layers, transactions, mounts. Blocking.

Looks only; each finding brings what would mend it, if anything safe does. Safe is what finishes something that was
begun, or removes what nobody can ask for again; whatever may be the only copy of somebody's data is left alone.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sqlite3
import time
from collections.abc import Callable, Iterator

from cbx_sandbox.box.operations import SOURCE
from cbx_sandbox.checkpoint import journal, leftovers, levels, parting, recover
from cbx_sandbox.checkpoint import session as sessions
from cbx_sandbox.checkpoint.journal import Entry, Tail
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.linux import files, mountinfo, mounts
from cbx_supervisor.execution import interrupted, transactions
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.model.transaction import Transaction
from cbx_supervisor.paths import Paths
from cbx_supervisor.store import checkpoints, jobs
from cbx_supervisor.store import transactions as store

Write = Callable[[Callable[[sqlite3.Connection], None]], object]
_OVER = {Entry.DONE: CheckpointState.COMMITTED, Entry.UNDONE: CheckpointState.UNDONE}
FRESH = 60.0  # s; under a running supervisor, layers as new as that may be on no record yet


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. ``repair`` is None where nothing safe can be done about it."""

    code: str
    subject: str
    text: str
    remedy: str
    repair: Callable[[], object] | None = None


class Check:
    """One look at everything. ``connection`` reads; ``write`` is used by repairs."""

    def __init__(self, paths: Paths, connection: sqlite3.Connection, write: Write, *, served: bool) -> None:
        """``served``: a supervisor runs, and what it is just doing is no finding."""
        self._paths = paths
        self._connection = connection
        self._write = write
        self._served = served
        self._owner = leftovers.identity(paths.database)
        self._homes = interrupted.layer_homes(paths)

    def run(self) -> Iterator[Finding]:
        """All findings: the database, the checkpoints it knows, layers that it does not, mounts."""
        yield from self._database()
        known = set()
        for row in checkpoints.listed(self._connection, checkpoints.Choice(), limit=1 << 30):
            known.add(row.id)
            if row.session is not None:
                session = Session.from_json(row.session)
                yield from _readable(_name(row), self._checkpoint(row, session))
        yield from self._unknown(known)
        yield from self._mounts()

    def _database(self) -> Iterator[Finding]:
        for (text,) in self._connection.execute("PRAGMA quick_check(20)"):
            if text != "ok":
                yield Finding("database-damaged", self._paths.database, text, "go back to a backup of the database")
        for table, row, parent, _ in self._connection.execute("PRAGMA foreign_key_check"):
            yield Finding(
                "database-reference", f"{table} row {row}", f"refers to a row of {parent} that is not there", "none"
            )

    # -- one checkpoint -----------------------------------------------------------------------------------------------

    def _checkpoint(self, row: Checkpoint, session: Session) -> Iterator[Finding]:
        transaction = store.find(self._connection, row.id)
        if row.state is CheckpointState.OPEN and transaction is None:
            yield from self._open(row)
            return
        journals = list(self._journal(row, session))
        yield from journals
        if journals:
            return  # what else is wrong may be because of that
        if row.state is CheckpointState.OPEN and transaction is not None:
            yield from self._transaction(transaction, session)
        elif row.state.waits:
            yield from self._waiting(row, session)
        else:
            yield from self._left(row, session)

    def _open(self, row: Checkpoint) -> Iterator[Finding]:
        """A job's own checkpoint, which is decided on when the job ends, in the same write."""
        found = jobs.find(self._connection, row.job)
        if found is None or found.result is not None:
            why = "its job's end was written down without it"
            yield self._finding(
                row, "row-open", f"is open, but its job {row.job} is over", "hold its changes", self._held(row, why)
            )

    def _journal(self, row: Checkpoint, session: Session) -> Iterator[Finding]:
        if recover.damaged(session):
            yield Finding(
                "journal-checksum",
                _name(row),
                "the record of its commit cannot be read, and steps were taken by it",
                f"look into {session.layers[0].root}/stage: it has what was replaced",
            )
            return
        finish = self._finished(row)
        for directory in sessions.directories(session):
            records, tail = journal.read(directory), journal.tail(directory)
            last = records[-1][0] if records else None
            if tail is not Tail.NOTHING:
                code = "journal-torn" if tail is Tail.TORN else "journal-checksum"
                what = "its last record" if records else "its only record: nothing was committed by it"
                remedy = "cut it off, and go on from the record before" if records else "remove it and its stage"
                repair = self._finished(row, directory if records else None)
                yield self._finding(row, code, f"its journal is {tail.value} at {what}", remedy, repair)
            elif last is not None and last not in _OVER:
                text = f"its journal ends with {last.name}: that was begun and is not over"
                yield self._finding(row, "commit-unfinished", text, "finish it or take it back", finish)
            elif last is not None and _OVER[last] is not row.state:
                text = f"its journal says {_OVER[last].value}, its row says {row.state.value}"
                yield self._finding(row, "row-behind", text, "write down what the journal says", finish)
        if not any(journal.read(directory) for directory in sessions.directories(session)):
            for layer in session.layers:
                if row.state is not CheckpointState.OPEN and files.is_directory(f"{layer.root}/stage"):
                    text = f"there is a stage beside its layer of {layer.target} and no journal"
                    yield self._finding(row, "stage-orphaned", text, "remove the stage: it was never used", finish)

    def _waiting(self, row: Checkpoint, session: Session) -> Iterator[Finding]:
        lost = [layer for layer in session.layers if sessions.is_gone(layer)]
        away = [layer for layer in lost if not files.is_directory(os.path.dirname(os.path.dirname(layer.root)))]
        for layer in away:
            text = f"its layer of {layer.target} is out of reach: {layer.root}"
            yield Finding("layer-unreachable", _name(row), text, "mount its file system again where it was")
        missing = [layer for layer in lost if layer not in away]
        if missing and len(missing) == len(session.layers):
            text = f"none of its layers is there: {missing[0].root}"
            lose = self._decided(row, CheckpointState.ROLLED_BACK, "its layers were lost")
            yield self._finding(row, "layer-missing", text, "call it rolled back: there is nothing to commit", lose)
        elif missing:
            text = f"its layer of {missing[0].target} is not there: {missing[0].root}"
            remedy = "commit what is left with `checkpoint commit`, or roll it back"
            yield Finding("layer-missing", _name(row), text, remedy)

    def _transaction(self, found: Transaction, session: Session) -> Iterator[Finding]:
        row, pending = found.checkpoint, found.pending
        if pending is not None:

            def go_on() -> None:
                transactions.do(session, pending, len(found.savepoints))
                self._write(store.done(found.number))

            text = f"what was begun on its levels ({pending.value}) is not over"
            yield self._finding(row, "transaction-interrupted", text, "do it again, which finishes it", go_on)
        elif any(sessions.is_gone(layer) for layer in session.layers):
            yield from self._waiting(row, session)
        elif levels.depth(session) != len(found.savepoints):
            text = f"it has {len(found.savepoints)} savepoints, and {levels.depth(session)} levels on disk"
            yield Finding("transaction-levels", _name(row), text, "`tx rollback` throws it away")

    def _left(self, row: Checkpoint, session: Session) -> Iterator[Finding]:
        """One that is decided on: of it there may be what a commit replaced, and nothing else."""
        kept = any(journal.read(directory) for directory in sessions.directories(session))
        there = [layer for layer in session.layers if files.is_there(layer.upper if kept else layer.root)]
        if there and not self._served:
            text = f"it is {row.state.value}, and its layer of {there[0].target} is still there"
            remove = sessions.keep_replaced if kept else sessions.discard
            yield self._finding(row, "layer-left", text, "remove it", lambda: remove(session))

    # -- what nobody knows of -----------------------------------------------------------------------------------------

    def _unknown(self, known: set[int]) -> Iterator[Finding]:
        for home in self._homes:
            for number in leftovers.find(home, self._owner):
                place = f"{home}/{number}"
                if number not in known and not (self._served and _age(place) < FRESH):
                    yield from _readable(place, self._nobodys(home, number))

    def _nobodys(self, home: str, number: int) -> Iterator[Finding]:
        place = f"{home}/{number}"
        last = [entry for entry, _ in journal.read(place)][-1:]
        if last and last[0] not in _OVER:
            text = f"a commit was begun there ({last[0].name}), and the store knows no checkpoint {number}"
            yield Finding("layer-without-row", place, text, "go back to the database that knows it")
            return
        whole = parting.origin(place)
        row = None if whole is None else checkpoints.find(self._connection, whole)
        if row is not None and row.session is not None:
            yield self._part(place, row, number)
            return
        text = f"the store knows no checkpoint {number}"
        remove = functools.partial(leftovers.remove, home, number)
        yield Finding("layer-without-row", place, text, "remove it: nobody can ask for it", remove)

    def _part(self, place: str, whole: Checkpoint, number: int) -> Finding:
        def write_down() -> None:
            for operation in interrupted.written_down(whole, number, time.time()):
                self._write(operation)

        text = f"a part of checkpoint {whole.id} was committed there, and the store knows no checkpoint {number}"
        return Finding("part-without-row", place, text, "write it down: it can be undone then", write_down)

    def _mounts(self) -> Iterator[Finding]:
        for mount in reversed(mountinfo.read()):
            if mount.kind == "overlay" and mount.source == SOURCE:

                def unmount(target: str = mount.target) -> None:
                    mounts.umount(target)

                text = "an overlay of a job's is mounted outside of its box"
                yield Finding("mount-stale", mount.target, text, "unmount it, without force", unmount)

    # -- repairs ------------------------------------------------------------------------------------------------------

    def _finding(self, row: Checkpoint, code: str, text: str, remedy: str, repair: Callable[[], object]) -> Finding:
        return Finding(code, _name(row), text, remedy, repair)

    def _finished(self, row: Checkpoint, trimmed: str | None = None) -> Callable[[], object]:
        def finish() -> None:
            if trimmed is not None:
                journal.trim(trimmed)
            state, message = interrupted.finished(row)
            if state is not row.state or message != row.message:
                self._write(checkpoints.decided(row.id, state, time.time(), message=message))

        return finish

    def _held(self, row: Checkpoint, why: str) -> Callable[[], object]:
        return self._decided(row, CheckpointState.HELD, why)

    def _decided(self, row: Checkpoint, state: CheckpointState, why: str) -> Callable[[], object]:
        return lambda: self._write(checkpoints.decided(row.id, state, time.time(), message=why))


def _readable(subject: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Those that can be had; a disk that fails keeps nobody from the rest."""
    try:
        yield from findings
    except OSError as error:
        yield Finding("unreadable", subject, f"it cannot be looked at: {error}", "look after the disk, try again")


def _name(row: Checkpoint) -> str:
    return f"checkpoint {row.id}"


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_ctime
    except FileNotFoundError:
        return 0.0
