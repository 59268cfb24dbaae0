"""Builtins that set variables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell import marks
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.tiers import SEQUENTIAL
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.state import Where

_NAME = expression(r"[A-Za-z_][A-Za-z0-9_]*$")
MAX_LINES = 64  # that an array is known to hold
_EVALUATED = expression(r"-[A-Za-z]*[in]")  # integers and references


def _declare(run: Interpreter, call: Call) -> str:
    """Assign: declare, local, export, readonly, typeset."""
    if call.name == "local":
        run.state.local |= {arg.text.partition("=")[0] for arg in call.args if not arg.text.startswith("-")}
    exports = call.name == "export" or any(re.match(r"-\w*x", arg.text) for arg in call.args)
    nameref = any(arg.text.startswith("-") and "n" in arg.text for arg in call.args)
    if any(_EVALUATED.match(arg.text) for arg in call.args):
        _evaluate(run, call, nameref=nameref)
    for arg in call.args:
        name, equals, value = arg.text.partition("=")
        if exports and not name.startswith("-"):
            run.state.exported |= {name.rstrip("+")}
        if "[" in name:
            run.arithmetic(name)
        if HOLE in name or arg.many:
            run.record.reason("computed-name", "sets a variable whose name is not known", SEQUENTIAL, call.where)
        elif equals:
            run.assign(name.rstrip("+"), HOLE if nameref or name.endswith("+") or arg.pattern else value, call.where)
        elif call.name == "local" and _NAME.match(name):
            run.state.variables[name] = ""
        if nameref and call.name != "export" and not name.startswith("-"):
            _refers(run, name, value, call.where)
    return HOLE if not call.args or call.args[0].text.startswith("-") else ""


def _refers(run: Interpreter, name: str, target: str, where: Where) -> None:
    """Note what a reference refers to: whatever the reference is set to later, that variable gets."""
    base = target.partition("[")[0]
    if _NAME.match(base):
        run.record.references.setdefault(name, set()).add(base)
    else:
        run.record.reason("computed-name", "sets a variable whose name is not known", SEQUENTIAL, where)


def _evaluate(run: Interpreter, call: Call, *, nameref: bool) -> None:
    """Note integers, whose values are arithmetic whenever they get one, and references, which may be subscripts."""
    for arg in call.args:
        name, equals, value = arg.text.partition("=")
        name = name.rstrip("+")
        if not _NAME.match(name):
            continue
        run.record.evaluated |= {name, value} if nameref else {name}
        if not nameref:
            run.record.integers.add(name)
        for text in (value if equals else name, *(run.state.arrays.get(name) or ())):
            run.arithmetic(text)


def _wait(run: Interpreter, call: Call) -> str:
    subscripts(run, call)
    return ""


def _set(run: Interpreter, call: Call) -> str:
    texts = call.texts()
    if any(re.match(r"-\w*a", text) or text == "allexport" for text in texts):
        run.state.exported |= {"*"}
    if "--" in texts:
        rest = call.args[texts.index("--") + 1 :]
        run.state.positional = [arg.text for arg in rest] if all(arg.known for arg in rest) else None
    elif texts and not texts[0].startswith(("-", "+")):
        run.state.positional = texts if all(arg.known for arg in call.args) else None
    return HOLE if not texts else ""


def _shift(run: Interpreter, call: Call) -> str:
    known = run.state.positional
    if call.args or known is None:
        run.state.positional = None
    else:
        run.state.positional = known[1:]
    return ""


def _unset(run: Interpreter, call: Call) -> str:
    subscripts(run, call)
    for arg in call.args:
        if arg.text == "-f":
            for name in call.texts():
                run.state.functions.pop(name, None)
        elif not arg.text.startswith("-"):
            run.state.variables[arg.text] = None
            run.state.arrays.pop(arg.text, None)
            if arg.text == "PATH" or not arg.known:
                run.state.path_changed = True  # without one, shells look in the current directory
    return ""


def _read(run: Interpreter, call: Call) -> str:
    """Set variables from what is read: their values are not known."""
    skip = False
    subscripts(run, call)
    unknown = marks.add(HOLE, marks.of(call.stdin))
    for arg in call.args:
        if skip:
            skip = False
        elif re.fullmatch(r"-[a-zA-Z]*[dinNptucCOs]", arg.text):
            skip = not arg.text.endswith("s")
            if arg.text.endswith("a"):
                continue
        elif not arg.text.startswith("-") and _NAME.match(arg.text):
            if arg.text in run.record.evaluated:
                run.arithmetic(call.stdin or "")
            run.assign(arg.text, unknown, call.where)
            run.state.arrays[arg.text] = None
        elif not arg.text.startswith("-") and _NAME.match(base := arg.text.partition("[")[0]):
            run.assign(base, unknown, call.where)
            run.state.arrays[base] = None
    for name in ("REPLY", "MAPFILE"):
        run.state.variables[name] = unknown
    return ""


def _let(run: Interpreter, call: Call) -> str:
    for arg in call.args:
        run.arithmetic(arg.text)
    return ""


_ABOUT_FILES = frozenset("-a -b -c -d -e -f -g -h -k -p -r -s -u -w -x -G -L -N -O -S".split())


def _test(run: Interpreter, call: Call) -> str:
    texts = call.texts()
    for index, text in enumerate(texts[:-1]):
        if text in _ABOUT_FILES and call.args[index + 1].known:
            run.looks(run.absolute(texts[index + 1]), call.where)
    if any(text in {"-v", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-R"} for text in texts):
        subscripts(run, call)
    return ""


def subscripts(run: Interpreter, call: Call) -> None:
    """Names with a subscript are expanded once more, commands in them and all."""
    for text in call.texts():
        if "[" in text:
            run.arithmetic(text)


def _mapfile(run: Interpreter, call: Call) -> str:
    texts = call.texts()
    for index, text in enumerate(texts[:-1]):
        if text == "-C":
            run.execute_text(texts[index + 1], call.where)
    fed = run.fed
    _read(run, call)
    text = call.stdin or ""
    if fed is not None and (not text or HOLE in text):
        text = sources.text(run, fed) or ""
    if len(texts) == 2 and texts[0] == "-t" and _NAME.match(texts[1]) and text and not set(text) & {HOLE, "\0"}:
        lines = text.removesuffix("\n").split("\n")
        if len(lines) <= MAX_LINES:
            run.state.arrays[texts[1]] = lines
    return ""


VARIABLES: dict[str, Callable[[Interpreter, Call], str]] = {
    **dict.fromkeys(("declare", "typeset", "local", "export", "readonly"), _declare),
    **dict.fromkeys(("read", "getopts"), _read),
    **dict.fromkeys(("mapfile", "readarray"), _mapfile),
    **dict.fromkeys(("test", "["), _test),
    "set": _set,
    "shift": _shift,
    "unset": _unset,
    "let": _let,
    "wait": _wait,
}
