"""Builtins that print: what they print is known where their words are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.marks import PART
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.words import Arg

_ESCAPES = {"\\": "\\", "n": "\n", "t": "\t", "0": "\0"}
_ESCAPE = expression(r"\\([\\nt]|0(?![0-7]))")
_NUMBER = expression(r"%0?\d{0,2}d$")
_FORMAT = expression(r"%(?:%|[-+ #0]*\d*(?:\.\d+)?[a-zA-Z])")


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
    return HOLE if _ESCAPE.sub("", text).count("\\") else _ESCAPE.sub(lambda found: _ESCAPES[found.group(1)], text)


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
    known = name == target and args and all(arg.known for arg in args)
    text = _format(args[0].text, [arg.text for arg in args[1:]]) if known else HOLE
    run.assign(name, HOLE if "\0" in text else text, call.where)
    run.arithmetic(target)
    if name in run.record.evaluated:
        for arg in args:
            run.arithmetic(arg.text)
    return ""


def _format(pattern: str, values: list[str]) -> str:
    template = _unescape(pattern) if "\\" in pattern else pattern
    conversions = [found.group() for found in _FORMAT.finditer(template) if found.group() != "%%"]
    if HOLE in template or not all(
        conversion in {"%s", "%b"} or _NUMBER.match(conversion) for conversion in conversions
    ):
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
    if conversion in {"%s", "%b"}:
        return _unescape(value) if conversion == "%b" and "\\" in value else value
    if value.isascii() and re.fullmatch(r"-?(?:0|[1-9]\d{0,8})|", value):
        return conversion % int(value or "0")
    return value if value == HOLE + PART else HOLE


PRINTING: dict[str, Callable[[Interpreter, Call], str]] = {"echo": _echo, "printf": _printf}
