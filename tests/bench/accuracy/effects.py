"""What a row says besides its tier: the paths that change, and what it does to the host and the network."""

from __future__ import annotations

from tests.bench.accuracy.goals import Failure, Goal, Measured, share
from tests.bench.accuracy.material import Material, Row, analysed

from cbx_sandbox.shell.effects import Access, Certainty, PathEffect

KEYS = ("writes", "reads", "host", "network", "resources", "checks", "processes")


def _written(effect: PathEffect) -> str:
    """Name a path as rows do: ``/x/**`` for anything beneath it, ``/x?`` where only the directory is known."""
    ending = {Certainty.UNDER: "/**", Certainty.UNKNOWN: "/?"}.get(effect.certainty, "")
    return effect.path.rstrip("/") + ending if ending else effect.path


def predicted(command: str) -> dict[str, set[str]]:
    """Return what the analysis says, in the words of the rows."""
    analysis = analysed(command)
    effects = analysis.effects
    return {
        "writes": {_written(effect) for effect in effects.paths if effect.access is not Access.READ},
        "reads": {_written(effect) for effect in effects.paths if effect.access is Access.READ},
        "host": {str(effect.kind) for effect in effects.host},
        "network": {effect.host or "?" for effect in effects.network},
        "resources": {resource.partition(":")[0] for resource in effects.resources},
        "checks": {check.code for check in analysis.checks},
        "processes": {"read"} if effects.reads_processes else set(),
    }


def differences(row: Row) -> list[str]:
    """Say what differs: what is named and was not predicted, and writes that were predicted and are not named."""
    found = predicted(row.command)
    out = []
    for key, named in row.expects.items():
        missing = set(named) - found[key]
        surplus = found[key] - set(named) if key in {"writes", "host", "network"} else set()
        out += [f"{key}: {name} is missing" for name in sorted(missing)]
        out += [f"{key}: {name} is too much" for name in sorted(surplus)]
    return out


def named(material: Material) -> Measured | None:
    """Measure the rows whose effects are as they say."""
    rows = [row for row in material.rows if row.expects]
    if not rows:
        return None
    failing = [Failure(row.command, "; ".join(found)) for row in rows if (found := differences(row))]
    return share(failing, len(rows))


GOALS = (Goal("AC11 rows", "effects as the rows name them", 98, "%", False, named),)
