"""Changes for people and programs. Names and contents come from a job: what a terminal would obey is spelled out."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cbx_sandbox.checkpoint import textdiff
from cbx_sandbox.checkpoint.changes import Change, Kind, Meta, absolute, live_path, split, summarise
from cbx_sandbox.checkpoint.commit import Preview
from cbx_sandbox.checkpoint.diff import live_root
from cbx_sandbox.checkpoint.inodes import open_file
from cbx_sandbox.checkpoint.resolve import Decision
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.linux import files
from cbx_sandbox.linux.credentials import Submitter, acting_as

MAX_FILE = 512 << 10
MAX_OUTPUT = 4 << 20
_DEEPEST = 40
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def quote(path: bytes) -> str:
    """A name as it is if that is plain text, else in double quotes with escapes, as git does it."""
    try:
        text = path.decode()
    except UnicodeDecodeError:
        text = path.decode("utf-8", "surrogateescape")
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return '"' + "".join(_escape(character) for character in text) + '"'


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


def plain(line: str) -> str:
    """A line of text without anything that a terminal would obey."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)


def _shown(changes: Iterable[Change]) -> Iterator[Change]:
    return (change for change in changes if not change.implied)


def name_status(changes: Sequence[Change], targets: Sequence[str]) -> str:
    """Letter, tab, path; after a rename the old path, too."""
    return "".join(f"{change.kind.letter}\t{_names(change, targets, chr(9))}\n" for change in _shown(changes))


def _names(change: Change, targets: Sequence[str], separator: str) -> str:
    path = quote(live_path(change, targets))
    if change.kind is not Kind.RENAMED or change.source is None:
        return path
    return f"{quote(absolute(change.source, targets[change.layer]))}{separator}{path}"


def as_list(changes: Sequence[Change], targets: Sequence[str]) -> str:
    """One line a change: letter, path, and what about it."""
    lines = []
    for change in _shown(changes):
        about = "; ".join(filter(None, [_about(change), ", ".join(sorted(change.flags))]))
        lines.append(f"{change.kind.letter}  {_names(change, targets, ' -> ')}" + (f"  ({about})" if about else ""))
    return "\n".join([*lines, ""]) if lines else ""


def _about(change: Change) -> str:
    old, new = change.old, change.new
    if new is None:
        return old.type if old is not None and not old.is_file else ""
    if change.kind is Kind.TYPE and old is not None:
        return f"{old.type} -> {new.type}"
    if old is None or change.kind is Kind.REPLACED:
        return new.type if not new.is_file else ""
    return ", ".join(_aspect(aspect, old, new) for aspect in change.aspects)


def _aspect(aspect: str, old: Meta, new: Meta) -> str:
    match aspect:
        case "mode":
            return f"mode {old.mode & 0o7777:04o} -> {new.mode & 0o7777:04o}"
        case "owner":
            return f"owner {old.uid}:{old.gid} -> {new.uid}:{new.gid}"
        case "content":
            return f"content, {old.size} -> {new.size} bytes"
        case "target":
            return f"{quote(old.target)} -> {quote(new.target)}"
        case "xattrs":
            names = {key for key, _ in set(old.xattrs) ^ set(new.xattrs)}
            return f"attributes {', '.join(sorted(map(quote, names)))}"
        case "attributes":
            return "immutable or append-only"
        case _:
            return aspect


def as_tree(changes: Sequence[Change], targets: Sequence[str]) -> str:
    """The changed paths as a tree, the letter in front of what changed."""
    rows = sorted((live_path(change, targets).split(b"/")[1:], change.kind.letter) for change in _shown(changes))
    lines: list[str] = []
    before: list[bytes] = []
    for names, letter in rows:
        common = 0
        while common < min(len(before), len(names)) and before[common] == names[common]:
            common += 1
        for depth in range(common, len(names)):
            last = depth == len(names) - 1
            mark = letter if last else " "
            lines.append(f"{mark}  {'  ' * min(depth, _DEEPEST)}{quote(names[depth])}{'' if last else '/'}")
        before = names
    return "\n".join([*lines, ""]) if lines else ""


def stat(changes: Sequence[Change], targets: Sequence[str]) -> str:
    """The size of each changed file before and after, and a line of totals."""
    lines = [
        f" {quote(live_path(change, targets))} | {_size(change.old)} -> {_size(change.new)}"
        for change in _shown(changes)
        if change.kind not in {Kind.META, Kind.RENAMED}
    ]
    totals = summarise(changes)
    lines.append(f" {totals.added} added, {totals.changed} changed, {totals.deleted} deleted, {totals.bytes} bytes")
    return "\n".join([*lines, ""])


def _size(meta: Meta | None) -> str:
    if meta is None:
        return "-"
    return f"{meta.size} bytes" if meta.is_file else meta.type


def as_json(changes: Sequence[Change], targets: Sequence[str]) -> list[dict[str, Any]]:
    """One object a change, of plain values. A name that is no UTF-8 is given as base64 beside its spelling."""
    return [_object(change, targets) for change in _shown(changes)]


