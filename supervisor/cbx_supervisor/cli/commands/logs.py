"""`logs`: the output that was kept of a job."""

from __future__ import annotations

import sys

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Print a job's output.")
@click.argument("job", type=click.IntRange(min=1))
@click.option("--raw", is_flag=True, help="Do not escape control characters, even on a terminal.")
def command(job: int, raw: bool) -> None:
    """Print the output that was kept of a job.

    On a terminal, control characters are escaped; in a pipe or a file the bytes are as the command wrote them.
    """
    content = Api().get_bytes(f"/v1/jobs/{job}/log")
    if sys.stdout.isatty() and not raw:
        text = output.lines(content.decode("utf-8", "surrogateescape").replace("\r\n", "\n"))
        sys.stdout.write(text)
    else:
        sys.stdout.buffer.write(content)
