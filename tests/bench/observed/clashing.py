"""AC12: pairs of commands that were run. Two clash when one wrote what the other wrote, read or listed.

A path that was looked for and not found counts as read. Whoever removes a directory writes all that was in it; whoever
makes or removes an entry changes what listing its directory gives; a listing may have been for other names, so a pair
that meets in nothing else and is not kept apart is run one after the other before it counts as missed. What was made
and removed again counts as written for two that both did it, because there is one name for both; nobody else can depend
on it.
"""

from __future__ import annotations

import posixpath
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from shlex import quote

from tests.bench.observed.measuring import Outcome
from tests.bench.observed.running import Observed, run
from tests.bench.observed.world import World, worlds

from cbx_sandbox.shell.relations import Relation, relate

SEED = 20240501
PAIRS = 6000


@dataclass(frozen=True, slots=True)
class Pair:
    """Two outcomes in the same tree, in the order of submission."""

    first: Outcome
    second: Outcome

    @property
    def clash(self) -> str:
        """Name a path over which the two really clash; the empty string where they do not."""
        return self._clash(listings=True)

    @property
    def by_listing(self) -> bool:
        """Whether the two meet in what listing a directory gives, and in nothing else."""
        return bool(self.clash) and not self._clash(listings=False)

    def _clash(self, *, listings: bool) -> str:
        one, other = self.first.as_admitted, self.second.as_admitted
        return _meets(one, other, listings=listings) or _meets(other, one, listings=listings)

    @property
    def related(self) -> bool:
        """Whether the analysis keeps the two apart."""
        return relate(self.first.analysis.effects, self.second.analysis.effects)[0] is not Relation.INDEPENDENT


def pairs(outcomes: Sequence[Outcome], *, count: int = PAIRS) -> Iterator[Pair]:
    """Draw pairs of different commands of one tree, always the same ones."""
    chance = random.Random(SEED)
    trees: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        trees.setdefault(outcome.row.setup, []).append(outcome)
    many = [tree for tree in trees.values() if len(tree) > 1]
    for tree in chance.choices(many, weights=[len(tree) for tree in many], k=count):
        yield Pair(*chance.sample(tree, 2))


def differing(found: Sequence[Pair]) -> list[Pair]:
    """Return the pairs of which one does or prints something else when the other has run before it."""
    with worlds() as made:
        return [
            pair for pair in found if any(_differs(made.get(pair.first.row.setup), *order) for order in _orders(pair))
        ]


def _orders(pair: Pair) -> tuple[tuple[str, str], tuple[str, str]]:
    first, second = pair.first.row.command, pair.second.row.command
    return (first, second), (second, first)


def _differs(world: World, before: str, command: str) -> bool:
    """Whether a command does something else after another one."""
    alone, earlier = run(world, command), run(world, before)
    after = run(world, f"bash -c {quote(before)} > /dev/null 2>&1; bash -c {quote(command)}")
    same = (after.status, after.output) == (alone.status, alone.output)
    if not same and after.status == alone.status:  # addresses, for one, are never the same twice
        same = run(world, command).output != alone.output
    return not same or after.writes != alone.writes | earlier.writes


def _meets(writer: Observed, other: Observed, *, listings: bool) -> str:
    """Return a path that one wrote and that the other depends on, or wrote too."""
    touched = other.writes | other.trace.read
    for path in writer.writes:
        if path in touched:
            return path
        if listings and path not in writer.changed and posixpath.dirname(path) in other.trace.listed:
            return path
    for path in writer.deleted:
        inside = path + "/"
        found = next((name for name in touched | other.trace.listed if name.startswith(inside)), "")
        if found:
            return found
    # Opened for writing by both and changed by neither is shared; what is gone afterwards was one name for both.
    together = writer.trace.written & other.trace.written - (writer.unchanged & other.unchanged)
    return next(iter(sorted(together)), "")
