"""A run's changes held against its prediction: what was foreseen, what was not, and what was and did not happen."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbx_sandbox.shell.effects import Access, Certainty, PathEffect
from cbx_sandbox.shell.overlaps import matches, stem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_NAMED = 16  # paths that are named of each kind; all are counted


@dataclass(frozen=True, slots=True)
class Observation:
    """What came of one prediction. ``directories`` are the outermost that hold what was missed."""

    changed: int
    missed: int
    missed_paths: tuple[str, ...]
    directories: tuple[str, ...]
    predicted: int
    untouched: int
    untouched_paths: tuple[str, ...]

    @property
    def covered(self) -> bool:
        """Whether nothing was changed that was not predicted."""
        return self.missed == 0


def compare(
    effects: Iterable[PathEffect], changed: Iterable[str], shared: Callable[[str], bool] = lambda _: False
) -> Observation:
    """Hold the live paths of a change set, as text, against the predicted writes.

    ``shared`` says which directories hold the files of many: they are not among those that are worth learning.

    A directory that had to be made on the way to a predicted path counts as predicted, and so does what goes with a
    directory that was predicted to be deleted. What a pattern means lies as deep as the pattern.
    """
    writes = [effect for effect in effects if effect.access is not Access.READ]
    predicted = list({(effect.path, effect.certainty): effect for effect in writes}.values())
    whole = {effect.path for effect in writes if _whole(effect)}
    exact = {effect.path for effect in predicted if effect.certainty is Certainty.LITERAL}
    above = {parent for effect in predicted for parent in parents(_beginning(effect))}
    patterns = [effect for effect in predicted if effect.certainty is Certainty.PATTERN]
    missed: list[str] = []
    reached: set[str] = set()
    count = 0
    for path in changed:
        count += 1
        way = (path, *parents(path))
        reached.update(way)
        if path in exact or not whole.isdisjoint(way):
            continue
        if path in above or any(_means(pattern, path, way) for pattern in patterns):
            continue
        missed.append(path)
    untouched = sorted(effect.path for effect in predicted if not _touched(effect, reached))
    return Observation(
        changed=count,
        missed=len(missed),
        missed_paths=tuple(sorted(missed)[:MAX_NAMED]),
        directories=_outermost({name for path in missed if not shared(name := posixpath.dirname(path))}),
        predicted=len(predicted),
        untouched=len(untouched),
        untouched_paths=tuple(untouched[:MAX_NAMED]),
    )


def _whole(effect: PathEffect) -> bool:
    if effect.certainty is Certainty.PATTERN:
        return False
    return effect.certainty is not Certainty.LITERAL or effect.access is Access.DELETE


def _beginning(effect: PathEffect) -> str:
    """Return a path as far as it is known; all above it has to be there."""
    return stem(effect) if effect.certainty is Certainty.PATTERN else effect.path


def _means(pattern: PathEffect, path: str, way: tuple[str, ...]) -> bool:
    """Whether a pattern means a path; one that is deleted takes along all that is beneath what it means."""
    return any(matches(name, pattern.path) for name in (way if pattern.access is Access.DELETE else (path,)))


def _touched(effect: PathEffect, reached: set[str]) -> bool:
    if effect.certainty is Certainty.PATTERN:
        return any(matches(path, effect.path) for path in reached)
    return effect.path in reached


def parents(path: str) -> list[str]:
    """Return the directories that a path lies in, the nearest first."""
    found = []
    while path not in {"/", ""}:
        path = posixpath.dirname(path)
        found.append(path)
    return found


def _outermost(directories: set[str]) -> tuple[str, ...]:
    return tuple(sorted(path for path in directories if directories.isdisjoint(parents(path))))
