"""`breakers`: what is left alone for a while because it failed too often."""

from __future__ import annotations

from typing import Any

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.group(short_help="Show or reset circuit breakers.", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show what failed several times in a row, by user, program and host.

    An open breaker keeps jobs waiting; after its time one of them tries, and the others go on if that succeeds.
    """
    if context.invoked_subcommand is None:
        found = Api().get("/v1/breakers")
        output.show_json(found) if as_json else _show(found["breakers"])


@command.command()
@click.argument("name", metavar="NAME")
@click.option("--uid", type=click.IntRange(min=0), help="Whose it is; your own if not given.")
def reset(name: str, uid: int | None) -> None:
    """Forget the failures of NAME (as `breakers` prints it): those that wait for it go on."""
    _show(Api().post("/v1/breakers/reset", {"name": name, "uid": uid})["breakers"])


def _show(found: list[dict[str, Any]]) -> None:
    rows = [
        (one["uid"], one["name"], one["state"], one["failures"], output.seconds(one["seconds"]) or "") for one in found
    ]
    output.show(output.table(("UID", "NAME", "STATE", "FAILURES", "TRIED AGAIN IN"), rows))
