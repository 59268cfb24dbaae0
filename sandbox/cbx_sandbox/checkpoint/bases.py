"""What a job's text files were before it changed them, kept so that they can be merged later.

The lower side of an overlay is the live tree, so whoever edits a file there in place takes away what the job has seen.
Therefore a checkpoint that is held keeps the old text of each file that the job changed, as long as that is still there
untouched: with a change time before T0, and the same before and after it was read. What was edited while the job ran
has no base, and neither has what is larger, binary or not readable for the submitter.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Sequence

from cbx_sandbox.checkpoint.changes import Change, Kind, Meta, split
from cbx_sandbox.checkpoint.conflicts import clock_was_set
from cbx_sandbox.checkpoint.diff import live_root
from cbx_sandbox.checkpoint.inodes import open_file
from cbx_sandbox.checkpoint.layers import LayerSpec
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.linux import files
from cbx_sandbox.linux.credentials import acting_as

MAX_FILE = 1 << 20  # bytes
MAX_TOTAL = 16 << 20  # bytes in one layer: whoever waits for a held job's result waits for this, too
MAX_FILES = 1000
_INDEX = "index"


@dataclasses.dataclass(frozen=True, slots=True)
class Base:
    """A file as it was when the checkpoint began."""

    text: bytes
    mode: int
    uid: int
    gid: int
    xattrs: tuple[tuple[bytes, bytes], ...]


def keep(session: Session, changes: Sequence[Change]) -> int:
    """Keep the old text of what ``changes`` have changed; how many files. What is kept already stays."""
    if clock_was_set(session):
        return 0
    kept = 0
    for layer in session.layers:
        own = [change for change in changes if change.layer == layer.index and _is_text_change(change)]
        if own and not files.is_there(_directory(layer)):
            kept += _keep(session, layer, own)
    return kept


def find(session: Session, change: Change) -> Base | None:
    """What ``change`` began with; None if it was not kept."""
    layer = session.layers[change.layer]
    try:
        with open(f"{_directory(layer)}/{_INDEX}", encoding="ascii") as file:
            entry = json.load(file).get(name_of(change.live))
        if entry is None:
            return None
        with open(f"{_directory(layer)}/{name_of(change.live)}", "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    xattrs = tuple((base64.b64decode(key), base64.b64decode(value)) for key, value in entry["xattrs"])
    return Base(text, entry["mode"], entry["uid"], entry["gid"], xattrs)


def _is_text_change(change: Change) -> bool:
    if change.kind is not Kind.CHANGED or change.old is None or change.new is None:
        return False
    return change.old.is_file and change.new.is_file and change.old.size <= MAX_FILE


def _directory(layer: LayerSpec) -> str:
    return f"{layer.root}/base"


def name_of(path: bytes) -> str:
    """A name for a path that is short and plain."""
    return hashlib.sha256(path).hexdigest()[:32]


def _keep(session: Session, layer: LayerSpec, changes: Sequence[Change]) -> int:
    index: dict[str, object] = {}
    total = 0
    os.mkdir(_directory(layer), 0o700)
    with live_root(session, layer.index) as live_fd, files.Cursor(live_fd, os.O_PATH) as live:
        for change in changes[:MAX_FILES]:
            assert change.old is not None
            if total + change.old.size > MAX_TOTAL:
                continue
            text = _read(session, live, change, change.old)
            if text is None:
                continue
            total += len(text)
            with open(f"{_directory(layer)}/{name_of(change.live)}", "xb") as file:
                file.write(text)
            index[name_of(change.live)] = _described(change.old)
    with open(f"{_directory(layer)}/{_INDEX}", "x", encoding="ascii") as file:
        json.dump(index, file)
    return len(index)


def _described(meta: Meta) -> dict[str, object]:
    pairs = [(base64.b64encode(key).decode(), base64.b64encode(value).decode()) for key, value in meta.xattrs]
    return {"mode": stat.S_IMODE(meta.mode), "uid": meta.uid, "gid": meta.gid, "xattrs": pairs}


def _read(session: Session, live: files.Cursor, change: Change, old: Meta) -> bytes | None:
    """The live text if it is what the job saw, and the submitter may read it."""
    directory, name = split(change.live)
    with contextlib.suppress(OSError), acting_as(session.submitter):
        fd = open_file(live.go(directory), name)
        try:
            text = os.pread(fd, MAX_FILE + 1, 0)
            after = os.fstat(fd)
        finally:
            os.close(fd)
        untouched = after.st_ino == old.inode and after.st_ctime_ns == old.ctime_ns < session.clocks[change.layer]
        if untouched and len(text) == old.size and b"\0" not in text:
            return text
    return None
