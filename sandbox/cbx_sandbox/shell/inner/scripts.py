"""Files that are executed: by the program that is named, or by the one that their first line names.

A script is looked at as if its text had been given. Where it is more than is looked at, or starts programs by computed
names, it is as unknown as a program without a rule, which is what it would be unread.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.state import Where

MAX_STEPS = 2_000  # pieces of work for one script


def execute(run: Interpreter, path: str, args: list[Arg], where: Where, stdin: str | None) -> str | None:
    """Execute a file by its first line; None where what it holds, or what its first line names, is not known."""
    text = sources.text(run, path, sure=False)
    if text is None or path in run.state.running:
        return None
    if HOLE in text:
        return run.executes_unknown("executes what this text has just written", where, text)
    words = sources.interpreter(text)
    if words is None:
        return None
    known = not sources.changed(run, path)
    run.reads(Arg(path, *where), where)
    if words:
        given = [Arg(word, *where) for word in words[1:]] + [Arg(path, *where), *args]
        output = run.program(words[0], given, stdin, where)
    else:
        output = shell(run, path, text, args, where, stdin)
    return output if known else None


def shell(run: Interpreter, path: str, text: str, args: list[Arg], where: Where, stdin: str | None) -> str:
    """Execute a script of the shell, in a shell of its own that has none of this one's functions and aliases."""
    with within(run, path):
        run.state.positional = [arg.text for arg in args] if all(arg.known for arg in args) else None
        return run.nested(text, where, stdin, run.state)


@contextmanager
def within(run: Interpreter, path: str) -> Iterator[None]:
    """Look at what comes from a file: with a share of the work, and with nothing of this shell but its variables."""
    saved, run.state = run.state, run.state.copy()
    run.state.functions, run.state.aliases = {}, {}
    run.state.script = True
    run.state.running |= {path}
    with run.share(MAX_STEPS):
        yield
    saved.files.update(run.state.files)
    run.state = saved
