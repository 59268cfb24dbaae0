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

AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row, what was predicted of it, and what it did."""

    row: Row
    world: World
    analysis: Analysis
    observed: Observed

    @property
    def comparison(self) -> Comparison:
        """Hold one against the other."""
        return compare(self.analysis, self.observed)


def outcomes(rows: Iterable[Row], *, traced: bool = True) -> list[Outcome]:
    """Analyse and run rows; those that need a program that is not here are left out."""
    wanted = [row for row in rows if not row.missing]
    with worlds() as made, ThreadPoolExecutor(AT_A_TIME) as pool:
        places = [made.get(row.setup) for row in wanted]
        analyses = [analyse(row.command, world.facts()) for row, world in zip(wanted, places, strict=True)]
        seen = pool.map(lambda row, world: run(world, row.command, traced=traced), wanted, places)
        return [
            Outcome(row, world, analysis, observed)
            for row, world, analysis, observed in zip(wanted, places, analyses, seen, strict=True)
        ]
