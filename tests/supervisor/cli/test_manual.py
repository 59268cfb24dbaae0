"""docs/cli.md shows the help as it is. CBX_WRITE_MANUAL=1 writes it there."""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import click
import pytest

from cbx_supervisor.cli.main import VERBS, command

MANUAL = Path(__file__).parents[3] / "docs" / "cli.md"
BLOCK = re.compile(r"```text\n\$ cbx-sandbox (?P<verbs>[^\n]*?)--help\n(?P<shown>.*?)```", re.DOTALL)


CONSOLE = re.compile(r"```console\n\$ (?P<line>[^`]*?cbx-sandbox (?:explain|analyse|rules) .*?)```", re.DOTALL)


def help_of(verbs):
    """Return what --help prints, on a terminal of 80 columns."""
    context = click.Context(command, info_name="cbx-sandbox", terminal_width=80)
    current = command
    for verb in verbs:
        current = current.get_command(context, verb)
        context = click.Context(current, info_name=verb, parent=context, terminal_width=80)
    return current.get_help(context).rstrip("\n") + "\n"


def real(match):
    """Return the block as it should be."""
    return f"```text\n$ cbx-sandbox {match['verbs']}--help\n{help_of(match['verbs'].split())}```"


def test_the_manual_shows_the_real_help():
    """Every block, letter by letter."""
    text = MANUAL.read_text()
    if os.environ.get("CBX_WRITE_MANUAL"):
        MANUAL.write_text(BLOCK.sub(real, text))
    for match in BLOCK.finditer(MANUAL.read_text()):
        assert match[0] == real(match), "write it anew: CBX_WRITE_MANUAL=1 pytest tests/supervisor/cli/test_manual.py"


def test_every_verb_is_in_the_manual():
    """And no line of the help is wider than a terminal."""
    shown = {match["verbs"].split()[0] for match in BLOCK.finditer(MANUAL.read_text()) if match["verbs"].strip()}
    assert shown == set(VERBS)
    assert all(len(line) <= 80 for verb in VERBS for line in help_of([verb]).splitlines())


def consoles():
    """The examples of verbs that run nothing: a command, which may have several lines, and what it prints."""
    return [match["line"] for name in ("docs/cli.md", "README.md") for match in CONSOLE.finditer(_text(name))]


def _text(name):
    return (MANUAL.parents[1] / name).read_text()


@pytest.mark.parametrize("console", consoles())
def test_examples_print_what_the_manual_shows(console, tmp_path):
    """Letter by letter; a line with … stands for any lines, and what follows another $ is no output of this."""
    lines = console.split("\n$ ")[0].split("\n")
    command = lines.pop(0)
    while command.count("'") % 2:
        command += "\n" + lines.pop(0)
    environment = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}:/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    shown = "\n".join(line for line in lines if not line.startswith("$ sudo")).strip("\n")
    pattern = "(?s:.*?)".join(re.escape(part.strip("\n")) for part in shown.split("…"))
    assert re.fullmatch(pattern, done.stdout.strip("\n")), done.stdout
