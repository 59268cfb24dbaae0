"""`incidents`: what should never happen, and what was to see when it did."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.group(short_help="Show what should never have happened.", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Show incidents: for root and who has the role auditor or admin.

    A job that left something behind, or that called the supervisor from its box. One that runs is frozen, if
    incidents.freeze is set, until `resume` or `kill`; its changes are held. Without a subcommand: the newest.
    """
    if context.invoked_subcommand is None:
        context.invoke(listed)


@command.command("list", short_help="List the newest.")
@click.option("-n", "--limit", type=click.IntRange(min=1, max=1000), default=20, show_default=True, help="So many.")
@click.option("--json", "as_json", is_flag=True, help="Print each as a line of JSON.")
def listed(limit: int, as_json: bool) -> None:
    """List incidents, the newest first."""
    found = output.rows_of(Api().get("/v1/incidents", limit=limit), "incidents")
    if as_json:
        for entry in found:
            output.show_json(entry)
        return
    rows = [(entry["id"], output.when(entry["at"]), entry["subject"], _what(entry["detail"])) for entry in found]
    output.show(output.table(("ENTRY", "TIME", "SUBJECT", "WHAT"), rows))


@command.command("show", short_help="Show what was kept of one, as JSON.")
@click.argument("job", type=click.IntRange(min=1))
def show(job: int) -> None:
    """Show what was to see of JOB when it happened: processes, what they had open, mounts, counters. As JSON."""
    output.show_json(Api().get(f"/v1/incidents/{job}"))


def _what(detail: dict[str, object]) -> str:
    left = detail.get("left behind")
    return str(detail.get("what") or (f"left behind: {', '.join(map(str, left))}" if isinstance(left, list) else ""))
