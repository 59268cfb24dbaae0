"""What the layers hold, as a list of changes.

The upper directory is walked beside the live tree. It is dead by now (the job has ended, the overlay is unmounted), so
only the live side can move; whatever moves there is found by conflicts, which looks at each path again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from cbx_sandbox.checkpoint.changes import Change, Kind, Meta, join, split
from cbx_sandbox.checkpoint.inodes import UpperEntry, aspects, read_live, read_upper, same_content
from cbx_sandbox.checkpoint.renames import keep_owners, settle
from cbx_sandbox.checkpoint.review import flags_of
from cbx_sandbox.checkpoint.session import Session, is_gone, open_target
from cbx_sandbox.linux import files


def diff(session: Session, *, leaves: bool = False) -> list[Change]:
    """List the changes, parents first; ``leaves`` also lists what is beneath deleted directories.

    What lies on a file system that is not mounted any more is left out: session.gone names it.
    """
    changes: list[Change] = []
    for index, layer in enumerate(session.layers):
        if is_gone(layer):
            continue
        with live_root(session, index) as live_fd:
            seen: Sequence[Change] = list(_Walk(session, index, live_fd).run())
            if session.submitter.is_root:
                seen = keep_owners(seen, live_fd)
            found = settle(seen, live_fd, layer.upper)
        if leaves:
            found = [leaf for change in found for leaf in (change, *_leaves(session, change))]
        changes += found
    return changes


def count_beneath(session: Session, change: Change) -> int:
    """How many entries go with a directory that was deleted or replaced."""
    return sum(1 for _ in _leaves(session, change))


def _leaves(session: Session, change: Change) -> Iterator[Change]:
    """Everything beneath a directory that goes as a whole."""
    if change.carried or change.old is None or not change.old.is_dir or change.kind in {Kind.META, Kind.RENAMED}:
        return
    with live_root(session, change.layer) as root, files.Cursor(root) as cursor:
        try:
            cursor.go(change.live)
        except OSError as error:
            if not files.leads_elsewhere(error):
                raise
            return
        start = cursor.depth
        for name, _ in files.walk(cursor):
            meta = read_live(cursor.fd, name)
            path = b"/".join([change.path, *cursor.names[start:], name])
            yield Change(Kind.DELETED, change.layer, path, meta, None, carried=True)


@contextlib.contextmanager
def live_root(session: Session, index: int) -> Iterator[int]:
    """The overlaid directory as it is found now; an empty directory if it is gone (conflicts then says so)."""
    layer = session.layers[index]
    try:
        fd = open_target(layer.target)
    except OSError as error:
        if not files.leads_elsewhere(error):
            raise
        fd = _nothing()
    try:
        yield fd
    finally:
        os.close(fd)


def _nothing() -> int:
    """An empty directory, which nobody can find."""
    directory = tempfile.mkdtemp(prefix="cbx-")
    try:
        return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    finally:
        os.rmdir(directory)


@dataclasses.dataclass(slots=True)
class _Frame:
    """One directory of the walk."""

    path: bytes
    live: bytes | None  # the live directory that shows through, None if nothing does
    meta: Meta
    origin: bytes  # handle of that live directory
    carried: bool
    directories: list[tuple[bytes, UpperEntry]] = dataclasses.field(default_factory=list)


class _Walk:
    """The walk of one layer, without recursion: trees are as deep as a job likes."""

    def __init__(self, session: Session, index: int, live_fd: int) -> None:
        self._layer = session.layers[index]
        self._submitter = session.submitter
        self._clock = session.clocks[index]
        self._root_handle = bytes.fromhex(session.roots[index].handle)
        self._live_fd = live_fd

    def run(self) -> Iterator[Change]:
        """Yield the changes of the layer, parents first."""
        upper_fd = os.open(self._layer.upper, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with files.Cursor(upper_fd) as self._upper, files.Cursor(self._live_fd, os.O_PATH) as self._live:
                yield from self._walk()
        finally:
            os.close(upper_fd)

    def _walk(self) -> Iterator[Change]:
        entry, old = read_upper(self._upper.fd), read_live(self._live.fd)
        frame = _Frame(b"", b"", entry.meta, self._root_handle, carried=False)
        blank = Change(Kind.META, self._layer.index, b"", old, entry.meta, parent=self._root_handle)
        root = self._merged(blank)
        yield from [root] if root else []
        yield from self._read(frame)
        frames = [frame]
        while frames:
            if not frames[-1].directories:
                frames.pop()
                if frames:
                    self._upper.leave()
                continue
            name, entry = frames[-1].directories.pop()
            change, frame = self._directory(frames[-1], name, entry)
            yield from [change] if change else []
            self._upper.enter(name)
            yield from self._read(frame)
            frames.append(frame)

    def _read(self, frame: _Frame) -> Iterator[Change]:
        """Read the upper directory where the cursor is: its directories for later, the changes of all the rest."""
        for name in sorted(map(os.fsencode, os.listdir(self._upper.fd))):
            entry = read_upper(self._upper.fd, name)
            if entry.meta.is_dir:
                frame.directories.append((name, entry))
            else:
                change = self._entry(frame, name, entry)
                if change is not None:
                    yield change
        frame.directories.reverse()  # they are taken from the end

    def _lookup(self, directory: bytes | None, name: bytes) -> Meta | None:
        """What is at a place in the live tree, None if that cannot be reached without tricks."""
        if directory is None:
            return None
        try:
            return read_live(self._live.go(directory), name)
        except OSError as error:
            # A disk's error is no word about what is there: a deletion would be taken for done.
            if not files.leads_elsewhere(error):
                raise
            return None

    def _blank(self, frame: _Frame, name: bytes, entry: UpperEntry) -> Change:
        """A change with everything filled in that does not depend on its kind."""
        return self._made(frame, name, entry, Kind.ADDED, self._lookup(frame.live, name), entry.meta)

    def _made(
        self,
        frame: _Frame,
        name: bytes,
        entry: UpperEntry,
        kind: Kind,
        old: Meta | None,
        new: Meta | None,
        *,
        carried: bool = False,
        aspects: tuple[str, ...] = (),
    ) -> Change:
        # At once, not as a copy of a blank one: a layer may have very many entries.
        path = join(frame.path, name)
        source = path if frame.live is None else join(frame.live, name)
        # A copy in the place of its original is no move. The live cursor still stands where _lookup left it.
        in_place = False
        if old is not None and entry.origin and kind is not Kind.META and not entry.meta.is_dir:
            with contextlib.suppress(OSError):
                in_place = files.file_handle(self._live.fd, name) == entry.origin
        return Change(
            kind=kind,
            layer=self._layer.index,
            path=path,
            old=old,
            new=new,
            aspects=aspects,
            carried=carried,
            source=None if source == path else source,
            origin=entry.origin,
            in_place=in_place,
            parent=frame.origin,
            marks=entry.marks,
            copied=entry.copied,
        )

    def _entry(self, frame: _Frame, name: bytes, entry: UpperEntry) -> Change | None:
        """What an entry that is no directory stands for; None if nothing changed."""
        old, new = self._lookup(frame.live, name), entry.meta
        if entry.whiteout:
            return self._made(frame, name, entry, Kind.DELETED, old, None) if old is not None else None
        if old is None:
            return self._flagged(
                self._made(frame, name, entry, Kind.ADDED, None, new, carried=frame.carried), frame.meta
            )
        if stat.S_IFMT(old.mode) != stat.S_IFMT(new.mode):
            return self._flagged(self._made(frame, name, entry, Kind.TYPE, old, new), frame.meta)
        differing = aspects(old, new)
        if new.is_file and not self._same_content(old, new, name):
            differing = ("content", *differing)
        elif new.nlink > 1:
            differing = ("links", *differing)
        kind = Kind.CHANGED if {"content", "target", "device"} & set(differing) else Kind.META
        if not differing:
            return None
        return self._flagged(self._made(frame, name, entry, kind, old, new, aspects=differing), frame.meta)

    def _same_content(self, old: Meta, new: Meta, name: bytes) -> bool:
        # The live cursor still stands where _lookup left it.
        return old.size == new.size and same_content(self._live.fd, name, self._upper.fd, name)

    def _directory(self, above: _Frame, name: bytes, entry: UpperEntry) -> tuple[Change | None, _Frame]:
        """What a directory stands for, and how the walk goes on inside."""
        blank = self._blank(above, name, entry)
        frame = _Frame(blank.path, None, entry.meta, entry.origin, carried=True)
        source = _source(above.live, entry.redirect)
        if source is not None and source != blank.path:
            return self._renamed(blank, source, frame), frame
        if blank.old is not None and blank.old.is_dir and entry.copied and not entry.opaque:
            frame.live, frame.carried = blank.live, False
            return self._merged(blank), frame
        if blank.old is None or not (entry.opaque or entry.copied or not blank.old.is_dir):
            # New; or something was made at its path in the meantime, which conflicts finds by ``old``.
            change = replace(blank, carried=above.carried)
        else:
            change = replace(blank, kind=Kind.REPLACED if blank.old.is_dir else Kind.TYPE)
        return self._flagged(change, above.meta), frame

    def _renamed(self, blank: Change, source: bytes, frame: _Frame) -> Change:
        """A directory that was moved: the live one comes along, with what the job changed inside."""
        directory, name = split(source)
        # The kernel writes plain paths; nothing else is followed, not even as far as it would lead.
        sound = not {b"", b".", b".."} & set(source.split(b"/"))
        old = self._lookup(directory, name) if sound else None
        if old is None or not old.is_dir:
            old = None
        else:
            frame.live, frame.carried = source, False
        differing = self._lasting(aspects(old, frame.meta), old, frame.meta) if old is not None else ()
        return replace(blank, kind=Kind.RENAMED, old=old, over=blank.old, source=source, aspects=differing)

    def _merged(self, blank: Change) -> Change | None:
        """A directory that shows through: only its own metadata can have changed."""
        if blank.old is None or blank.new is None:
            return None
        every = aspects(blank.old, blank.new)
        differing = self._lasting(every, blank.old, blank.new)
        if not every:
            return None
        change = replace(blank, kind=Kind.META, aspects=differing or every, implied=not differing)
        return self._flagged(change, blank.new)

    def _lasting(self, differing: tuple[str, ...], old: Meta, new: Meta) -> tuple[str, ...]:
        """Without the time that changes with every entry, here or there: only one set by hand lies before the start."""
        if max(old.mtime_ns, new.mtime_ns) >= self._clock:
            return tuple(aspect for aspect in differing if aspect != "mtime")
        return differing

    def _flagged(self, change: Change, parent: Meta) -> Change:
        flags = flags_of(change, parent, self._submitter)
        return replace(change, flags=flags) if flags else change


def _source(parent: bytes | None, redirect: bytes | None) -> bytes | None:
    """The live path that a redirect names: from the root of the overlay, or beside the directory's own place."""
    if redirect is None:
        return None
    if redirect.startswith(b"/"):
        return redirect[1:]
    return None if parent is None else join(parent, redirect)
