"""A command's text with the part underlined that something is said about: by bytes in, by columns out.

Each line of the text that the part lies in is shown with the part underlined. Of long lines what is around the part is
shown, of long parts the first lines. Control characters are shown and not sent; wide letters take two columns and
combining ones none.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from cbx_sandbox.shell.effects import surrogates
from cbx_supervisor.client.failure import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.effects import Span

GUTTER = 4
MAX_LINES = 3  # of one part
WIDTH = 100  # columns where nobody says how many there are
ELLIPSIS = "…"


def cells(text: str) -> int:
    """Return how many columns a terminal needs for a text."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(letter: str) -> int:
    if unicodedata.category(letter) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def marked(text: str, span: Span, width: int = WIDTH, paint: Callable[[str], str] = str) -> list[str]:
    """Return the lines of a text that a span lies in, each with the span underlined; ``paint`` colours the strokes."""
    data = text.encode("utf-8", surrogates(text))
    begin, end = min(span.start, len(data)), min(max(span.end, span.start), len(data))
    several = b"\n" in data.rstrip(b"\n")
    shown: list[str] = []
    number = data.count(b"\n", 0, begin) + 1
    start = data.rfind(b"\n", 0, begin) + 1
    while start <= end:
        stop = data.find(b"\n", start)
        stop = len(data) if stop < 0 else stop
        inside = (max(begin, start), min(end, stop))
        # A part that ends with a line's end has nothing on the next line.
        if inside[0] < inside[1] or begin == end:
            if len(shown) >= 2 * MAX_LINES:
                shown.append(f"{'':{GUTTER}}{ELLIPSIS}")
                break
            pieces = (data[start : inside[0]], data[inside[0] : inside[1]], data[inside[1] : stop])
            before, within, after = (printable(piece.decode("utf-8", "surrogateescape")) for piece in pieces)
            line, column, strokes = _window(before, within, after, max(20, width - GUTTER))
            gutter = f"{number:>{GUTTER - 1}} " if several else " " * GUTTER
            shown += [gutter + line, " " * (GUTTER + column) + paint("^" * strokes)]
        if stop >= end or stop == len(data):
            break
        start, number = stop + 1, number + 1
    return shown


def _window(before: str, within: str, after: str, room: int) -> tuple[str, int, int]:
    """Return what is shown of a line, the column at which the part begins in it, and how wide that is."""
    if cells(before) + cells(within) + cells(after) <= room:
        return before + within + after, cells(before), max(1, cells(within))
    lead = room // 3
    if cells(before) > lead:
        before = ELLIPSIS + _last(before, lead - 1)
    left = room - cells(before)
    if cells(within) > left:
        return before + _first(within, left - 1) + ELLIPSIS, cells(before), left
    rest = left - cells(within)
    if cells(after) > rest:
        after = _first(after, rest - 1) + ELLIPSIS if rest else ""
    return before + within + after, cells(before), max(1, cells(within))


def _first(text: str, room: int) -> str:
    """Return as many letters of the beginning as fit."""
    used = 0
    for index, letter in enumerate(text):
        used += _cell(letter)
        if used > room:
            return text[:index]
    return text


def _last(text: str, room: int) -> str:
    """Return as many letters of the end as fit, none of them without the one that it combines with."""
    used, begin = 0, len(text)
    for index in range(len(text) - 1, -1, -1):
        used += _cell(text[index])
        if used > room:
            break
        if _cell(text[index]):
            begin = index
    return text[begin:]
