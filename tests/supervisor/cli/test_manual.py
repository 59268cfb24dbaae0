"""docs/cli.md shows the help as it is. CBX_WRITE_MANUAL=1 writes it there."""

import os
import re
from pathlib import Path

import click

from cbx_supervisor.cli.main import VERBS, command

MANUAL = Path(__file__).parents[3] / "docs" / "cli.md"
BLOCK = re.compile(r"```text\n\$ cbx-sandbox (?P<verbs>[^\n]*?)--help\n(?P<shown>.*?)```", re.DOTALL)


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
