"""`resume`: let paused jobs go on."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Let paused jobs go on; run those that need a person again.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.IntRange(min=1))
def command(jobs: tuple[int, ...]) -> None:
    """Let paused jobs go on.

    A job that needs a person, as `status` lists it, is run once more, as by `retry`.
    """
    api = Api()
    for job in jobs:
        answer = api.post(f"/v1/jobs/{job}/resume")
        if not answer["changed"]:
            output.remark(f"job {job} was not paused ({answer['state']})")
