"""AC11 and AC12: commands that are run for real over an overlay, and what they did held against what was predicted.

That takes root, bwrap and strace, and minutes for all rows. Here every ``STEP``-th is run, always the same ones;
``CBX_OBSERVED=all`` runs all of them.
"""

from __future__ import annotations

import os
import shutil
import sys
from functools import cache

from tests.bench.accuracy.goals import Failure, Goal, Measured, count, share
from tests.bench.accuracy.material import Material
from tests.bench.observed import clashing, commands, measuring

from cbx_sandbox.shell.tiers import SAFE

STEP = 8
PAIRS = 2000  # of the sample
TOOLS = ("bwrap", "strace", "mount")


@cache
def _outcomes() -> tuple[measuring.Outcome, ...]:
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in TOOLS):
        print(f"accuracy: AC11 and AC12 run commands: that takes root and {', '.join(TOOLS)}", file=sys.stderr)
        return ()
    rows = commands.rows()
    return tuple(measuring.outcomes(rows if os.environ.get("CBX_OBSERVED") == "all" else rows[::STEP]))


def _of(material: Material, *, safe: bool) -> list[measuring.Outcome]:
    # The rows are commands of the project's own, with trees of their own: a corpus says nothing of them.
    if material.name != "own":
        return []
    return [outcome for outcome in _outcomes() if (outcome.analysis.tier is SAFE) is safe]


def _harmless(material: Material) -> Measured | None:
    """Measure SAFE commands that wrote what they cannot do without."""
    found = _of(material, safe=True)
    failing = [
        Failure(outcome.row.command, f"wrote {' '.join(sorted(outcome.observed.writes))}")
        for outcome in found
        if outcome.observed.writes and not outcome.needs_no_write
    ]
    return count(failing, len(found)) if found else None


def _contained(material: Material) -> Measured | None:
    """Measure the others whose prediction names all that they wrote, or says that it does not know."""
    found = [(outcome, outcome.comparison) for outcome in _of(material, safe=False)]
    failing = [
        Failure(outcome.row.command, f"missed {' '.join(held.missed)}")
        for outcome, held in found
        if not held.contains and not held.admitted
    ]
    return share(failing, len(found)) if found else None


def _precise(material: Material) -> Measured | None:
    """Measure the others that were predicted to change nothing but what they changed."""
    found = [(outcome, outcome.comparison) for outcome in _of(material, safe=False)]
    failing = [
        Failure(outcome.row.command, f"for nothing: {' '.join(held.surplus)}")
        for outcome, held in found
        if held.surplus
    ]
    return share(failing, len(found)) if found else None


@cache
def _pairs() -> tuple[clashing.Pair, ...]:
    return tuple(clashing.pairs(_outcomes(), count=PAIRS)) if _outcomes() else ()


def _shown(pair: clashing.Pair) -> str:
    return f"{pair.first.row.command}  ||  {pair.second.row.command}"


def _missed(material: Material) -> Measured | None:
    """Measure pairs that clashed and were not kept apart."""
    if material.name != "own" or not _pairs():
        return None
    clashing_ = [pair for pair in _pairs() if pair.clash]
    apart = [pair for pair in clashing_ if not pair.related]
    missed = [pair for pair in apart if not pair.by_listing]
    missed += clashing.differing([pair for pair in apart if pair.by_listing])
    failing = [Failure(_shown(pair), pair.clash) for pair in missed]
    return count(failing, len(clashing_))


def _false(material: Material) -> Measured | None:
    """Measure pairs that were kept apart and did not clash."""
    if material.name != "own" or not _pairs():
        return None
    apart = [pair for pair in _pairs() if not pair.clash]
    failing = [Failure(_shown(pair), "kept apart for nothing") for pair in apart if pair.related]
    return Measured(100.0 * len(failing) / max(len(apart), 1), len(apart), tuple(failing))


GOALS = (
    Goal("AC11 safe", "SAFE and needs to write, when run", 0, "rows", True, _harmless),
    Goal("AC11 others", "what was written had been predicted", 98, "%", False, _contained),
    Goal("AC11 precision", "predicted no wider than needed", 90, "%", False, _precise),
    Goal("AC12 missed", "pairs that clashed, not kept apart", 0, "rows", True, _missed),
    Goal("AC12 false", "pairs kept apart without a clash", 10, "%", True, _false),
)
