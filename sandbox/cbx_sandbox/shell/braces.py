"""Brace expansion: one word as it is written to the words that bash makes of it."""

from __future__ import annotations

import re

from msgspec.structs import replace

from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.syntax import Param, Part, Text

MAX_TOKENS = 300  # pieces of a word with braces; more is a pattern as well
MAX_BRACES = 64  # words that one brace expansion may make before it is a pattern instead

_LETTERS = expression(r"[A-Za-z0-9_]+")
_RANGE = expression(r"(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(?:\.\.(-?\d{1,9}))?$")


def has_brace(parts: tuple[Part, ...]) -> bool:
    """Whether a word has an unquoted opening brace."""
    return any(isinstance(part, Text) and not part.quoted and "{" in part.value for part in parts)


def braces(parts: list[Part]) -> list[list[Part]]:
    """Expand the first brace of a word, then the rest of what that makes."""
    if sum(part.value.count("{") for part in parts if isinstance(part, Text)) > MAX_TOKENS:
        return [[*parts, Text("*", quoted=False)]]
    tokens = _tokens(parts)
    if len(tokens) > MAX_TOKENS:
        return [[*parts, Text("*", quoted=False)]]
    made = _expand_tokens(tokens, MAX_BRACES)
    if made is None:
        return [[*parts, Text("*", quoted=False)]]
    return [_joined(variant) for variant in made]


def _tokens(parts: list[Part]) -> list[Part]:
    """Split unquoted text so that braces and commas stand alone."""
    out: list[Part] = []
    for part in parts:
        if isinstance(part, Text) and not part.quoted:
            out += [Text(piece, quoted=False) for piece in re.split(r"([{},])", part.value) if piece]
        else:
            out.append(part)
    return out


def _is(token: Part, char: str) -> bool:
    return isinstance(token, Text) and not token.quoted and token.value == char


def _expand_tokens(tokens: list[Part], limit: int) -> list[list[Part]] | None:
    """Return every variant, None where there are more than the limit."""
    for start, token in enumerate(tokens):
        if not _is(token, "{"):
            continue
        found = _alternatives(tokens, start)
        if found is None:
            continue
        choices, end = found
        out: list[list[Part]] = []
        for choice in choices:
            rest = _expand_tokens([*choice, *tokens[end:]], limit - len(out))
            if rest is None or len(out) + len(rest) > limit:
                return None
            out += [[*tokens[:start], *variant] for variant in rest]
        return out
    return [tokens] if limit > 0 else None


def _alternatives(tokens: list[Part], start: int) -> tuple[list[list[Part]], int] | None:
    depth = 0
    choices: list[list[Part]] = [[]]
    for index in range(start, len(tokens)):
        token = tokens[index]
        if _is(token, "{"):
            depth += 1
        if _is(token, "}"):
            depth -= 1
            if depth == 0:
                if len(choices) > 1:
                    return choices, index + 1
                spread = _range(choices[0])
                return (spread, index + 1) if spread else None
        if depth == 1 and _is(token, ","):
            choices.append([])
        elif not (depth == 1 and index == start):
            choices[-1].append(token)
    return None


def _range(tokens: list[Part]) -> list[list[Part]] | None:
    if len(tokens) != 1 or not isinstance(tokens[0], Text) or tokens[0].quoted:
        return None
    found = _RANGE.match(tokens[0].value)
    if not found:
        return None
    first, last = found.group(1), found.group(2)
    step = abs(int(found.group(3) or 1)) or 1
    if first.isalpha() and last.isalpha():
        codes = _steps(ord(first), ord(last), step)
        values = None if codes is None else [chr(code) for code in codes]
    elif not first.isalpha() and not last.isalpha() and max(len(first), len(last)) < 10:
        numbers = _steps(int(first), int(last), step)
        padded = any(re.match(r"-?0\d", text) for text in (first, last))
        width = max(len(first), len(last)) if padded else 0
        values = None if numbers is None else [f"{number:0{width}d}" for number in numbers]
    else:
        return None
    if values is None:
        return [[Text("*", quoted=False)]]
    return [[Text(value, quoted=False)] for value in values]


def _steps(first: int, last: int, step: int) -> list[int] | None:
    """Return the numbers of a range in its order, None where there are too many."""
    if abs(last - first) // step >= MAX_BRACES:
        return None
    return list(range(first, last + 1, step)) if first <= last else list(range(first, last - 1, -step))


def _joined(tokens: list[Part]) -> list[Part]:
    out: list[Part] = []
    for token in tokens:
        last = out[-1] if out else None
        if isinstance(token, Text) and isinstance(last, Text) and token.quoted == last.quoted:
            out[-1] = Text(last.value + token.value, token.quoted)
        elif isinstance(token, Text) and isinstance(last, Param) and last.open and not token.quoted:
            # Braces are expanded before variables: $x{,y} is $x and $xy.
            letters = _LETTERS.match(token.value)
            longer = letters.group() if letters else ""
            out[-1] = replace(last, name=last.name + longer)
            if token.value != longer:
                out.append(Text(token.value[len(longer) :], quoted=False))
        else:
            out.append(token)
    return out
