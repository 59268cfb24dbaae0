"""What a commit of a part has replaced, made a checkpoint of its own: it can be undone, and the rest stays held.

The journal moves last. Until then it says that the part is done, and a recovery removes what it replaced: then only
the undo is lost. Once it has moved, the journal tells whose part it is, also where no database knows the checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Sequence

from cbx_sandbox.checkpoint import journal, leftovers
from cbx_sandbox.checkpoint.changes import Change, Kind, split
from cbx_sandbox.checkpoint.journal import Entry
from cbx_sandbox.checkpoint.record import Record
from cbx_sandbox.checkpoint.session import Session, is_gone
from cbx_sandbox.linux import files, removal


@dataclasses.dataclass(frozen=True, slots=True)
class Apart:
    """The checkpoint that a part becomes: its number, and the mark of the database that will know it (leftovers)."""

    number: int
    owner: bytes


def session_of(session: Session, number: int) -> Session:
    """The checkpoint ``number``, which has the committed part of ``session``."""
    layers = []
    for layer in session.layers:
        home = os.path.dirname(os.path.dirname(layer.root))
        layers.append(dataclasses.replace(layer, root=f"{home}/{number}/{layer.index}"))
    return dataclasses.replace(session, checkpoint=number, layers=tuple(layers))


def part(session: Session, indexes: Sequence[int], apart: Apart) -> Session:
    """Move the stages of the layers ``indexes`` and the journal, which says DONE, to the checkpoint ``apart``.

    Raises OSError: it is where it was, or partly moved, and can be removed.
    """
    made = session_of(session, apart.number)
    leftovers.make([made.layers[index] for index in indexes], apart.owner)
    for index in indexes:
        root = made.layers[index].root
        os.mkdir(root, 0o700)
        os.rename(f"{session.layers[index].root}/stage", f"{root}/stage")
    old, new = (os.path.dirname(of.layers[indexes[0]].root) for of in (session, made))
    for index in indexes:
        _sync(made.layers[index].root)
        _sync(os.path.dirname(made.layers[index].root))
    os.rename(f"{old}/{journal.NAME}", f"{new}/{journal.NAME}")
    for directory in (new, os.path.dirname(new), old):
        _sync(directory)
    return made


def origin(directory: str) -> int | None:
    """The checkpoint that the one in ``directory`` was a part of, if its journal says so and that it is done."""
    records = journal.read(directory)
    if not records or records[-1][0] is not Entry.DONE or not records[0][1].get("partial"):
        return None
    return Record.from_json(records[0][1]).checkpoint


def find(session: Session, number: int) -> tuple[Session, list[Change]] | None:
    """The committed part of ``session`` at ``number``, and what it has changed; None if there is none."""
    made = session_of(session, number)
    for directory in dict.fromkeys(os.path.dirname(layer.root) for layer in made.layers):
        if origin(directory) == session.checkpoint:
            record = Record.from_json(journal.read(directory)[0][1])
            return made, changes_of(record)
    return None


def changes_of(record: Record) -> list[Change]:
    """What was committed by a record, but for what came with the directories around it."""
    return list({(work.index, step.change.path): step.change for work in record.layers for step in work.steps}.values())


def clear(session: Session, done: Sequence[Change]) -> None:
    """Take what was committed out of the layers; the rest stays as it is. Twice is no error."""
    for layer in session.layers:
        if is_gone(layer):
            continue
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
                for change in done:
                    if change.layer == layer.index and change.kind is Kind.RENAMED:
                        _clear_source(cursor, change.live)
        finally:
            os.close(upper)
        root = os.open(layer.root, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for name in map(os.fsencode, os.listdir(files.inside(root))):
                if name not in {b"upper", b"work", b"base"}:
                    removal.remove_tree(root, name)
        finally:
            os.close(root)


def _clear_source(upper: files.Cursor, path: bytes) -> None:
    """Remove the mark that says that something was moved away: once that is undone, it would say that it is to go."""
    directory, name = split(path)
    try:
        status = os.stat(name, dir_fd=upper.go(directory), follow_symlinks=False)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            os.unlink(name, dir_fd=upper.fd)
    except OSError as error:
        if not files.leads_elsewhere(error):
            raise


def _sync(directory: str) -> None:
    with files.directory(directory) as fd:
        os.fsync(fd)
