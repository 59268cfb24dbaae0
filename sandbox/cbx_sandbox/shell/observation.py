"""A run's changes held against its prediction: what was foreseen, what was not, and what was and did not happen."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cbx_sandbox.shell.effects import Access, Certainty, PathEffect

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
    directory that was predicted to be deleted.
    """
    writes = [effect for effect in effects if effect.access is not Access.READ]
    predicted = list({(effect.path, effect.certainty): effect for effect in writes}.values())
    whole = {effect.path for effect in writes if _whole(effect)}
    exact = {effect.path for effect in predicted if effect.certainty is Certainty.LITERAL}
    above = {parent for path in exact for parent in parents(path)}
    patterns = [effect.path for effect in predicted if effect.certainty is Certainty.PATTERN]
    missed: list[str] = []
    reached: set[str] = set()
    count = 0
    for path in changed:
        count += 1
        way = (path, *parents(path))
        reached.update(way)
        if path in exact or not whole.isdisjoint(way):
            continue
        if path in above or any(matches(pattern, path) for pattern in patterns):
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
    return effect.certainty in {Certainty.UNDER, Certainty.UNKNOWN} or effect.access is Access.DELETE


def _touched(effect: PathEffect, reached: set[str]) -> bool:
    if effect.certainty is Certainty.PATTERN:
        return any(matches(effect.path, path) for path in reached)
    return effect.path in reached


def parents(path: str) -> list[str]:
    """Return the directories that a path lies in, the nearest first."""
    found = []
    while path not in {"/", ""}:
        path = posixpath.dirname(path)
        found.append(path)
    return found


def matches(pattern: str, path: str) -> bool:
    """Whether a path, or a directory that it lies in, is matched; ``*`` stops at a slash."""
    parts, names = pattern.strip("/").split("/"), path.strip("/").split("/")
    return len(names) >= len(parts) and all(map(fnmatchcase, names, parts))


def _outermost(directories: set[str]) -> tuple[str, ...]:
    return tuple(sorted(path for path in directories if directories.isdisjoint(parents(path))))
