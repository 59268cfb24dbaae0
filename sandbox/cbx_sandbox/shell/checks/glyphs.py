"""Characters that make a command look like another one: hidden, reordering, or letters of other scripts."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from cbx_sandbox.shell.checks import catalogue
from cbx_sandbox.shell.checks.model import Finding, Verdict
from cbx_sandbox.shell.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Iterator

# A flag of a part of a country is a black flag and letters that are not shown.
_FLAG = expression("\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f")
_TERMINAL = expression(r"[\x08\x1b\x9b]|\r(?=[^\n])")
_HOST = expression(r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*://)?(?:[^/@\s]*@)?([^/:?#\s]+)")


def hidden(text: str) -> Iterator[tuple[int, int, Finding]]:
    """Return where a text holds what is not shown as it is, in characters."""
    if text.isascii() and not _TERMINAL.search(text):
        return
    without = _FLAG.sub(lambda found: "." * len(found.group()), text)
    for found in _reordering().finditer(without):
        yield *found.span(), _finding("hidden-text", "a character that reorders or hides what is shown")
    for found in _TERMINAL.finditer(without):
        yield *found.span(), _finding("hidden-text", "a control character that changes what a terminal shows")


def odd(word: str) -> Finding | None:
    """Return what a word that acts is called, a program's name or an option, if it is not what it looks like."""
    if word.isascii():
        return None
    if _invisible().search(word):
        return _finding("hidden-text", "a character that is not shown, in a word that acts")
    plain = skeleton(word)
    if plain != word and plain.isascii():
        return _finding("lookalike", f"letters that look like {plain!r} and are others")
    return None


def odd_host(word: str) -> Finding | None:
    """Return what a host is called whose name looks like another one."""
    found = _HOST.match(word)
    if found is None:
        return None
    for label in found.group(1).split("."):
        shown = label
        if label.lower().startswith("xn--"):
            try:
                shown = label[4:].encode("ascii").decode("punycode")
            except UnicodeError:
                continue
        problem = odd(shown)
        if problem is not None:
            return problem
    return None


def skeleton(word: str) -> str:
    """Return a word with the Latin letters that its own look like."""
    return word.translate(_lookalikes())


def _finding(code: str, text: str) -> Finding:
    return Finding(code, Verdict.CONFIRM, text)


@cache
def _reordering() -> re.Pattern[str]:
    table = catalogue.tables("glyphs")
    return re.compile(f"[{_ranges(table['reorder'])}{_ranges(table['hidden'])}]+")


@cache
def _invisible() -> re.Pattern[str]:
    table = catalogue.tables("glyphs")
    return re.compile(f"[{_ranges(table['invisible'])}{_ranges(table['spaces'])}]")


@cache
def _lookalikes() -> dict[int, str]:
    pairs = catalogue.tables("glyphs")["lookalikes"]
    return {ord(letter): plain for plain, letters in pairs.items() for letter in letters.split()}


def _ranges(text: str) -> str:
    """Return code points as the inside of a character class."""
    return "".join("-".join(re.escape(chr(int(end, 16))) for end in part.split("-")) for part in text.split())
