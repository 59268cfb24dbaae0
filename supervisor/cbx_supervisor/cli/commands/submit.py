"""`submit`: `run -d` by the name that other queues have for it; `submit --batch`: many jobs, all or none."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from cbx_supervisor.cli import output
from cbx_supervisor.cli.commands.run import Run
from cbx_supervisor.client.failure import ClientError
from cbx_supervisor.client.http import Api

GROUP = 1000  # jobs of one transaction


class _Submit(Run):
    """The same options; the job is detached."""

    def get_help(self, ctx: click.Context) -> str:
        """Say what is different, and leave the rest to `run`."""
        del ctx
        return (
            "Usage: cbx-sandbox submit [OPTIONS] [--] COMMAND [ARGUMENT...]\n"
            "       cbx-sandbox submit [OPTIONS] -c LINE\n"
            "       cbx-sandbox submit --batch FILE\n\n"
            "Have one command run in a box and do not wait for it: prints its number.\n\n"
            "The same as `cbx-sandbox run --detach`, whose options it takes.\n\n"
            "--batch takes jobs from the lines of FILE (- is stdin): a shell line as a\n"
            'JSON string, or an object as POST /v1/jobs has it, such as {"argv": ["make"],\n'
            '"idempotency_key": "a"}. Those without a directory or an environment have\n'
            f"the caller's. Each {GROUP} are taken all or none. Prints their numbers."
        )

    def invoke(self, ctx: click.Context) -> int:
        """Detach it."""
        if ctx.args[:1] in (["--help"], ["-h"]):
            click.echo(self.get_help(ctx))
            return 0
        if ctx.args[:1] == ["--batch"]:
            _submit_batch(ctx.args[1:])
            return 0
        return self.start(["--detach", *ctx.args])


def _submit_batch(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise ClientError("submit --batch takes one FILE and nothing else; - is stdin")
    api, environment = Api(), {name: value for name, value in os.environ.items() if _is_text(name + value)}
    wanted = list(_wanted(arguments[0]))
    for begin in range(0, len(wanted), GROUP):
        answer = api.post("/v1/batches", {"jobs": wanted[begin : begin + GROUP], "env": environment})
        output.show("\n".join(str(job["job"]) for job in answer["jobs"]))


def _wanted(name: str) -> Iterator[dict[str, Any]]:
    """The jobs of a file, one a line."""
    here = os.getcwd()
    try:
        with sys.stdin.buffer if name == "-" else open(name, "rb") as file:
            lines = file.read().split(b"\n")
    except OSError as why:
        raise ClientError(f"cannot read {name}: {why.strerror}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            job = json.loads(line)
        except ValueError as why:
            raise ClientError(f"cannot read {name}: line {number} is no JSON: {why}") from None
        if isinstance(job, str):
            job = {"line": job}
        if not isinstance(job, dict):
            raise ClientError(f"cannot read {name}: line {number} is neither a string nor an object")
        yield {"cwd": here, **job}


def _is_text(text: str) -> bool:
    """Whether JSON can hold it: names and values of variables may be bytes that are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


command = _Submit("submit", short_help="Have one command run and do not wait.", add_help_option=False)
