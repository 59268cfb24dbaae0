"""`locks`: who holds what."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Show the locks that are held.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(as_json: bool) -> None:
    """Show the locks that are held: by jobs, and by commits of held checkpoints.

    S: reads, U: works in an overlay, X: writes. Paths are those inside the file system. Root sees everybody's.
    """
    found = Api().get("/v1/locks")["locks"]
    if as_json:
        output.show_json({"locks": found})
        return
    rows = [
        (
            f"job {lock['owner']}" if lock["owner"] > 0 else f"commit of checkpoint {-lock['owner']}",
            lock["mode"],
            lock["path"],
        )
        for lock in found
    ]
    output.show(output.table(("HOLDER", "MODE", "PATH"), rows) if rows else "no locks are held")
