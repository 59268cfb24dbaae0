"""`queue`: how jobs are started, and changing that while the supervisor runs."""

from __future__ import annotations

from typing import Any

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api

_STRATEGIES = ("weighted-round-robin", "shortest-first", "resource-aware", "critical-path")


@click.group(short_help="Show or change how jobs are started.", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show or change how jobs are started.

    A strategy lasts until the configuration is read anew, the rest until `resume`.
    """
    if context.invoked_subcommand is None:
        found = Api().get("/v1/queue")
        output.show_json(found) if as_json else _show(found)


@command.command()
@click.argument("name", type=click.Choice(_STRATEGIES))
def strategy(name: str) -> None:
    """Go on by another strategy."""
    _show(Api().post("/v1/queue", {"strategy": name}))


@command.command()
def pause() -> None:
    """Start no more jobs; what runs goes on."""
    _show(Api().post("/v1/queue", {"paused": True}))


@command.command()
def drain() -> None:
    """Take no more jobs; those that were taken run to their end."""
    _show(Api().post("/v1/queue", {"draining": True}))


@command.command()
def resume() -> None:
    """Take and start jobs again."""
    _show(Api().post("/v1/queue", {"paused": False, "draining": False}))


def _show(found: dict[str, Any]) -> None:
    stopped = (", paused" if found["paused"] else "") + (", takes no more jobs" if found["draining"] else "")
    output.show(f"{found['strategy']}{stopped}: {found['running']} running, {found['waiting']} waiting")
