"""From changes to steps: what is done to the live tree, and in which order. Touches nothing but to count links."""

from __future__ import annotations

import dataclasses
import enum
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence

from cbx_sandbox.checkpoint.changes import Change, Kind, Meta
from cbx_sandbox.linux import files

_PLACES = {Kind.ADDED, Kind.CHANGED, Kind.TYPE, Kind.REPLACED}


class Action(enum.StrEnum):
    """What a step does to one name of the live tree. A slot is a numbered name in the stage."""

    OUT = "out"  # the live object goes to the slot
    IN = "in"  # the slot's object goes to a name that is free
    SWAP = "swap"  # the two change places
    LINK = "link"  # another name for the live object at ``base``, by way of the slot
    SET = "set"  # metadata, in place
    REWRITE = "rewrite"  # contents and metadata, in place: the slot has the new contents, and keeps them
    APPEND = "append"  # the same, where the old contents are the beginning of the new ones


IN_PLACE = frozenset({Action.REWRITE, Action.APPEND})  # the live file keeps its inode


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step. ``path`` is where the object is when the step's turn comes."""

    action: Action
    path: bytes
    slot: int
    change: Change
    base: bytes = b""
    base_inode: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one layer in order; which of the carried files become links of live ones; what to tell."""

    steps: tuple[Step, ...]
    relinks: tuple[tuple[Change, Change], ...] = ()
    notes: tuple[str, ...] = ()


def plan(
    changes: Sequence[Change], inside: Callable[[Meta], bool], in_place: Mapping[bytes, Action] | None = None
) -> Plan:
    """Order the steps of one layer's ``changes``. ``inside`` tells whether all links of a live file are in the target.

    ``in_place`` has the paths whose contents are written into the live file, and how.

    First everything that moves leaves its old place, the deepest first; then names change, parents first; then links
    are made; metadata of directories comes last, the deepest first, since it may forbid what comes before.
    """
    in_place = in_place or {}
    links = _Links([change for change in changes if change.path not in in_place], inside)
    slots = iter(range(len(changes) * 2))
    moved = sorted((c for c in changes if c.kind is Kind.RENAMED), key=lambda c: c.live.count(b"/"), reverse=True)
    taken = {change.path: next(slots) for change in moved}
    takes = [Step(Action.OUT, change.live, taken[change.path], change) for change in moved]
    names: list[Step] = []
    late: list[Step] = []
    directories: list[Step] = []
    for change in changes:
        if change.carried or change.implied or change.path in links.already:
            continue
        if change.path in in_place:
            late.append(Step(in_place[change.path], change.path, next(slots), change))
            continue
        swap = Action.IN if change.old is None else Action.SWAP
        if change.path in links.bases:
            base = links.bases[change.path]
            inode = 0 if base.old is None else base.old.inode
            late.append(Step(Action.LINK, change.path, next(slots), change, base.path, inode))
        elif change.kind is Kind.DELETED:
            names.append(Step(Action.OUT, change.path, next(slots), change))
        elif change.kind in _PLACES or change.path in links.broken:
            names.append(Step(swap, change.path, next(slots), change))
        elif change.kind is Kind.RENAMED:
            action = Action.IN if change.over is None else Action.SWAP
            names.append(Step(action, change.path, taken[change.path], change))
        if (
            change.kind in {Kind.META, Kind.RENAMED}
            and change.path not in links.broken
            and set(change.aspects) - {"links"}
        ):
            step = Step(Action.SET, change.path, -1, change)
            (directories if change.new is not None and change.new.is_dir else late).append(step)
    directories.reverse()
    return Plan((*takes, *names, *late, *directories), tuple(links.relinks), tuple(links.notes))


class _Links:
    """What becomes of files with several names."""

    def __init__(self, changes: Sequence[Change], inside: Callable[[Meta], bool]) -> None:
        # By path, which no two changes of a layer share: a whole change takes long to hash.
        self.bases: dict[bytes, Change] = {}
        self.already: set[bytes] = set()
        self.broken: set[bytes] = set()
        self.relinks: list[tuple[Change, Change]] = []
        self.notes: list[str] = []
        groups: dict[int, list[Change]] = {}
        for change in changes:
            if change.new is not None and not (change.new.is_dir or change.implied):
                if change.new.nlink > 1:
                    groups.setdefault(change.new.inode, []).append(change)
                else:
                    self._single(change, inside)
        for group in groups.values():
            self._group(group, inside)

    def _single(self, change: Change, inside: Callable[[Meta], bool]) -> None:
        old = change.old
        if old is None or old.nlink < 2:
            return
        if change.kind is Kind.META and inside(old):
            return  # metadata belongs to the inode: all its names get it, as they would have without an overlay
        self._break(change)

    def _break(self, change: Change) -> None:
        self.broken.add(change.path)
        self.notes.append(f"{printable(change.path)} is no longer a hard link of its other names")

    def _group(self, group: list[Change], inside: Callable[[Meta], bool]) -> None:
        """Names of one new inode. If one of them is the live file as it was, the others become its links."""
        unchanged = [change for change in group if change.kind is Kind.META and change.old is not None]
        base = next((c for c in unchanged if c.old is not None and (c.old.nlink == 1 or inside(c.old))), None)
        if base is None or base.old is None:
            for change in unchanged:
                if change.old is not None and change.old.nlink > 1:
                    self._break(change)
                else:
                    self.broken.add(change.path)
            return
        for change in group:
            if change is base:
                continue
            if change.old is not None and change.old.inode == base.old.inode:
                self.already.add(change.path)
            elif change.carried:
                self.relinks.append((change, base))
            else:
                self.bases[change.path] = base


def printable(path: bytes) -> str:
    """A path for a message."""
    return path.decode("utf-8", "backslashreplace").encode("unicode_escape").decode("ascii")


def links_inside(live_fd: int, wanted: set[int]) -> Iterator[int]:
    """Of the inodes ``wanted``, those whose every name lies in the tree at ``live_fd``; one walk of it, on demand."""
    found = dict.fromkeys(wanted, 0)
    with files.Cursor(live_fd) as cursor:
        for _, status in files.walk(cursor):
            if status.ino in found and not stat.S_ISDIR(status.mode):
                found[status.ino] += 1
                if found[status.ino] == status.nlink:
                    yield status.ino
