"""Files that are executed: by the program that is named, or by the one that their first line names.

A script is looked at as if its text had been given. Where it is more than is looked at, or starts programs by computed
names, it is as unknown as a program without a rule, which is what it would be unread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.state import State, Where

MAX_STEPS = 2_000  # pieces of work for one script


def execute(run: Interpreter, path: str, args: list[Arg], where: Where, stdin: str | None) -> str | None:
    """Execute a file by its first line; None where what it holds, or what its first line names, is not known."""
    text = sources.text(run, path)
    if text is None or path in run.state.running:
        return None
    if HOLE in text:
        return run.executes_unknown("executes what this text has just written", where, text)
    words = sources.interpreter(text)
    if words is None:
        return None
    run.reads(Arg(path, *where), where)
    if not words:
        return shell(run, path, text, args, where, stdin)
    given = [Arg(word, *where) for word in words[1:]] + [Arg(path, *where), *args]
    return run.program(words[0], given, stdin, where)


def shell(run: Interpreter, path: str, text: str, args: list[Arg], where: Where, stdin: str | None) -> str:
    """Execute a script of the shell, in a shell of its own that has none of this one's functions and aliases."""
    state = run.state.copy()
    state.functions, state.aliases = {}, {}
    state.positional = [arg.text for arg in args] if all(arg.known for arg in args) else None
    return within(run, path, lambda: run.nested(text, where, stdin, state), state)


def within(run: Interpreter, path: str, action: Callable[[], str], state: State | None = None) -> str:
    """Look at what comes from a file: with a share of the work, and no deeper into a file that is being looked at."""
    saved, run.state = run.state, run.state.copy()
    for inside in (run.state, state or run.state):
        inside.script = True
        inside.running |= {path}
    with run.share(MAX_STEPS):
        output = action()
    saved.files.update(run.state.files)
    run.state = saved
    return output
