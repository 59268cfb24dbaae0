"""`audit`: who did what."""

from __future__ import annotations

import json

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Show who did what.")
@click.option("-n", "--limit", type=click.IntRange(min=1, max=1000), default=20, show_default=True, help="So many.")
@click.option("--before", type=click.IntRange(min=1), help="Only entries with smaller numbers.")
@click.option("--json", "as_json", is_flag=True, help="Print each entry as a line of JSON.")
def command(limit: int, before: int | None, as_json: bool) -> None:
    """Show the audit trail, the newest first: for root and who has the role auditor or admin."""
    entries = output.rows_of(Api().get("/v1/audit", limit=limit, before=before), "entries")
    if as_json:
        for entry in entries:
            output.show_json(entry)
        return
    rows = [
        (
            entry["id"],
            output.when(entry["at"]),
            entry["uid"],
            entry["action"],
            entry["subject"],
            _detail(entry["detail"]),
        )
        for entry in entries
    ]
    output.show(output.table(("ENTRY", "TIME", "USER", "ACTION", "SUBJECT", "DETAIL"), rows))


def _detail(detail: dict[str, object]) -> str:
    return " ".join(f"{name}={json.dumps(value)}" for name, value in detail.items())
