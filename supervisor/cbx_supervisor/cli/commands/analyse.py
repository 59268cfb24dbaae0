"""`analyse`: commands in, predictions out, a JSON line each; needs no supervisor."""

from __future__ import annotations

import json
import os
from typing import IO, Any

import click

from cbx_sandbox.facts import HostFacts
from cbx_sandbox.shell.analysis import analyse
from cbx_supervisor.cli import analyses, output
from cbx_supervisor.client.failure import ClientError

KEPT = ("command", "tier", "reasons", "effects")


@click.command(short_help="Classify many commands.")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--full", is_flag=True, help="Also checks, estimate, priority and programs.")
def command(file: IO[str], full: bool) -> None:
    """Classify commands without running them.

    FILE (- is stdin) has a JSON object with "command" on each line; "cwd" in it replaces the current directory.
    For each line one JSON object is printed: command, tier, reasons and effects.
    """
    for number, line in enumerate(file, 1):
        if line.strip():
            text, cwd = _read(line, number, file.name)
            found = analyses.describe(analyse(text, HostFacts(cwd, os.environ)))
            output.show_json(found if full else {key: found[key] for key in KEPT})


def _read(line: str, number: int, name: str) -> tuple[str, str]:
    try:
        entry: Any = json.loads(line)
        text, cwd = entry["command"], entry.get("cwd") or os.getcwd()
    except (ValueError, KeyError, TypeError, AttributeError):
        text = cwd = None
    if not isinstance(text, str) or not isinstance(cwd, str):
        raise ClientError(
            f'cannot read {name}, line {number}: not a JSON object with "command"',
            hint='write a line for each command: {"command": "ls -l"}',
        )
    return text, cwd
