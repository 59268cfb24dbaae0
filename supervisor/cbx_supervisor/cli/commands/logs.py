"""`logs`: the output that was kept of a job."""

from __future__ import annotations

import base64
import codecs
import sys
import urllib.parse
from collections.abc import Iterator

import click

from cbx_supervisor.cli import output
from cbx_supervisor.client.http import Api


@click.command(short_help="Print a job's output.")
@click.argument("job", type=click.IntRange(min=1))
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is over.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines of what is there.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="K", help="Of this attempt, not of the last one.")
@click.option("--raw", is_flag=True, help="Do not escape control characters, even on a terminal.")
def command(job: int, follow: bool, tail: int | None, attempt: int | None, raw: bool) -> None:
    """Print the output that was kept of a job: of its last attempt, and with -f of those that follow.

    On a terminal, control characters are escaped; in a pipe or a file the bytes are as the command wrote them.
    """
    asked = {"tail": tail, "attempt": attempt}
    query = urllib.parse.urlencode({name: value for name, value in asked.items() if value is not None})
    path = f"/v1/jobs/{job}/log" + ("/events" if follow else "") + (f"?{query}" if query else "")
    # A character may come in two parts.
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    escaped = sys.stdout.isatty() and not raw
    for part in _followed(path) if follow else Api().stream(path):
        if escaped:
            output.write(output.lines(decoder.decode(part).replace("\r\n", "\n")))
        else:
            output.write(part)
        output.flush()


def _followed(path: str) -> Iterator[bytes]:
    """The output until the job is over, whichever supervisor tells it."""
    for event in Api().events(path):
        if event is not None:
            if event["over"]:
                return
            yield base64.b64decode(event["data"])
