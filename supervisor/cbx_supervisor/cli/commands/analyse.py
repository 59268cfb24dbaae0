"""`analyse`: commands in, predictions out, a JSON line each, as they come; needs no supervisor."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import click

from cbx_sandbox import environment
from cbx_sandbox.facts import HostFacts
from cbx_sandbox.shell.analysis import Analysis, analyse, analyse_argv
from cbx_supervisor.cli import analyses, output, own_rules

KEPT = ("command", "tier", "reasons", "effects")
MAX_LINE = 4 << 20  # bytes; a command can have a megabyte, and twice that as JSON
_OBJECT = re.compile(r'\s*\{\s*(?:"|\}\s*$)')


@click.command(short_help="Classify many commands.")
@click.argument("file", type=click.File("rb"))
@click.option("--full", is_flag=True, help="Also checks, estimate, priority and programs.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    help="What a line is; auto: JSON where it begins like an object, else a command.",
)
def command(file: IO[bytes], full: bool, form: str) -> int:
    """Classify commands without running them.

    Each line of FILE (- is stdin) is a command, or a JSON object with "command" (or "argv", a list, for a program
    without a shell); "cwd" in it replaces the current directory, "id" is handed through. For each line one JSON object
    is printed at once: line, command, tier, reasons and effects; or line and error where it cannot be read.

    The exit status is 1 when a line could not be read.
    """
    own_rules.use()
    visible = {name: value for name, value in os.environ.items() if not environment.dropped(name)}
    here = os.getcwd()
    failed = False
    for number, line in lines(file):
        try:
            asked = read(line, form)
        except ValueError as why:
            failed = True
            answer: dict[str, Any] = {"line": number, "error": str(why)}
        else:
            found = analyses.describe(asked.analysed(HostFacts(asked.cwd or here, visible)))
            answer = {"line": number, **asked.identity, **(found if full else {key: found[key] for key in KEPT})}
        output.show_json(answer)
        output.flush()
    return int(failed)


@dataclass(frozen=True, slots=True)
class Asked:
    """One command to look at."""

    text: str
    argv: tuple[str, ...] | None
    cwd: str | None
    identity: dict[str, Any]

    def analysed(self, facts: HostFacts) -> Analysis:
        """Predict what it does."""
        return analyse(self.text, facts) if self.argv is None else analyse_argv(self.argv, facts)


def lines(file: IO[bytes]) -> Iterator[tuple[int, str | None]]:
    """Yield the lines that are not blank with their numbers, None for one that is too long to be held."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield number, None
        elif line.strip():
            yield number, line.removesuffix(b"\n").decode("utf-8", "surrogateescape")


def read(line: str | None, form: str) -> Asked:
    """Read one line. Raises ValueError that says what is wrong with it."""
    if line is None:
        raise ValueError(f"longer than {MAX_LINE >> 20} MiB")
    if form == "text" or (form == "auto" and not _OBJECT.match(line)):
        return Asked(line, None, None, {})
    try:
        entry: Any = json.loads(line)
    except (ValueError, RecursionError) as why:
        raise ValueError(f"not JSON: {why}") from why
    if not isinstance(entry, dict):
        raise ValueError('not a JSON object; write {"command": "ls -l"}')  # noqa: TRY004 -- the line's fault, not ours
    text, argv, cwd = entry.get("command"), entry.get("argv"), entry.get("cwd")
    if argv is None and not isinstance(text, str):
        raise ValueError('there is no "command" that is a text, and no "argv"')
    if argv is not None and (not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv)):
        raise ValueError('"argv" is no list of texts')
    if cwd is not None and (not isinstance(cwd, str) or not cwd.startswith("/")):
        raise ValueError('"cwd" is no absolute path')
    identity = {"id": entry["id"]} if "id" in entry else {}
    return Asked(text or "", None if argv is None else tuple(argv), cwd, identity)
