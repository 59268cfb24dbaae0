"""`pause`: stop jobs for a while."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


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
            output.remark(f"job {job} cannot be paused ({answer['state']})")
