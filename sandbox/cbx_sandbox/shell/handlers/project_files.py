"""What programs share that execute what a file of the project says."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import programs
from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.tiers import SEQUENTIAL
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.rules import Rule

MAX_UP = 20  # directories above that a file is looked for in


def as_its_rule_says(run: Interpreter, call: Call, rule: Rule) -> str:
    """Go on with the rule alone; a directory that it changes to is the program's own."""
    cwd = run.state.cwd
    output = programs.generic(run, call, replace(rule, handler=""))
    run.state.cwd = cwd
    return output


def found(run: Interpreter, names: tuple[str, ...], *, up: bool) -> tuple[str, str] | None:
    """Return path and text of the first of these files, here or in a directory above; None where it cannot be read."""
    directory = run.state.cwd
    for _ in range(MAX_UP if up else 1):
        if directory is None:
            return None
        for name in names:
            path = posixpath.join(directory, name)
            text = sources.text(run, path, sure=False)
            if text is not None:
                return (path, text) if HOLE not in text else None
        directory = posixpath.dirname(directory) if directory != "/" else None
    return None


def beyond(run: Interpreter, call: Call, why: str) -> None:
    """Note that a program executes more than is read."""
    run.record.reason("unreadable-script", f"{call.name} executes what is not read: {why}", SEQUENTIAL, call.where)
    run.writes_place("project", call.where, SEQUENTIAL)


def line(run: Interpreter, call: Call, text: str, directory: str) -> None:
    """Execute a line in a shell of its own."""
    state = run.state.copy()
    state.cwd = directory
    run.nested(text, call.where, None, state)
    run.state.files.update(state.files)
