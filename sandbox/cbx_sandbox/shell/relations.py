"""How two commands get along: who reads what the other writes, who deletes it, who shares what cannot be shared."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cbx_sandbox.shell import conflicts
from cbx_sandbox.shell.conflicts import Cell, Operation, Resource, Safety
from cbx_sandbox.shell.effects import Access, Certainty, HostKind, Thing
from cbx_sandbox.shell.overlaps import Index, overlap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbx_sandbox.shell.effects import Effects, PathEffect, SystemEffect


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
    """One thing that two commands share: a path, or a kind and a name; and its cell of the matrix."""

    code: str
    relation: Relation
    text: str
    resource: str
    cell: Cell


_MACHINE = frozenset({HostKind.KERNEL, HostKind.NETWORK})
_COLUMN = {
    HostKind.PROCESS: Resource.PROCESS,
    HostKind.SERVICE: Resource.PROCESS,
    HostKind.DAEMON: Resource.PROCESS,
    HostKind.KERNEL: Resource.MEMORY,
    HostKind.NETWORK: Resource.NETWORK,
}
# Things of which there is one for all: what is done to one name touches what is done to another.
_SHARED = frozenset({Thing.PACKAGE})
_KINDS = frozenset({Thing.PACKAGE, Thing.DATABASE})  # their names begin with a kind and a colon


def relate(first: Effects, second: Effects) -> tuple[Relation, tuple[Tie, ...]]:
    """Say how a command relates to one that comes before it in the order of submission; the worst ties come first."""
    ties = dict.fromkeys([*_paths(first, second), *_host(first, second), *_system(first, second)])
    ties |= dict.fromkeys(_resources(first, second))
    ordered = sorted(ties, key=lambda tie: -tie.relation.rank)
    return (ordered[0].relation if ordered else Relation.INDEPENDENT), tuple(ordered)


# -- paths ------------------------------------------------------------------------------------------------------------


def _paths(first: Effects, second: Effects) -> Iterator[Tie]:
    """Tools that share a cache lock it themselves: the same cache of both is no tie, what lies around it is."""
    caches = {*first.caches, *second.caches}
    index = Index(one for one in first.paths if one.path not in caches)
    cached = [one for one in first.paths if one.path in caches]
    for other in second.paths:
        met = index.meeting(other)
        met |= {one.access for one in cached if one.path != other.path and overlap(one, other)}
        for access in sorted(met):
            if not access is other.access is Access.READ:
                yield _tie(access, other)


def _tie(earlier: Access, later: PathEffect) -> Tie:
    """Name the tie between what an earlier command does to a path and what the later one does."""
    column = Resource.FILE if later.certainty in {Certainty.LITERAL, Certainty.PATTERN} else Resource.DIRECTORY
    path = later.path
    cell = conflicts.worse(conflicts.OF_ACCESS[earlier], conflicts.OF_ACCESS[later.access], column)
    both = {earlier, later.access}
    if cell.safety is Safety.RESTRICTED:
        if Access.CREATE in both:
            return Tie("create-delete", Relation.DANGEROUS, f"one creates, the other deletes {path}", path, cell)
        return Tie("delete", Relation.DANGEROUS, f"one deletes {path}, which the other uses", path, cell)
    if later.access is Access.READ:
        text = f"the later one reads {path}, which the earlier one writes"
        return Tie("read-after-write", Relation.DEPENDENT, text, path, cell)
    if earlier is Access.READ:
        text = f"the later one writes {path}, which the earlier one reads"
        return Tie("write-after-read", Relation.CONFLICTING, text, path, cell)
    if both == {Access.APPEND}:
        return Tie("append-append", Relation.CONFLICTING, f"both append to {path}", path, cell)
    return Tie("write-after-write", Relation.CONFLICTING, f"both write {path}", path, cell)


# -- the host ---------------------------------------------------------------------------------------------------------


def _host(first: Effects, second: Effects) -> Iterator[Tie]:
    one, other = {effect.kind for effect in first.host}, {effect.kind for effect in second.host}
    machine = sorted((one | other) & _MACHINE)
    if machine:
        cell = max(
            (conflicts.cell(Operation.SYSTEM, _COLUMN[kind]) for kind in machine), key=lambda found: found.safety.rank
        )
        critical = bool((one & _MACHINE and other) or (other & _MACHINE and one))
        relation = Relation.CRITICAL if critical else Relation.DANGEROUS
        text = "one changes the machine beneath the other" if critical else "one changes the machine that both run on"
        yield Tie("machine", relation, text, "host:" + ",".join(machine), cell)
    for kind in sorted(one & other - _MACHINE):
        cell = conflicts.cell(Operation.DELETE if kind is HostKind.PROCESS else Operation.MODIFY, _COLUMN[kind])
        yield Tie(f"both-{kind.value}", Relation.CONFLICTING, f"both change a {kind.value}", f"host:{kind.value}", cell)
    if (HostKind.PROCESS in one and second.reads_processes) or (HostKind.PROCESS in other and first.reads_processes):
        cell = conflicts.cell(Operation.DELETE, Resource.PROCESS)
        yield Tie("process", Relation.DEPENDENT, "one ends processes that the other looks at", "host:process", cell)


# -- things with a name -----------------------------------------------------------------------------------------------


def _system(first: Effects, second: Effects) -> Iterator[Tie]:
    by_thing: dict[Thing, list[SystemEffect]] = {}
    for one in first.system:
        by_thing.setdefault(one.thing, []).append(one)
    for other in second.system:
        table = conflicts.thing(other.thing)
        for one in by_thing.get(other.thing, ()):
            if not (one.changes or other.changes) or not _same(one, other):
                continue
            earlier, later = (table.changes if effect.changes else table.uses for effect in (one, other))
            cell = conflicts.worse(earlier, later, table.resource)
            relation = Relation.CONFLICTING if other.changes else Relation.DEPENDENT
            name = other.name or one.name or "any"
            yield Tie(table.code, relation, f"{table.text}: {name}", f"{other.thing.value}:{name}", cell)


def _same(one: SystemEffect, other: SystemEffect) -> bool:
    """Whether two effects can be on the same thing; a name that is not known can be any, within its kind."""
    if one.thing not in _KINDS:
        return one.name == other.name or "" in {one.name, other.name}
    (kind, _, name), (other_kind, _, other_name) = one.name.partition(":"), other.name.partition(":")
    if kind != other_kind:
        return False
    return one.thing in _SHARED or name == other_name or "" in {name, other_name}


def _resources(first: Effects, second: Effects) -> Iterator[Tie]:
    caches = {*first.caches, *second.caches}
    shared = set(second.resources)
    cell = conflicts.cell(Operation.MODIFY, Resource.FILE)
    for name in first.resources:
        if name in shared and name.partition(":")[2] not in caches:
            yield Tie("resource", Relation.CONFLICTING, f"both use {name}", name, cell)
