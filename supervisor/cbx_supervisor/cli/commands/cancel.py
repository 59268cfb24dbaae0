"""`cancel`: end jobs."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="End jobs.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.IntRange(min=1))
@click.option("--kill", is_flag=True, help="Kill at once instead of asking with SIGTERM first.")
@click.option("--reason", default="", help="Why, for the audit trail.")
def command(jobs: tuple[int, ...], kill: bool, reason: str) -> None:
    """End jobs: SIGTERM, then the kill when the grace period is over."""
    api = Api()
    for job in jobs:
        answer = api.post(f"/v1/jobs/{job}/cancel", {"signal": "KILL" if kill else "TERM", "reason": reason})
        if not answer.get("cancelled", True):
            output.remark(f"job {job} is over already ({answer.get('state')})")
