"""What was predicted held against what was seen.

A command's prediction **contains** what it did when each path that is not as it was is one that the prediction names: a
literal path itself, what a pattern matches, what lies at or beneath an UNDER. For SAFE nothing may have been written. A
prediction that does not contain it has to **say so**: a path that is UNKNOWN, an opaque text, an unknown program.

A prediction is **precise** when it is not broader than needed: each literal path that it says is changed was, each
pattern matched one that was, and something changed at or beneath each UNDER. What was made and removed again while the
command ran, or opened for writing and left as it was, counts here: the command would not have run without it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.observed.running import Observed

from cbx_sandbox.shell.analysis import Analysis
from cbx_sandbox.shell.effects import Access, Certainty, PathEffect
from cbx_sandbox.shell.overlaps import matches
from cbx_sandbox.shell.tiers import SAFE


@dataclass(frozen=True, slots=True)
class Comparison:
    """One command's prediction beside its run: what was missed, and what was too much."""

    safe: bool
    missed: tuple[str, ...]
    admitted: bool  # says of itself that it does not know everything
    surplus: tuple[str, ...]

    @property
    def contains(self) -> bool:
        """Whether everything that was seen had been predicted."""
        return not self.missed


def compare(analysis: Analysis, observed: Observed) -> Comparison:
    """Hold a prediction against a run."""
    if analysis.tier is SAFE:
        return Comparison(safe=True, missed=tuple(sorted(observed.writes)), admitted=False, surplus=())
    predicted = [effect for effect in analysis.effects.paths if effect.access is not Access.READ]
    missed = [path for path in observed.writes if not any(names(effect, path) for effect in predicted)]
    needed = observed.writes | observed.trace.written
    surplus = [shown(effect) for effect in predicted if not any(names(effect, path) for path in needed)]
    return Comparison(False, tuple(sorted(missed)), admits(analysis), tuple(surplus))


def admits(analysis: Analysis) -> bool:
    """Whether an analysis says that it does not know everything."""
    return (
        analysis.opaque
        or bool(analysis.unknown_programs)
        or any(effect.certainty is Certainty.UNKNOWN for effect in analysis.effects.paths)
    )


def names(effect: PathEffect, path: str) -> bool:
    """Whether a predicted effect names a path."""
    if effect.certainty is Certainty.LITERAL:
        return effect.path == path
    if effect.certainty is Certainty.PATTERN:
        return matches(path, effect.path)
    return effect.path == path or path.startswith(effect.path.rstrip("/") + "/")


def shown(effect: PathEffect) -> str:
    """Name an effect for people."""
    ending = {Certainty.UNDER: "/**", Certainty.UNKNOWN: "/?"}.get(effect.certainty, "")
    return f"{effect.access} {effect.path}{ending}"
