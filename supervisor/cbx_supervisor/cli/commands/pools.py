"""`pools`: slots and who is in them."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Show the slots of each tier.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(as_json: bool) -> None:
    """Show the slots of each tier: running jobs, slots, waiting jobs; and what is taken of what is counted."""
    found = Api().get("/v1/pools")
    if as_json:
        output.show_json(found)
        return
    rows = [(pool["tier"], pool["running"], pool["slots"], pool["waiting"]) for pool in found["pools"]]
    rows.append(("all", found["running"], found["total"], sum(row[3] for row in rows)))
    output.show(output.table(("TIER", "RUNNING", "SLOTS", "WAITING"), rows))
    if found["resources"]:
        counted = [(one["name"], one["used"], one["size"], one["waiting"]) for one in found["resources"]]
        output.show("")
        output.show(output.table(("RESOURCE", "TAKEN", "SIZE", "WAITING"), counted))
