"""`abandon`: leave a job that needs a person as it ended."""

from __future__ import annotations

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Leave a job that needs a person as it ended.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.IntRange(min=1))
def command(jobs: tuple[int, ...]) -> None:
    """Leave jobs that need a person, as `status` lists them, as they ended.

    Changes that are held stay held: `checkpoint commit` and `checkpoint rollback` decide on those, and settle it too.
    """
    api = Api()
    for job in jobs:
        answer = api.post(f"/v1/jobs/{job}/abandon")
        if not answer["changed"]:
            output.remark(f"job {job} needs nobody ({answer['state']})")
