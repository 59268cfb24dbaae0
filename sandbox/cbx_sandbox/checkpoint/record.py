"""What the journal holds of a commit: all that is needed to finish it, or to take it back, in a later process.

Written before the first change is made and never changed. Plain values in JSON; bytes are written as Latin-1, which
has a character for each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import astuple

from cbx_sandbox.checkpoint.changes import Change, Flag, Kind, Meta
from cbx_sandbox.checkpoint.plan import IN_PLACE, Action, Step
from cbx_sandbox.linux.credentials import Submitter

VERSION = 1


def holds_slots(name: str) -> bool:
    """Whether an entry of a stage is a directory of slots."""
    return name.startswith("d") and name[1:].isdecimal()


@dataclasses.dataclass(frozen=True, slots=True)
class Parent:
    """A directory that steps change, before the first of them."""

    path: bytes  # when its step's turn comes
    source: bytes  # where it is before all steps
    inode: int
    mode: int
    uid: int
    mtime_ns: int
    ctime_ns: int


@dataclasses.dataclass(frozen=True, slots=True)
class LayerWork:
    """The part of a commit that one layer has. Paths of the layer are relative to its upper directory."""

    index: int
    t0: int  # what was changed at or after it was changed by somebody else
    stage: int  # inode of the directory that holds the slots
    home: bytes  # the directory in the target that holds the stage, if that is not in the layer
    steps: tuple[Step, ...]
    slots: Mapping[int, int]  # which inode comes from the layer, by slot
    modes: Mapping[int, int]  # directories that have to be opened up to be moved, and their modes, by slot
    marks: tuple[tuple[bytes, bytes, bytes], ...] = ()  # overlayfs' attributes in the layer: path, name, value
    whiteouts: tuple[bytes, ...] = ()  # those within new directories
    times: tuple[tuple[bytes, int, int], ...] = ()  # directories of the layer that change: path, access, modification
    links: tuple[tuple[bytes, bytes, int], ...] = ()  # a file of the layer, the live file that it is a link of, inode
    parents: tuple[Parent, ...] = ()
    wins: frozenset[bytes] = frozenset()  # paths of changes that stand whatever somebody else did there since
    ends: tuple[tuple[bytes, int], ...] = ()  # the times that directories have at the end, the deepest first
    marked: tuple[tuple[bytes, int, int], ...] = ()  # what comes within new directories: path, immutable marks, inode
    width: int = 0  # how many slots share a directory of the stage; 0: all lie in the stage itself

    def name_of(self, slot: int) -> bytes:
        """The path of a slot in the stage."""
        return b"%d" % slot if not self.width else b"d%d/%d" % (slot // self.width, slot)

    @property
    def directories(self) -> list[bytes]:
        """The directories of the stage that slots lie in."""
        numbers = {step.slot // self.width for step in self.steps if step.slot >= 0} if self.width else ()
        return [b"d%d" % number for number in sorted(numbers)]

    def incoming(self, step: Step) -> int:
        """The inode that a step puts into the live tree; 0 if it puts none."""
        if step.action in {Action.OUT, Action.SET}:
            return 0
        if step.action is Action.LINK:
            return step.base_inode
        if step.action in IN_PLACE:
            return 0 if step.change.old is None else step.change.old.inode
        if step.change.kind is Kind.RENAMED:
            return 0 if step.change.old is None else step.change.old.inode
        return self.slots[step.slot]


def outgoing(step: Step) -> Meta | None:
    """What leaves the live tree, or is changed in its place."""
    if step.change.kind is Kind.RENAMED and step.action not in {Action.OUT, Action.SET}:
        return step.change.over
    return step.change.old


def metas(step: Step) -> tuple[Meta, Meta]:
    """What an object that keeps its inode is like before and after its step."""
    old, new = step.change.old, step.change.new
    assert old is not None
    assert new is not None
    return old, new


def closed(mode: int, uid: int, rights: Submitter) -> bool:
    """A directory of the submitter's own that its mode keeps him out of: he could open it, so it is opened."""
    return not rights.is_root and uid == rights.uid and mode & 0o300 != 0o300


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One commit."""

    checkpoint: int
    rights: Submitter
    layers: tuple[LayerWork, ...]
    partial: bool = False  # the layers go on to hold what was not selected

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        who = self.rights
        return {
            "version": VERSION,
            "checkpoint": self.checkpoint,
            "rights": [who.uid, who.gid, list(who.groups)],
            "partial": self.partial,
            "layers": [_work_out(work) for work in self.layers],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Record:
        """The record that :meth:`to_json` was called on. Raises KeyError, TypeError, ValueError for anything else."""
        if value["version"] != VERSION:
            raise ValueError(f"version {value['version']} of the journal")
        uid, gid, groups = value["rights"]
        layers = tuple(_work_in(work) for work in value["layers"])
        return Record(value["checkpoint"], Submitter(uid, gid, tuple(groups)), layers, value["partial"])


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")


def _raw(text: str) -> bytes:
    return text.encode("latin-1")


def _work_out(work: LayerWork) -> dict[str, Any]:
    return {
        "index": work.index,
        "t0": work.t0,
        "stage": work.stage,
        "home": _text(work.home),
        "steps": [_step_out(step) for step in work.steps],
        "slots": list(work.slots.items()),
        "modes": list(work.modes.items()),
        "marks": [[_text(part) for part in mark] for mark in work.marks],
        "whiteouts": [_text(path) for path in work.whiteouts],
        "times": [[_text(path), *times] for path, *times in work.times],
        "links": [[_text(path), _text(base), inode] for path, base, inode in work.links],
        "parents": [[_text(p.path), _text(p.source), *dataclasses.astuple(p)[2:]] for p in work.parents],
        "wins": [_text(path) for path in sorted(work.wins)],
        "ends": [[_text(path), mtime] for path, mtime in work.ends],
        "marked": [[_text(path), marks, inode] for path, marks, inode in work.marked],
        "width": work.width,
    }


def _work_in(value: Mapping[str, Any]) -> LayerWork:
    return LayerWork(
        index=value["index"],
        t0=value["t0"],
        stage=value["stage"],
        home=_raw(value["home"]),
        steps=tuple(_step_in(step) for step in value["steps"]),
        slots=dict(value["slots"]),
        modes=dict(value["modes"]),
        marks=tuple((_raw(path), _raw(key), _raw(content)) for path, key, content in value["marks"]),
        whiteouts=tuple(_raw(path) for path in value["whiteouts"]),
        times=tuple((_raw(path), accessed, modified) for path, accessed, modified in value["times"]),
        links=tuple((_raw(path), _raw(base), inode) for path, base, inode in value["links"]),
        parents=tuple(Parent(_raw(path), _raw(source), *rest) for path, source, *rest in value["parents"]),
        wins=frozenset(_raw(path) for path in value["wins"]),
        ends=tuple((_raw(path), mtime) for path, mtime in value["ends"]),
        marked=tuple((_raw(path), *rest) for path, *rest in value.get("marked", ())),  # earlier releases had none
        width=value.get("width", 0),  # nor this
    )


def _step_out(step: Step) -> list[Any]:
    return [step.action.value, _text(step.path), step.slot, _change_out(step.change), _text(step.base), step.base_inode]


def _step_in(value: Iterable[Any]) -> Step:
    action, path, slot, change, base, inode = value
    return Step(Action(action), _raw(path), slot, _change_in(change), _raw(base), inode)


def _change_out(change: Change) -> dict[str, Any]:
    # Field by field: a record may have very many changes.
    value: dict[str, Any] = {"kind": change.kind.value, "layer": change.layer, "path": _text(change.path)}
    if change.old is not None:
        value["old"] = _meta_out(change.old)
    if change.new is not None:
        value["new"] = _meta_out(change.new)
    if change.over is not None:
        value["over"] = _meta_out(change.over)
    if change.source is not None:
        value["source"] = _text(change.source)
    if change.origin:
        value["origin"] = _text(change.origin)
    if change.parent:
        value["parent"] = _text(change.parent)
    if change.aspects:
        value["aspects"] = list(change.aspects)
    if change.flags:
        value["flags"] = sorted(change.flags)
    return value


def _change_in(value: Mapping[str, Any]) -> Change:
    metas = {name: _meta_in(value[name]) if name in value else None for name in ("old", "new", "over")}
    return Change(
        kind=Kind(value["kind"]),
        layer=value["layer"],
        path=_raw(value["path"]),
        source=_raw(value["source"]) if "source" in value else None,
        origin=_raw(value.get("origin", "")),
        parent=_raw(value.get("parent", "")),
        aspects=tuple(value.get("aspects", ())),
        flags=frozenset(Flag(flag) for flag in value.get("flags", ())),
        old=metas["old"],
        new=metas["new"],
        over=metas["over"],
    )


def _meta_out(meta: Meta) -> list[Any]:
    fields: list[Any] = list(astuple(meta))
    fields[10] = _text(meta.target) if meta.target else ""
    fields[11] = [[_text(key), _text(content)] for key, content in meta.xattrs] if meta.xattrs else ()
    return fields


def _meta_in(value: list[Any]) -> Meta:
    fields = list(value)
    fields[10] = _raw(fields[10])
    fields[11] = tuple((_raw(key), _raw(content)) for key, content in fields[11])
    return Meta(*fields)
