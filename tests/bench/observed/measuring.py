"""Run the rows, two at a time, and remember what came of it for all figures of one process."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.bench.observed.commands import Row
from tests.bench.observed.comparing import Comparison, compare
from tests.bench.observed.running import Observed, run
from tests.bench.observed.world import World, worlds

from cbx_sandbox.shell.analysis import Analysis, analyse
from cbx_sandbox.shell.tiers import SAFE

AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row, what was predicted of it, and what it did.

    ``observed`` is the run in which it could write everywhere. A SAFE command that wrote there ran once more as it runs
    in a box, with everything read-only: that is ``confined``.
    """

    row: Row
    world: World
    analysis: Analysis
    observed: Observed
    confined: Observed | None = None

    @property
    def comparison(self) -> Comparison:
        """Hold one against the other."""
        return compare(self.analysis, self.observed)

    @property
    def as_admitted(self) -> Observed:
        """What it does as it would be run."""
        return self.observed if self.confined is None else self.confined

    @property
    def needs_no_write(self) -> bool:
        """Whether a SAFE command does as well without what it wrote: caches, an index that is refreshed by the way."""
        other = self.confined
        return other is not None and (other.status, other.output) == (self.observed.status, self.observed.output)


def outcomes(rows: Iterable[Row], *, traced: bool = True) -> list[Outcome]:
    """Analyse and run rows; those that need a program that is not here are left out."""
    wanted = [row for row in rows if not row.missing]
    with worlds() as made, ThreadPoolExecutor(AT_A_TIME) as pool:
        places = [made.get(row.setup) for row in wanted]
        return list(pool.map(lambda row, world: _outcome(row, world, traced=traced), wanted, places))


def _outcome(row: Row, world: World, *, traced: bool) -> Outcome:
    analysis = analyse(row.command, world.facts())
    observed = run(world, row.command, traced=traced)
    confined = None
    if analysis.tier is SAFE and observed.writes:
        confined = run(world, row.command, traced=traced, confined=True)
    return Outcome(row, world, analysis, observed, confined)
