"""`priority`: put a waiting job elsewhere in the queue."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Put a waiting job elsewhere in the queue.")
@click.argument("job", type=click.IntRange(min=1))
@click.argument("how", type=click.Choice(["critical", "high", "normal", "low", "deferred"]))
def command(job: int, how: str) -> None:
    """Put a waiting job elsewhere in the queue, as `run --priority` would have."""
    answer = Api().post(f"/v1/jobs/{job}/priority", {"priority": how})
    if not answer["changed"]:
        output.remark(f"job {job} does not wait ({answer['state']})")