def as_preview(found: Preview, session: Session) -> dict[str, Any]:
    """What a commit would do, as plain values: what it makes, leaves out and leaves waiting, and each conflict."""
    targets = session.targets
    return {
        "changes": as_json(found.changes, targets),
        "skipped": as_json(found.skipped, targets),
        "left": as_json(found.left, targets),
        "conflicts": [_conflict(decision, session) for decision in found.decisions],
        "refused": found.refused,
    }


def _conflict(decision: Decision, session: Session) -> dict[str, Any]:
    """A conflict: where, why, what proved it, when by that file system's clock and how long after the start (s)."""
    conflict = decision.conflict
    since = (conflict.at_ns - session.clocks[conflict.layer]) / 1e9 if conflict.at_ns else None
    return {
        **_path("path", absolute(conflict.path, session.targets[conflict.layer])),
        **_path("change", absolute(conflict.change, session.targets[conflict.layer])),
        "reason": conflict.reason,
        "proof": conflict.proof.value,
        "at_ns": conflict.at_ns or None,
        "seconds_after_start": since,
        "resolution": decision.choice.value,
        "why": decision.why,
    }


def _object(change: Change, targets: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": change.kind.value, "letter": change.kind.letter}
    found |= _path("path", live_path(change, targets))
    if change.kind is Kind.RENAMED and change.source is not None:
        found |= _path("source", absolute(change.source, targets[change.layer]))
    found |= {"aspects": list(change.aspects), "flags": sorted(change.flags)}
    for key, meta in (("old", change.old), ("new", change.new)):
        found[key] = None if meta is None else _meta(meta)
    return found


def _path(key: str, path: bytes) -> dict[str, str]:
    try:
        return {key: path.decode()}
    except UnicodeDecodeError:
        return {key: path.decode("utf-8", "backslashreplace"), f"{key}_base64": base64.b64encode(path).decode()}


def _meta(meta: Meta) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": meta.type,
        "mode": f"{meta.mode & 0o7777:04o}",
        "uid": meta.uid,
        "gid": meta.gid,
        "size": meta.size,
        "mtime_ns": meta.mtime_ns,
    }
    if meta.is_symlink:
        found |= _path("target", meta.target)
    return found


def as_text(session: Session, changes: Sequence[Change], reader: Submitter) -> str:
    """A unified diff of text files, bounded in size, read with the rights of ``reader``; the rest is described."""
    shown: list[str] = []
    size = 0
    todo = list(_shown(changes))
    for index, change in enumerate(todo):
        if size > MAX_OUTPUT:
            shown.append(f"… {len(todo) - index} more changes are not shown")
            break
        text = "\n".join(_text(session, change, reader))
        size += len(text)
        shown.append(text)
    return "\n".join([*shown, ""]) if shown else ""


def _text(session: Session, change: Change, reader: Submitter) -> Iterator[str]:
    about = "; ".join(filter(None, [_about(change), ", ".join(sorted(change.flags))]))
    names = _names(change, session.targets, " -> ")
    yield f"{change.kind.value} {names}" + (f"  ({about})" if about else "")
    files_only = all(meta is None or meta.is_file for meta in (change.old, change.new))
    if not files_only or change.kind in {Kind.META, Kind.RENAMED, Kind.REPLACED}:
        return
    try:
        old = _lines(_read_old(session, change, reader))
        new = _lines(_read_new(session, change, reader))
    except OSError as error:
        yield f"  (not shown: {os.strerror(error.errno or 0)})"
        return
    if old is None or new is None:
        yield f"  (binary or large: {_size(change.old)} -> {_size(change.new)})"
        return
    path = quote(live_path(change, session.targets))
    yield f"--- {'/dev/null' if change.old is None else path}"
    yield f"+++ {'/dev/null' if change.new is None else path}"
    for line in textdiff.unified(old, new):
        yield from map(plain, line.split("\n"))


def _lines(data: bytes | None) -> list[str] | None:
    """The lines of a text; None for what is none, or too large."""
    if data is None or b"\0" in data:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    lines = text.split("\n")
    if lines[-1]:
        lines[-1] += "\n\\ No newline at end of file"
    else:
        lines.pop()
    return lines


def _read_old(session: Session, change: Change, reader: Submitter) -> bytes | None:
    if change.old is None:
        return b""
    # The whole way with the reader's rights: the job could remove files that its user may not read.
    with contextlib.ExitStack() as stack:
        stack.enter_context(acting_as(reader))
        live_fd = stack.enter_context(live_root(session, change.layer))
        return _read(live_fd, change.live)


def _read_new(session: Session, change: Change, reader: Submitter) -> bytes | None:
    if change.new is None:
        return b""
    directory, name = split(change.path)
    upper = os.open(session.layers[change.layer].upper, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with files.Cursor(upper, os.O_PATH) as cursor:
            fd = cursor.go(directory)
            with acting_as(reader):
                return _content(fd, name)
    finally:
        os.close(upper)


def _read(root_fd: int, path: bytes) -> bytes | None:
    directory, name = split(path)
    with files.Cursor(root_fd, os.O_PATH) as cursor:
        return _content(cursor.go(directory), name)


def _content(dir_fd: int, name: bytes) -> bytes | None:
    fd = open_file(dir_fd, name)
    try:
        return os.pread(fd, MAX_FILE, 0) if os.fstat(fd).st_size < MAX_FILE else None
    finally:
        os.close(fd)
