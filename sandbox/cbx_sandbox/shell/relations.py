"""How two commands get along: who reads what the other writes, who deletes it, who shares what cannot be shared."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cbx_sandbox.shell.effects import Access, Certainty, HostKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbx_sandbox.shell.effects import Effects, PathEffect


class Relation(StrEnum):
    """From nothing to do with each other to the machine itself at stake; ordered."""

    INDEPENDENT = "independent"
    DEPENDENT = "dependent"
    CONFLICTING = "conflicting"
    DANGEROUS = "dangerous"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for independent to 4 for critical."""
        return list(Relation).index(self)


@dataclass(frozen=True, slots=True)
class Tie:
    """One thing that two commands share."""

    code: str
    relation: Relation
    text: str


_MACHINE = frozenset({HostKind.KERNEL, HostKind.NETWORK})


def relate(first: Effects, second: Effects) -> tuple[Relation, tuple[Tie, ...]]:
    """Say how a command relates to one that comes before it in the order of submission."""
    ties = dict.fromkeys([*_paths(first, second), *_host(first, second), *_resources(first, second)])
    worst = max((tie.relation for tie in ties), key=lambda relation: relation.rank, default=Relation.INDEPENDENT)
    return worst, tuple(ties)


def _paths(first: Effects, second: Effects) -> Iterator[Tie]:
    caches = {*first.caches, *second.caches}
    for one in first.paths:
        for other in second.paths:
            if one.access is Access.READ and other.access is Access.READ:
                continue
            if one.path in caches and one.path == other.path:
                continue  # tools that share a cache lock it themselves
            if overlap(one, other):
                yield _tie(one, other)


def _tie(one: PathEffect, other: PathEffect) -> Tie:
    """Name the tie between two effects on the same path."""
    path = other.path if len(other.path) >= len(one.path) else one.path
    if Access.DELETE in {one.access, other.access}:
        if Access.CREATE in {one.access, other.access}:
            return Tie("create-delete", Relation.DANGEROUS, f"one creates, the other deletes {path}")
        return Tie("delete", Relation.DANGEROUS, f"one deletes {path}, which the other uses")
    if other.access is Access.READ:
        return Tie("read-after-write", Relation.DEPENDENT, f"the later one reads {path}, which the earlier one writes")
    if one.access is Access.READ:
        return Tie(
            "write-after-read", Relation.CONFLICTING, f"the later one writes {path}, which the earlier one reads"
        )
    if one.access is Access.APPEND and other.access is Access.APPEND:
        return Tie("append-append", Relation.CONFLICTING, f"both append to {path}")
    return Tie("write-after-write", Relation.CONFLICTING, f"both write {path}")


def overlap(one: PathEffect, other: PathEffect) -> bool:
    """Whether two effects can mean the same file; what is not known can."""
    if one.path == other.path:
        return True
    return _covers(one, other.path) or _covers(other, one.path) or _patterns_meet(one, other)


def _covers(effect: PathEffect, path: str) -> bool:
    if effect.certainty in {Certainty.UNDER, Certainty.UNKNOWN}:
        return effect.path == "/" or path.startswith(effect.path.rstrip("/") + "/")
    if effect.certainty is Certainty.PATTERN:
        return fnmatchcase(path, effect.path)
    return False


def _patterns_meet(one: PathEffect, other: PathEffect) -> bool:
    """Two patterns may meet unless what stands before their first wildcard differs."""
    if one.certainty is not Certainty.PATTERN or other.certainty is not Certainty.PATTERN:
        return False
    left, right = _fixed(one.path), _fixed(other.path)
    return left.startswith(right) or right.startswith(left)


def _fixed(pattern: str) -> str:
    return pattern[: min((pattern.find(c) for c in "*?[" if c in pattern), default=len(pattern))]


def _host(first: Effects, second: Effects) -> Iterator[Tie]:
    one, other = {effect.kind for effect in first.host}, {effect.kind for effect in second.host}
    if (one & _MACHINE and other) or (other & _MACHINE and one):
        yield Tie("machine", Relation.CRITICAL, "one changes the machine beneath the other")
    elif one & _MACHINE or other & _MACHINE:
        yield Tie("machine", Relation.DANGEROUS, "one changes the machine that both run on")
    for kind in sorted(one & other - _MACHINE):
        yield Tie(f"both-{kind.value}", Relation.CONFLICTING, f"both change a {kind.value}")
    if (HostKind.PROCESS in one and second.reads_processes) or (HostKind.PROCESS in other and first.reads_processes):
        yield Tie("process", Relation.DEPENDENT, "one ends processes that the other looks at")


def _resources(first: Effects, second: Effects) -> Iterator[Tie]:
    caches = {*first.caches, *second.caches}
    for name in first.resources:
        if name in second.resources and name.partition(":")[2] not in caches:
            yield Tie("resource", Relation.CONFLICTING, f"both use {name}")
