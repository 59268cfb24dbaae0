"""`status`: what the supervisor is doing."""

from __future__ import annotations

from typing import Any

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Show the supervisor and its load.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(as_json: bool) -> None:
    """Show the supervisor and its load."""
    status = Api().get("/v1/status")
    if as_json:
        output.show_json(status)
        return
    supervisor, jobs = status["supervisor"], status.get("jobs", {})
    rules, settings = status.get("rules", {}), status.get("settings", {})
    redaction = status.get("redaction", {})
    idle = supervisor.get("idle_exit_seconds")
    output.show(
        output.pairs(
            [
                ("supervisor", f"running, process {supervisor['pid']}, version {supervisor.get('version')}"),
                ("since", supervisor.get("started")),
                ("idle exit", f"after {output.seconds(idle)}" if idle else "never"),
                ("places", _places(status.get("places"))),
                ("heat", _heat(status.get("health") or {})),
                ("memory grows", [f"job {one['job']}" for one in (status.get("health") or {}).get("growing", ())]),
                ("jobs", ", ".join(f"{count} {state}" for state, count in jobs.items() if isinstance(count, int))),
                ("utilisation", _utilisation(status.get("utilisation") or {})),
                ("NEEDS A PERSON", [f"job {one['job']}: {one['why']}" for one in status.get("attention", ())]),
                ("BROKEN SETTINGS", settings.get("problem")),
                ("after a restart", settings.get("needs_restart")),
                ("rules", ["cbx's own", *(f"{source}" for source in rules.get("files", ()))]),
                ("BROKEN REDACTION", redaction.get("problems", ())),
                ("BROKEN RULES", [problem["text"] for problem in rules.get("problems", ())]),
            ]
        )
    )


def _utilisation(used: dict[str, float]) -> str | None:
    """Of the time for which jobs waited; nothing if none did."""
    if not used.get("backlogged"):
        return None
    return f"{100 * used['share']:.2f} % of the slots' time while jobs waited ({output.seconds(used['backlogged'])})"


def _places(found: dict[str, Any] | None) -> list[str]:
    """The CPUs and memory nodes that jobs can be placed on, and which weights count for nothing."""
    if found is None:
        return []
    nodes = found["memory_nodes"]
    memory = "one memory node, nothing to choose" if nodes.isdigit() else f"memory nodes {nodes}"
    lines = [f"CPUs {found['cpus']}, {memory}; jobs are held there by {found['by']}"]
    return [*lines, *(f"no {name}: {why}" for name, why in found["missing"].items())]


def _heat(health: dict[str, Any]) -> str | None:
    """How hot the host is, and what of the slots is used because of that."""
    if not health:
        return None
    if not health["shown"]:
        return "this host shows neither temperatures nor throttling"
    hottest = health["hottest"]
    text = "" if hottest is None else f"{hottest['zone']} has {hottest['celsius']:g} °C"
    if health["throttled"] is not None:
        text += f"{', ' if text else ''}slowed down {health['throttled']} times since the boot"
    text += ", on battery" if health["battery"] else ""
    return text if health["share"] == 1 else f"{text}: {health['share']:.0%} of the slots are used: {health['why']}"
