"""`list`: jobs, the newest first."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api

DEFAULT_LIMIT = 20


@click.command(short_help="List jobs, the newest first.")
@click.option("--state", help="Only jobs in this state, for example running.")
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="At most this many."
)
@click.option("--json", "as_json", is_flag=True, help="Print each job as a line of JSON.")
def command(state: str | None, limit: int, as_json: bool) -> None:
    """List jobs, the newest first: your own, or everybody's for root."""
    jobs = output.rows_of(Api().get("/v1/jobs", state=state, limit=limit), "jobs")
    if as_json:
        for job in jobs:
            output.show_json(job)
        return
    rows = [
        (
            job.get("job"),
            job.get("state"),
            job.get("status"),
            str(job.get("tier") or "").partition("_")[0].lower(),
            output.seconds((job.get("usage") or {}).get("wall_seconds")),
            (job.get("checkpoint") or {}).get("id"),
            job.get("command"),
        )
        for job in jobs
    ]
    output.show(output.table(("JOB", "STATE", "STATUS", "TIER", "TIME", "CHECKPOINT", "COMMAND"), rows))
