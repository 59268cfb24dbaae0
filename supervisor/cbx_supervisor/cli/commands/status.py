"""`status`: what the supervisor is doing."""

from __future__ import annotations

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
