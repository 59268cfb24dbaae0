"""`pause`: stop jobs for a while."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api
from cbx_supervisor.model.job import GOING_ON


@click.command(short_help="Stop jobs for a while.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.IntRange(min=1))
def command(jobs: tuple[int, ...]) -> None:
    """Stop jobs for a while: what waits is not started, what runs is frozen.

    A frozen job keeps its slot, locks and memory; its time limit stands still.
    """
    api = Api()
    for job in jobs:
        answer = api.post(f"/v1/jobs/{job}/pause")
        if not answer["changed"]:
            what = "is paused already" if answer["state"] in GOING_ON else "is over already"
            output.remark(f"job {job} {what} ({answer['state']})")
