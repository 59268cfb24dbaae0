"""Builtins that print: what they print is known where their words are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.words import Arg

_FORMAT = re.compile(r"%(?:%|[-+ #0]*\d*(?:\.\d+)?[a-zA-Z])")


def _echo(run: Interpreter, call: Call) -> str:  # noqa: ARG001 -- every builtin is called alike
    args = list(call.args)
    newline, escapes = "\n", False
    while args and re.fullmatch(r"-[neE]+", args[0].text):
        flag = args.pop(0).text
        newline = "" if "n" in flag else newline
        escapes = "e" in flag or (escapes and "E" not in flag)
    text = " ".join(arg.text for arg in args)
    if any(arg.many or arg.pattern for arg in args):
        return HOLE + text + newline
    if escapes and "\\" in text:
        return _unescape(text) + newline
    return text + newline


def _unescape(text: str) -> str:
    """Resolve the common escapes; where others stand, the text is not known."""
    plain = text.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t")
    return HOLE if "\\" in plain else plain.replace("\0", "\\")


def _printf(run: Interpreter, call: Call) -> str:
    args = list(call.args)
    if len(args) >= 2 and args[0].text == "-v":
        return _printed_to(run, call, args[1].text, args[2:])
    if args and args[0].text.startswith("-v"):
        return _printed_to(run, call, args[0].text[2:], args[1:])
    if args and args[0].text == "--":
        args.pop(0)
    if not args or any(arg.many or arg.pattern for arg in args):
        return HOLE
    return _format(args[0].text, [arg.text for arg in args[1:]])


def _printed_to(run: Interpreter, call: Call, target: str, args: list[Arg]) -> str:
    name = target.partition("[")[0]
    run.assign(name, HOLE, call.where)
    run.arithmetic(target)
    if name in run.record.evaluated:
        for arg in args:
            run.arithmetic(arg.text)
    return ""


def _format(pattern: str, values: list[str]) -> str:
    template = _unescape(pattern) if "\\" in pattern else pattern
    conversions = [found.group() for found in _FORMAT.finditer(template) if found.group() != "%%"]
    if HOLE in template or any(conversion not in {"%s", "%d", "%b"} for conversion in conversions):
        return HOLE
    out, rest = [], list(values)
    while True:
        taken, rest = rest[: len(conversions)], rest[len(conversions) :]
        out.append(_filled(template, taken))
        if not rest or not conversions:
            return "".join(out)


def _filled(template: str, values: list[str]) -> str:
    left = iter(values)

    def fill(found: re.Match[str]) -> str:
        return "%" if found.group() == "%%" else _shown(found.group(), next(left, ""))

    return _FORMAT.sub(fill, template)


def _shown(conversion: str, value: str) -> str:
    return _unescape(value) if conversion == "%b" and "\\" in value else value


PRINTING: dict[str, Callable[[Interpreter, Call], str]] = {"echo": _echo, "printf": _printf}
