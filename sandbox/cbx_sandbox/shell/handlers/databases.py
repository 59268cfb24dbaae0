"""Database clients: what they are told may leave the database by an escape to the shell."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from cbx_sandbox.shell import programs

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.rules import Rule

# psql: \\! and COPY … PROGRAM, sqlite3: .shell and .system, mysql: system and \\!, redis and the others have none.
_ESCAPES = re.compile(
    r"(?im)^\s*(?:\\!|\.(?:shell|system)\b|system\b)\s*(.+)$|\bprogram\s+'((?:[^']|'')+)'|\\(?:!|o\s*\||g\s*\|)\s*(.+)$"
)


def escapes(text: str) -> list[str]:
    """Return the shell commands in a text for a database client."""
    found = [next(group for group in match.groups() if group) for match in _ESCAPES.finditer(text)]
    return [command.replace("''", "'").rstrip("; ") for command in found]


def _database(run: Interpreter, call: Call, rule: Rule) -> str:
    """Work on a database, and run what escapes from it; on standard input too, where that is known."""
    for text in [*(arg.text for arg in call.args if arg.known), call.stdin or ""]:
        for command in escapes(text.removeprefix("-c").removeprefix("-e").removeprefix("--command=")):
            run.execute_text(command, call.where)
    return programs.generic(run, call, replace(rule, handler=""))


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {"database": _database}
