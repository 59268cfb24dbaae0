"""What a change is: the values that diff makes, conflicts and commit consume, and render shows."""

from __future__ import annotations

import dataclasses
import enum
import os
import stat
from collections.abc import Iterable, Sequence

import msgspec


class Kind(enum.StrEnum):
    """What happened to one path."""

    ADDED = "added"
    DELETED = "deleted"
    CHANGED = "changed"  # the content of a file, the target of a symlink, the number of a device
    META = "meta"  # owner, mode, times or attributes only
    TYPE = "type"  # something of another type
    REPLACED = "replaced"  # a directory, by a new directory
    RENAMED = "renamed"  # came from Change.source with its content; that of a directory may have changes of its own

    @property
    def letter(self) -> str:
        """One letter, as `git diff --name-status` has them."""
        return _LETTERS[self]


_LETTERS = {
    Kind.ADDED: "A",
    Kind.DELETED: "D",
    Kind.CHANGED: "M",
    Kind.META: "P",
    Kind.TYPE: "T",
    Kind.REPLACED: "X",
    Kind.RENAMED: "R",
}


class Meta(msgspec.Struct, frozen=True, gc=False):
    """Everything about an inode that a change can be in."""

    # A struct that the collector of cycles leaves alone, here and below: a change set may hold hundreds of thousands.

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int
    nlink: int
    rdev: int = 0
    target: bytes = b""  # of a symlink
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    attributes: int = 0  # immutable and append-only, as in statx(2)

    @property
    def is_dir(self) -> bool:
        """True for a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """True for a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        """True for a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def type(self) -> str:
        """The type in one word."""
        return _TYPES.get(stat.S_IFMT(self.mode), "unknown")


_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


class Flag(enum.StrEnum):
    """What a reviewer should look at. All but WORLD_WRITABLE and IMMUTABLE need ``allow_privileged``."""

    SETUID = "setuid"
    SETGID = "setgid"
    CAPABILITY = "file-capability"
    DEVICE = "device"
    FOREIGN = "foreign-owner"
    WORLD_WRITABLE = "world-writable"
    IMMUTABLE = "immutable"

    @property
    def privileged(self) -> bool:
        """True if a commit refuses it unless it was allowed."""
        return self not in {Flag.WORLD_WRITABLE, Flag.IMMUTABLE}


class Change(msgspec.Struct, frozen=True, gc=False):
    """One changed path. Paths are relative to the layer's target; ``live_path`` joins the two."""

    kind: Kind
    layer: int
    path: bytes  # where it is after the commit; b"" is the target itself
    old: Meta | None
    new: Meta | None
    aspects: tuple[str, ...] = ()  # content, mode, owner, mtime, xattrs, target, device, links, attributes
    flags: frozenset[Flag] = frozenset()
    source: bytes | None = None  # where the old object is in the live tree, if not at ``path``
    over: Meta | None = None  # RENAMED: what is in its way at ``path``
    carried: bool = False  # arrives, or goes, with a directory above it: no step of its own
    implied: bool = False  # the time of a directory whose entries changed: not worth a line
    vacated: bool = False  # what is at ``path`` now moves away: it is the source of a rename
    in_place: bool = False  # diff has seen by the handles that the copy was made from what is at ``live``
    copied: bool = False  # the layer's object was copied up from the live tree, not made by the job
    origin: bytes = b""  # handle of the live inode that the layer's copy was made from
    parent: bytes = b""  # handle of the live directory that holds ``source``
    marks: tuple[tuple[bytes, bytes], ...] = ()  # attributes that overlayfs gave to the layer's object, or renamed

    @property
    def live(self) -> bytes:
        """Where the old object is in the live tree now."""
        return self.path if self.source is None else self.source


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """Counts for one line."""

    added: int
    changed: int
    deleted: int
    bytes: int

    @property
    def empty(self) -> bool:
        """True if there is nothing to commit."""
        return not (self.added or self.changed or self.deleted)


def summarise(changes: Iterable[Change]) -> Summary:
    """Count changes; a deleted directory counts as one, renamed and replaced ones as changed."""
    added = changed = deleted = size = 0
    for change in changes:
        if change.implied:
            continue
        if change.kind is Kind.ADDED:
            added += 1
        elif change.kind is Kind.DELETED:
            deleted += 1
        else:
            changed += 1
        if change.new is not None and change.new.is_file and change.kind is not Kind.META:
            size += change.new.size
    return Summary(added, changed, deleted, size)


def join(directory: bytes, name: bytes) -> bytes:
    """``name`` in ``directory``, which is relative and may be empty."""
    return directory + b"/" + name if directory else name


def split(path: bytes) -> tuple[bytes, bytes]:
    """Directory and name of a relative path."""
    directory, _, name = path.rpartition(b"/")
    return directory, name


def beneath(path: bytes, directory: bytes) -> bool:
    """Whether ``path`` is ``directory`` or below it."""
    return not directory or path == directory or path.startswith(directory + b"/")


def absolute(path: bytes, target: str) -> bytes:
    """The absolute path of ``path``, which is relative to ``target``."""
    directory = os.fsencode(target).rstrip(b"/")
    return directory + b"/" + path if path else directory or b"/"


def live_path(change: Change, targets: Sequence[str]) -> bytes:
    """The absolute path that ``change`` is about. ``targets`` are those of the layers, by index."""
    return absolute(change.path, targets[change.layer])
