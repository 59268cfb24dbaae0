"""Which paths of two commands can be the same file, without holding each against each.

A *wide* effect stands for many paths: all under a directory, or what a pattern matches. Its *stem* is the text that all
of them begin with. A path meets a directory that it is in, and a pattern that it matches; what a pattern means lies as
deep as the pattern, so it meets a directory only if it reaches into it. Whoever deletes a path takes what is in it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cbx_sandbox.shell.effects import Access, Certainty
from cbx_sandbox.shell.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cbx_sandbox.shell.effects import PathEffect

_WILD = "*?["
_AFTER_WILD = expression(r"[*?\[\]()|]")


def overlap(one: PathEffect, other: PathEffect) -> bool:
    """Whether two effects can mean the same file: the definition; ``Index`` finds the same faster."""
    if one.path == other.path:
        return True
    if _takes(one, other) or _takes(other, one):
        return True
    if one.certainty is Certainty.LITERAL:
        return other.certainty is not Certainty.LITERAL and _meets(one.path, other)
    if other.certainty is Certainty.LITERAL:
        return _meets(other.path, one)
    return _wide_meet(one, other)


def _wide_meet(one: PathEffect, other: PathEffect) -> bool:
    left, right = stem(one), stem(other)
    if not (left.startswith(right) or right.startswith(left)):
        return False
    if Certainty.PATTERN is one.certainty is other.certainty and not _ends_alike(one, other):
        return False
    depths = _depth(one), _depth(other)
    if _loose(one) or _loose(other):
        return True
    if Certainty.PATTERN is one.certainty is other.certainty:
        return depths[0] == depths[1] and _along(one, other)
    if one.certainty is Certainty.PATTERN:
        return depths[0] >= depths[1] and _along(one, other)
    if other.certainty is Certainty.PATTERN:
        return depths[1] >= depths[0] and _along(one, other)
    return True


def _takes(one: PathEffect, other: PathEffect) -> bool:
    """Whether one removes what the other's paths are in: what it removes may be directories, with all in them."""
    if one.access is not Access.DELETE or one.certainty not in {Certainty.LITERAL, Certainty.PATTERN}:
        return False
    if Certainty.PATTERN not in {one.certainty, other.certainty}:
        return inside(other.path).startswith(inside(one.path))
    if _loose(one) and other.certainty is not Certainty.PATTERN:
        names = other.path.split("/")
        return any(matches("/".join(names[:length]), one.path) for length in range(2, len(names) + 1))
    if _loose(one) or _loose(other):
        left, right = _text(one), _text(other)
        return left.startswith(right) or right.startswith(left)
    return _depth(other) > _depth(one) and _along(one, other)


def matches(path: str, pattern: str) -> bool:
    """Whether a pattern means a path: as in the shell, no wildcard stands for a slash, but two stars may."""
    if "**" in pattern or "(" in pattern:
        return path.startswith(_beginning(pattern)) and path.endswith(_ending(pattern))
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


def _meets(path: str, wide: PathEffect) -> bool:
    if wide.certainty is Certainty.PATTERN:
        return matches(path, wide.path)
    return inside(path).startswith(inside(wide.path))


def stem(wide: PathEffect) -> str:
    """Return what everything that a wide effect stands for begins with."""
    return _beginning(wide.path) if wide.certainty is Certainty.PATTERN else inside(wide.path)


def _beginning(pattern: str) -> str:
    """Return what all names that a pattern means begin with; a parenthesis belongs to the sign before it."""
    signs = [place for char in _WILD if (place := pattern.find(char)) >= 0]
    group = pattern.find("(")
    return pattern[: min([*signs, *([max(group - 1, 0)] if group >= 0 else [])], default=len(pattern))]


def _ending(pattern: str) -> str:
    """Return what all names that a pattern means end with."""
    return _AFTER_WILD.split(pattern)[-1]


def _ends_alike(one: PathEffect, other: PathEffect) -> bool:
    """Whether two patterns can end as the same path does."""
    left, right = _ending(one.path), _ending(other.path)
    return left.endswith(right) or right.endswith(left)


def inside(path: str) -> str:
    """Return what the paths beneath a directory begin with; of a path, what a stem is held against."""
    return path.rstrip("/") + "/"


def _text(effect: PathEffect) -> str:
    return stem(effect) if effect.certainty is Certainty.PATTERN else inside(effect.path)


def _loose(effect: PathEffect) -> bool:
    """Whether a pattern has more in it than the wildcards that are followed here: only its stem counts."""
    return effect.certainty is Certainty.PATTERN and ("**" in effect.path or "(" in effect.path)


def _depth(effect: PathEffect) -> int:
    return effect.path.rstrip("/").count("/")


def _along(one: PathEffect, other: PathEffect) -> bool:
    """Whether two paths can be the same as far as both go."""
    wild = one.certainty is Certainty.PATTERN, other.certainty is Certainty.PATTERN
    names = zip(one.path.rstrip("/").split("/"), other.path.rstrip("/").split("/"), strict=False)
    return all(_alike(left, right, wild) for left, right in names)


def _alike(one: str, other: str, wild: tuple[bool, bool]) -> bool:
    """Whether two names can be the same; ``wild`` says which of them is matched."""
    if one == other:
        return True
    if wild == (False, False):
        return False
    if not wild[0]:
        return fnmatchcase(one, other)
    if not wild[1]:
        return fnmatchcase(other, one)
    left, right = _beginning(one), _beginning(other)
    ends = _ending(one), _ending(other)
    if not (ends[0].endswith(ends[1]) or ends[1].endswith(ends[0])):
        return False
    return left.startswith(right) or right.startswith(left)


class Index:
    """The effects of one command, to be asked for those that meet another one.

    What two effects that meet begin with is the same text, as far as both go: only such are held against each other.
    """

    def __init__(self, effects: Iterable[PathEffect]) -> None:
        found: dict[Access, dict[str, list[PathEffect]]] = defaultdict(lambda: defaultdict(list))
        for effect in dict.fromkeys(effects):
            found[effect.access][_text(effect)].append(effect)
        self._tables = [
            (access, table, sorted(table), sorted({len(text) for text in table})) for access, table in found.items()
        ]

    def meeting(self, effect: PathEffect) -> set[Access]:
        """Return what the indexed command does to what an effect means."""
        return {
            access
            for access, table, texts, lengths in self._tables
            if any(overlap(one, effect) for one in _near(effect, table, texts, lengths))
        }


def _near(
    effect: PathEffect, table: dict[str, list[PathEffect]], texts: list[str], lengths: list[int]
) -> Iterator[PathEffect]:
    """Yield the effects that can meet one: those whose text it begins with, and those that begin with its own."""
    own = _text(effect)
    for length in lengths:
        if length > len(own):
            break
        yield from table.get(own[:length], ())
    if effect.certainty is Certainty.LITERAL and effect.access is not Access.DELETE:
        return
    place = bisect_left(texts, own)
    while place < len(texts) and texts[place].startswith(own):
        yield from table[texts[place]]
        place += 1
