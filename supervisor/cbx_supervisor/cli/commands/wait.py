"""`wait`: block until jobs have ended, and take over the last one's exit status."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Wait for jobs to end.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="Print each result as a line of JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No line about each result on stderr.")
def command(jobs: tuple[int, ...], as_json: bool, quiet: bool) -> int:
    """Wait for jobs to end.

    The exit status is that of the last job that was named.
    """
    api = Api()
    status = 0
    for job in jobs:
        result = api.wait(job)
        status = int(result["status"])
        if as_json:
            output.show_json(result)
        if not quiet and result.get("message"):
            said, *more = str(result["message"]).split("\n")
            output.remark(said)
            output.add("\n".join(more))
    return status
