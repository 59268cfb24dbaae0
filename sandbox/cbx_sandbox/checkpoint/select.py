"""A part of a checkpoint's changes, such that it can be committed without the rest. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from cbx_sandbox.checkpoint.changes import Change, Kind, absolute, beneath, split
from cbx_sandbox.checkpoint.plan import printable
from cbx_sandbox.errors import UsageError

_WHOLE = {Kind.ADDED, Kind.REPLACED, Kind.TYPE, Kind.RENAMED}  # what is beneath comes along


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """Absolute paths, each with all beneath it: nothing but ``only`` (empty: everything), and not ``without``."""

    only: tuple[bytes, ...] = ()
    without: tuple[bytes, ...] = ()

    @property
    def whole(self) -> bool:
        """True if nothing is left out."""
        return not (self.only or self.without)


EVERYTHING = Selection()


def choose(
    changes: Sequence[Change], targets: Sequence[str], selection: Selection
) -> tuple[list[Change], list[Change]]:
    """Split ``changes`` into those selected, with what they need, and the rest; ``targets`` are those of the layers.

    What is needed: the new directory that something lies in, and the move that has freed its place. Raises UsageError
    for a path without a change, and for what cannot be left out because it comes with something that is selected.
    """
    if selection.whole:
        return list(changes), []
    shown = [change for change in changes if not change.implied]
    check_named(shown, targets, (*selection.only, *selection.without), "select")
    chosen = {(c.layer, c.path) for c in shown if _is_selected(c, targets, selection)}
    _add_needed(shown, chosen)
    by_path = {(change.layer, change.path): change for change in shown}
    for at, change in by_path.items():
        if at not in chosen:
            _check_can_stay(change, by_path, chosen, targets)
    parents = {(layer, split(path)[0]) for layer, path in chosen}
    kept: list[Change] = []
    rest: list[Change] = []
    for change in changes:
        at = change.layer, change.path
        (kept if at in chosen or (change.implied and at in parents) else rest).append(change)
    return kept, rest


def check_named(
    changes: Sequence[Change], targets: Sequence[str], paths: Sequence[bytes], verb: str, *, within: bool = False
) -> None:
    """Raise UsageError ("cannot ``verb`` …") for a path at which nothing changes: it was not meant so.

    With ``within``, what lies beneath something that goes, or comes, as a whole counts, too.
    """
    for path in paths:
        places = (place for c in changes if c.kind is not Kind.META for place in _places(c, targets))
        if not at(changes, targets, [path]) and not (within and any(beneath(path, place) for place in places)):
            raise UsageError(f"cannot {verb} {printable(path)}: the checkpoint changes nothing there")


def at(changes: Sequence[Change], targets: Sequence[str], paths: Sequence[bytes]) -> list[Change]:
    """Those at absolute ``paths`` and beneath; all of them if there are no paths."""
    if not paths:
        return list(changes)
    roots = [path.rstrip(b"/") for path in paths]
    return [c for c in changes if any(beneath(place, root) for root in roots for place in _places(c, targets))]


def _places(change: Change, targets: Sequence[str]) -> Iterator[bytes]:
    yield absolute(change.path, targets[change.layer])
    if change.kind is Kind.RENAMED:
        yield absolute(change.live, targets[change.layer])


def _is_selected(change: Change, targets: Sequence[str], selection: Selection) -> bool:
    def at(paths: Sequence[bytes]) -> bool:
        return any(beneath(place, path.rstrip(b"/")) for path in paths for place in _places(change, targets))

    return (not selection.only or at(selection.only)) and not at(selection.without)


def _add_needed(changes: Sequence[Change], chosen: set[tuple[int, bytes]]) -> None:
    by_path = {(change.layer, change.path): change for change in changes}
    freed = {(c.layer, c.live): c for c in changes if c.kind is Kind.RENAMED}
    todo = list(chosen)
    while todo:
        layer, path = todo.pop()
        needed = [above for above in _above(by_path, layer, path) if above.kind in _WHOLE]
        if by_path[layer, path].vacated and (layer, path) in freed:
            needed.append(freed[layer, path])
        for change in needed:
            at = change.layer, change.path
            if at not in chosen:
                chosen.add(at)
                todo.append(at)


def _above(by_path: dict[tuple[int, bytes], Change], layer: int, path: bytes) -> Iterator[Change]:
    while path:
        path = split(path)[0]
        if (layer, path) in by_path:
            yield by_path[layer, path]


def _check_can_stay(
    change: Change, by_path: dict[tuple[int, bytes], Change], chosen: set[tuple[int, bytes]], targets: Sequence[str]
) -> None:
    for above in _above(by_path, change.layer, change.path):
        if above.kind in _WHOLE and (above.layer, above.path) in chosen:
            left, with_ = (printable(absolute(c.path, targets[c.layer])) for c in (change, above))
            raise UsageError(
                f"cannot leave out {left}: it comes with {with_}, which is {above.kind.value}",
                hint=f"select all of {with_}, or nothing in it",
            )
