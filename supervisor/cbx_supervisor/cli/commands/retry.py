"""`retry`: run a job that failed once more."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Run failed jobs once more.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.IntRange(min=1))
def command(jobs: tuple[int, ...]) -> None:
    """Run detached jobs that failed once more, and print the new jobs' numbers.

    The command, its directory, environment and options are those of the first time.
    """
    api = Api()
    for job in jobs:
        output.show(str(api.post(f"/v1/jobs/{job}/retry")["job"]))
