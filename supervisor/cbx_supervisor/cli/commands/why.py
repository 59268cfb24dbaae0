"""`why`: what a job waits for."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Say what a job waits for.")
@click.argument("job", type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(job: int, as_json: bool) -> None:
    """Say what a job waits for: locks and who holds them, a slot, other jobs, the start rate, its turn."""
    found = Api().get(f"/v1/jobs/{job}/why")
    if as_json:
        output.show_json(found)
    elif not found["waits_for"]:
        output.show(f"job {job} does not wait: it is {found['state'] if found['live'] else 'over'}")
    else:
        output.show("\n".join(f"{reason['kind']}: {reason['text']}" for reason in found["waits_for"]))
