"""sed's language: e executes, w and W write, r reads, and s has flags for both."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.tiers import SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.state import Where

_ADDRESS = expression(
    r"\s*(?:\d+(?:~\d+)?|\$|\\(.)(?:\\.|(?!\1).)*\1[IM]*|/(?:\\.|\[(?:\^?\]?[^\]]*)\]|[^/\\])*/[IM]*)"
)
_PLAIN = frozenset("dDgGhHlnNpPqQxzF=")


def look(run: Interpreter, script: str, where: Where) -> None:
    """Read a sed script: e executes, w and W write, s has flags for both."""
    if HOLE in script:
        run.record.reason("sed-script", "a sed script that is not known", SEQUENTIAL, where)
        return
    position = 0
    while position < len(script):
        if script[position] in " \t\n;{}":
            position += 1
            continue
        if script[position] == "#":
            position = _line_end(script, position)
            continue
        position = _command(run, script, position, where)
        if position < 0:
            run.record.reason("sed-script", "a sed script that cannot be read", SEQUENTIAL, where)
            return


def _command(run: Interpreter, script: str, position: int, where: Where) -> int:
    """Read one command with its addresses; return where it ends, negative where it cannot be read."""
    found = _ADDRESS.match(script, position)
    if found:
        position = found.end()
        comma = re.compile(r"\s*,\s*[+~]?").match(script, position)
        if comma:
            second = _ADDRESS.match(script, comma.end())
            if not second:
                return -1
            position = second.end()
    position = _skip(script, position, " \t!")
    command = script[position : position + 1]
    position += 1
    if command == "s":
        return _substitute(run, script, position, where)
    if command == "y":
        return _fields(script, position, 2)[1]
    if command in {"w", "W", "r", "R"}:
        end = _line_end(script, position)
        name = Arg(script[position:end].strip(), *where)
        if command in {"w", "W"}:
            run.writes(name, where)
        else:
            run.reads(name, where)
        return end
    if command == "e":
        end = _line_end(script, position)
        text = script[position:end].strip()
        if text:
            run.execute_text(text, where)
        else:
            run.executes_unknown("sed executes what it reads", where)
        return end
    if command and command in "aic":
        end = _line_end(script, position)
        while script[position:end].endswith("\\") and end < len(script):
            end = _line_end(script, end + 1)
        return end
    if command and command in ":btTvqQlL":
        return _until(script, position, "\n;}" if command != ":" else "\n;")
    if command in {"{", "}"}:
        return position
    if command in _PLAIN:
        after = _skip(script, position, " \t" + ("0123456789" if command in "qQl" else ""))
        return after if after >= len(script) or script[after] in "\n;}#" else -1
    return -1


def _fields(script: str, position: int, count: int) -> tuple[list[str], int]:
    """Read what stands between delimiters."""
    delimiter = script[position : position + 1]
    if delimiter in {"", "\n", "\\"}:
        return [], -1
    fields, start, position = list[str](), position + 1, position + 1
    bracket = False
    while position < len(script):
        char = script[position]
        if char == "\\":
            position += 2
            continue
        if char == "[" and not bracket and delimiter != "[" and not fields:
            closing = script.find("]", position + 2)
            bracket = closing > 0 and delimiter not in script[position:closing]
        elif char == "]":
            bracket = False
        if char == delimiter and bracket:
            return fields, -1  # implementations disagree on whether this delimits
        if char == delimiter:
            fields.append(script[start:position])
            start = position + 1
            if len(fields) == count:
                return fields, start
        position += 1
    return fields, -1


def _substitute(run: Interpreter, script: str, position: int, where: Where) -> int:
    _, position = _fields(script, position, 2)
    while 0 <= position < len(script):
        flag = script[position]
        if flag in "gpiIM0123456789":
            position += 1
        elif flag == "e":
            run.executes_unknown("sed executes what it makes", where)
            position += 1
        elif flag == "w":
            end = _line_end(script, position)
            run.writes(Arg(script[position + 1 : end].strip(), *where), where)
            return end
        elif flag in " \t\n;}#":
            return position
        else:
            return -1
    return position


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _skip(text: str, position: int, chars: str) -> int:
    while position < len(text) and text[position] in chars:
        position += 1
    return position


def _until(text: str, position: int, chars: str) -> int:
    while position < len(text) and text[position] not in chars:
        position += 1
    return position
