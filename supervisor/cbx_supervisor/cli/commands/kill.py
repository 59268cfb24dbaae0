"""`kill`: send jobs a signal."""

from __future__ import annotations

from typing import get_args

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api
from cbx_supervisor.protocol.messages import Signal


@click.command(short_help="Send jobs a signal.")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=click.IntRange(min=1))
@click.option("-s", "--signal", default="KILL", show_default=True, help="Its name, for example HUP or SIGUSR1.")
def command(jobs: tuple[int, ...], signal: str) -> None:
    """Send jobs a signal.

    KILL ends all processes of a job at once, other signals go to the command's process group.
    """
    name = signal.upper().removeprefix("SIG")
    if name not in get_args(Signal):
        raise click.BadParameter(f"{signal}: known are {', '.join(get_args(Signal))}")
    api = Api()
    for job in jobs:
        answer = api.post(f"/v1/jobs/{job}/kill", {"signal": name})
        if not answer["signalled"]:
            output.remark(f"job {job} is over already ({answer['state']})")
