"""A run held against its prediction: what was foreseen, what it changed and read unforeseen, what did not happen."""

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
    foreseen = _Foreseen(writes)
    missed: list[str] = []
    reached: set[str] = set()
    count = 0
    for path in changed:
        count += 1
        reached.update((path, *parents(path)))
        if not foreseen.covers(path):
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


@dataclass(frozen=True, slots=True)
class Reads:
    """What a run read, held against all that it was predicted to touch. ``places``: where it was not, to be learned.

    A place that ends with a slash is a directory with all that is in it.
    """

    read: int
    missed: int
    missed_paths: tuple[str, ...]
    places: tuple[str, ...]

    @property
    def covered(self) -> bool:
        """Whether nothing was read that was not predicted to be touched."""
        return self.missed == 0


def compare_reads(
    effects: Iterable[PathEffect],
    read: Iterable[str],
    unnamed: Iterable[str] = (),
    shared: Callable[[str], bool] = lambda _: False,
) -> Reads:
    """Hold the live paths that were read, and directories in which more was read than is named, against effects.

    A path with a slash at its end is a directory whose names were read. Who was predicted to change a path was
    predicted to look at it, and at the directories that lead there. ``shared`` as for :func:`compare`: of what is read
    there only the files themselves are worth learning.
    """
    foreseen = _Foreseen(effects)
    named, unnamed = dict.fromkeys(read), dict.fromkeys(unnamed)
    missed = sorted(path for path in named if not foreseen.covers(path.rstrip("/") or "/"))
    missed_in = sorted(path for path in unnamed if not foreseen.covers_all(path))
    files = [path for path in missed if not path.endswith("/")]
    directories = {path.rstrip("/") or "/" for path in missed if path.endswith("/")}.union(missed_in)
    if len(files) > MAX_NAMED:
        directories.update(map(posixpath.dirname, files))
    whole = {path for path in directories if not shared(path)}
    exact = [path for path in files if whole.isdisjoint(parents(path))]
    return Reads(
        read=len(named) + len(unnamed),
        missed=len(missed) + len(missed_in),
        missed_paths=tuple([*missed, *(path.rstrip("/") + "/" for path in missed_in)][:MAX_NAMED]),
        places=(*exact, *(path.rstrip("/") + "/" for path in _outermost(whole))),
    )


class _Foreseen:
    """The paths that a prediction covers."""

    def __init__(self, effects: Iterable[PathEffect]) -> None:
        effects = tuple(effects)
        self.whole = {effect.path for effect in effects if _whole(effect)}
        self.exact = {effect.path for effect in effects if effect.certainty is Certainty.LITERAL}
        self.above = {parent for effect in effects for parent in parents(_beginning(effect))}
        self.patterns = [effect for effect in effects if effect.certainty is Certainty.PATTERN]

    def covers(self, path: str) -> bool:
        """Whether a path was predicted, or leads to one that was."""
        if path in self.exact or path in self.above:
            return True
        way = (path, *parents(path))
        return not self.whole.isdisjoint(way) or any(_means(pattern, path, way) for pattern in self.patterns)

    def covers_all(self, directory: str) -> bool:
        """Whether all that a directory holds was predicted."""
        return not self.whole.isdisjoint((directory, *parents(directory)))


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
