"""awk's language: what runs, writes or reads beside its input."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.tiers import SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.state import Where

_TOKEN = expression(
    r"\s+|#[^\n]*|\"(?:[^\"\\]|\\.)*\"|[A-Za-z_]\w*|\d[\w.]*|\|&|\|\||>>|>=|&&|[-+*/%^!=<>]=|.", re.DOTALL
)
_ESCAPE = expression(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\n": ""}
_REGEX = expression(r"/(?:\\.|\[\^?\]?[^\]\n]*\]|[^/\\\n])+/")


def look(run: Interpreter, text: str, where: Where) -> None:
    """Look through an awk program for what runs, writes or reads beside its input."""
    if HOLE in text:
        run.executes_unknown("an awk program that is not known before it runs", where)
        return
    tokens = _tokens(text)
    printing, depth, base = False, 0, 0
    for index, token in enumerate(tokens):
        if token == "system":  # noqa: S105 -- a word of awk
            _runs(run, tokens[index + 1 : index + 4], where)
        elif token in {"print", "printf"}:
            printing, base = True, depth
        elif token in {";", "}", "\n"}:
            printing = False
        elif token in {"|", "|&"}:
            _pipe(run, tokens, index, where)
        elif token == "@":  # noqa: S105 -- a word of awk
            run.executes_unknown("awk calls or loads what is not known", where)
        elif token == "getline":  # noqa: S105 -- a word of awk
            _reads(run, tokens[index + 1 : index + 4], where)
        elif token in {">", ">>"} and printing and depth == base:
            _writes(run, tokens[index + 1 : index + 3], where)
        depth += (token in {"(", "["}) - (token in {")", "]"})


def _tokens(text: str) -> list[str]:
    """Return the tokens that matter; a slash begins a pattern where no value stands before it."""
    tokens: list[str] = []
    position = 0
    while position < len(text):
        regex = _REGEX.match(text, position) if text[position] == "/" else None
        stepped = tokens[-2:] in (["+", "+"], ["-", "-"])  # after i++ a slash divides
        if (
            regex
            and not stepped
            and not (
                tokens and re.match(r"[\w)\]$\"]", tokens[-1][-1:]) and tokens[-1] not in {"print", "return", "in"}
            )
        ):
            tokens.append("/re/")
            position = regex.end()
            continue
        found = _TOKEN.match(text, position)
        assert found is not None
        token = found.group()
        position = found.end()
        if token.isspace():
            if "\n" in token:
                tokens.append("\n")
        elif not token.startswith("#"):
            tokens.append(token)
    return tokens


def _string(token: str) -> str:
    """Return what a string stands for: a line that ends inside it ends a comment of the shell's."""
    return _ESCAPE.sub(_escaped, token[1:-1])


def _escaped(found: re.Match[str]) -> str:
    octal, hexadecimal, letter = found.groups()
    if octal or hexadecimal:
        return chr(int(octal, 8) & 0xFF if octal else int(hexadecimal, 16))
    return _LETTERS.get(letter, letter)


def _runs(run: Interpreter, following: list[str], where: Where) -> None:
    if len(following) == 3 and following[0] == "(" and following[1].startswith('"') and following[2] == ")":
        run.execute_text(_string(following[1]), where)
    else:
        run.executes_unknown("awk executes text that it makes", where)


def _pipe(run: Interpreter, tokens: list[str], index: int, where: Where) -> None:
    before, after = tokens[index - 1] if index else "", tokens[index + 1] if index + 1 < len(tokens) else ""
    text = before if after == "getline" else after
    follows = tokens[index + 2] if index + 2 < len(tokens) else ""
    if text.startswith('"') and (after == "getline" or follows in {"", ";", "}", "\n"}):
        run.execute_text(_string(text), where, HOLE)
    else:
        run.executes_unknown("awk executes text that it makes", where)


def _reads(run: Interpreter, following: list[str], where: Where) -> None:
    """See through getline < "file" and getline variable < "file"."""
    if following[:1] != ["<"]:
        following = following[1:]
    if following[:1] == ["<"] and following[1:2] and following[1].startswith('"'):
        run.reads(Arg(_string(following[1]), *where), where)


def _writes(run: Interpreter, following: list[str], where: Where) -> None:
    if following and following[0].startswith('"') and (len(following) < 2 or following[1] in {";", "}", "\n"}):
        run.writes(Arg(_string(following[0]), *where), where)
    else:
        run.record.reason("writes", "awk writes files that it names itself", SEQUENTIAL, where)
        run.writes_place("cwd", where, SEQUENTIAL)
