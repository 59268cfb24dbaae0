"""What a job does to which things, as far as the order of jobs depends on it: from the effects that were predicted.

A place is a tuple that begins with the kind of thing: a path is ``("", "home", "me", "file")``, a package
``("package", "apt", "jq")``. An access to a place is to that alone, or to all that is beneath it, too. Ordering needs
no more than that: what a pattern matches counts as all that is in its directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from cbx_sandbox.shell.effects import Access as Effect
from cbx_sandbox.shell.effects import Certainty, Effects, PathEffect, SystemEffect, Thing
from cbx_sandbox.shell.overlaps import stem

MOST = 256  # accesses of one job; beyond that whole directories count

Place = tuple[str, ...]


class Use(StrEnum):
    """How jobs go together that use one place: readers beside readers, sharers beside sharers, writers alone."""

    READ = "read"
    SHARE = "share"  # by tools that keep each other out themselves
    WRITE = "write"


class Access(NamedTuple):
    """One use of one place; ``below``: and of all that is beneath it."""

    place: Place
    use: Use
    below: bool


def accesses(effects: Effects, writable: Iterable[str] = ()) -> tuple[Access, ...]:
    """What a job with these effects uses, and with ``writable`` directories that its submitter named."""
    caches = frozenset(effects.caches)
    found = dict.fromkeys(_of_path(effect, shared=effect.path in caches) for effect in effects.paths)
    found |= dict.fromkeys(Access(_parts(path), Use.WRITE, below=True) for path in writable)
    while len(found) > MOST:
        found = dict.fromkeys(_coarser(found))
    found |= dict.fromkeys(_of_system(effect) for effect in effects.system)
    return tuple(found)


def named(place: Place) -> str:
    """A place for people."""
    kind, *rest = place
    return f"{kind} {':'.join(rest)}".rstrip() if kind else "/" + "/".join(rest)


def _of_path(effect: PathEffect, *, shared: bool) -> Access:
    use = Use.READ if effect.access is Effect.READ else Use.SHARE if shared else Use.WRITE
    match effect.certainty:
        case Certainty.LITERAL:
            # What is removed may be a directory with all that is in it.
            return Access(_parts(effect.path), use, below=effect.access is Effect.DELETE)
        case Certainty.PATTERN:
            return Access(_parts(stem(effect).rpartition("/")[0]), use, below=True)
        case _:
            return Access(_parts(effect.path), use, below=True)


def _of_system(effect: SystemEffect) -> Access:
    use = Use.WRITE if effect.changes else Use.READ
    kind, colon, name = effect.name.partition(":")
    parts: list[str] = [effect.thing.value]
    if colon:
        # Of a package manager there is one for all packages.
        parts += [kind] if effect.thing is Thing.PACKAGE else [kind, name]
    else:
        parts.append(effect.name)
    # A name that is not known can be any.
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return Access(tuple(parts), use, below=True)


def _coarser(found: Iterable[Access]) -> Iterator[Access]:
    for access in found:
        yield Access(access.place[:-1] if len(access.place) > 1 else access.place, access.use, below=True)


def _parts(path: str) -> Place:
    return ("", *(part for part in path.split("/") if part))
