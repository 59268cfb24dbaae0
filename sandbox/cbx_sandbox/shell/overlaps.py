"""Which paths of two commands can be the same file, without holding each against each.

A *wide* effect stands for many paths: all under a directory, or what a pattern matches. Its *stem* is the text that all
of them begin with. Two wide effects can meet if one stem begins with the other; a path meets a directory that it is in,
and a pattern that it matches.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cbx_sandbox.shell.effects import Access, Certainty

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cbx_sandbox.shell.effects import PathEffect

_UNDER = frozenset({Certainty.UNDER, Certainty.UNKNOWN})


def overlap(one: PathEffect, other: PathEffect) -> bool:
    """Whether two effects can mean the same file: the definition; ``Index`` finds the same faster."""
    if one.path == other.path:
        return True
    if _takes(one, other) or _takes(other, one):
        return True
    if one.certainty is Certainty.LITERAL and other.certainty is Certainty.LITERAL:
        return False
    if one.certainty is Certainty.LITERAL:
        return _meets(one.path, other)
    if other.certainty is Certainty.LITERAL:
        return _meets(other.path, one)
    left, right = stem(one), stem(other)
    return left.startswith(right) or right.startswith(left)


def _takes(one: PathEffect, other: PathEffect) -> bool:
    """Whether one removes what the other's paths are in: a literal path may be a directory, with all that is in it."""
    if one.access is not Access.DELETE or one.certainty is not Certainty.LITERAL:
        return False
    text = inside(other.path) if other.certainty is Certainty.LITERAL else stem(other)
    return text.startswith(inside(one.path))


def matches(path: str, pattern: str) -> bool:
    """Whether a pattern means a path: as in the shell, no wildcard stands for a slash."""
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


def _meets(path: str, wide: PathEffect) -> bool:
    if wide.certainty is Certainty.PATTERN:
        return matches(path, wide.path)
    return inside(path).startswith(stem(wide))


def stem(wide: PathEffect) -> str:
    """Return what everything that a wide effect stands for begins with."""
    if wide.certainty is Certainty.PATTERN:
        path = wide.path
        return path[: min((path.find(char) for char in "*?[" if char in path), default=len(path))]
    return inside(wide.path)


def inside(path: str) -> str:
    """Return what the paths beneath a directory begin with; of a path, what a stem is held against."""
    return path.rstrip("/") + "/"


class Index:
    """The effects of one command, to be asked for those that meet another one."""

    def __init__(self, effects: Iterable[PathEffect]) -> None:
        self._paths: dict[str, set[Access]] = defaultdict(set)  # of every kind, by the exact text
        self._stems: dict[str, set[Access]] = defaultdict(set)  # of directories
        self._patterns: dict[str, list[PathEffect]] = defaultdict(list)
        literal: dict[Access, set[str]] = defaultdict(set)
        wide: dict[Access, set[str]] = defaultdict(set)
        for effect in effects:
            self._paths[effect.path].add(effect.access)
            if effect.certainty is Certainty.LITERAL:
                literal[effect.access].add(inside(effect.path))
                if effect.access is Access.DELETE:
                    self._stems[inside(effect.path)].add(effect.access)
                continue
            wide[effect.access].add(stem(effect))
            if effect.certainty is Certainty.PATTERN:
                self._patterns[stem(effect)].append(effect)
            else:
                self._stems[stem(effect)].add(effect.access)
        self._literal = {access: sorted(texts) for access, texts in literal.items()}
        self._wide = {access: sorted(texts) for access, texts in wide.items()}
        self._lengths = sorted({len(text) for text in (*self._stems, *self._patterns)})

    def meeting(self, effect: PathEffect) -> set[Access]:
        """Return what the indexed command does to what an effect means."""
        found = set(self._paths.get(effect.path, ()))
        if effect.certainty is Certainty.LITERAL:
            self._around(effect.path, found)
            if effect.access is Access.DELETE:
                every = (*self._literal.items(), *self._wide.items())
                found.update(access for access, texts in every if _any_begins(texts, inside(effect.path)))
            return found
        own = stem(effect)
        for text in self._beginnings(own):
            found |= self._stems.get(text, set())
            found.update(pattern.access for pattern in self._patterns.get(text, ()))
        found.update(access for access, texts in self._wide.items() if _any_begins(texts, own))
        if effect.certainty in _UNDER:
            found.update(access for access, texts in self._literal.items() if _any_begins(texts, own))
        else:
            found.update(access for access, texts in self._literal.items() if _any_matches(texts, own, effect.path))
        return found

    def _around(self, path: str, found: set[Access]) -> None:
        whole = inside(path)
        for text in self._beginnings(whole):
            found |= self._stems.get(text, set())
            found.update(pattern.access for pattern in self._patterns.get(text, ()) if matches(path, pattern.path))

    def _beginnings(self, text: str) -> Iterator[str]:
        for length in self._lengths:
            if length > len(text):
                return
            yield text[:length]


def _any_begins(texts: list[str], beginning: str) -> bool:
    place = bisect_left(texts, beginning)
    return place < len(texts) and texts[place].startswith(beginning)


def _any_matches(texts: list[str], beginning: str, pattern: str) -> bool:
    place = bisect_left(texts, beginning)
    while place < len(texts) and texts[place].startswith(beginning):
        if matches(texts[place].rstrip("/") or "/", pattern):
            return True
        place += 1
    # The path may itself be the beginning, without what stands for its inside.
    return False
