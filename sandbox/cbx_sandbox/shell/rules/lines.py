"""On which line of a TOML file a key stands: what the parser does not tell."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from cbx_sandbox.shell.expressions import expression

_HEADER = expression(r"\s*\[")


class Lines:
    """The lines of one file, by the table that each belongs to."""

    def __init__(self, text: str) -> None:
        self._sections: list[tuple[tuple[str, ...], int, list[str]]] = [((), 0, [])]
        for number, line in enumerate(text.split("\n")):
            header = _header(line)
            if header is not None:
                self._sections.append((header, number, []))
            self._sections[-1][2].append(line)

    def of(self, path: tuple[str, ...]) -> int:
        """Return the line of the key at a path of tables, counted from 1; of its table where it is not found."""
        header, number, lines = max(
            (section for section in self._sections if path[: len(section[0])] == section[0]),
            key=lambda section: (len(section[0]), _mentions(section[2], path[len(section[0]) :])),
        )
        rest = path[len(header) :]
        return number + _within(lines, rest) + 1


def _header(line: str) -> tuple[str, ...] | None:
    """Return the path of tables that a line opens."""
    if not _HEADER.match(line):
        return None
    try:
        table: Any = tomllib.loads(line)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    path = []
    while isinstance(table, dict) and table:
        name, table = next(iter(table.items()))
        path.append(name)
        table = table[0] if isinstance(table, list) and table else table
    return tuple(path)


def _mentions(lines: list[str], rest: tuple[str, ...]) -> bool:
    return not rest or any(_key(rest[0], line) for line in lines)


def _within(lines: list[str], rest: tuple[str, ...]) -> int:
    found, column = 0, 0
    for part in rest:
        for index in range(found, len(lines)):
            at = _key(part, lines[index][column:] if index == found else lines[index])
            if at:
                column = at if index > found else column + at
                found = index
                break
    return found


def _key(name: str, line: str) -> int:
    """Return where in a line the text after a key begins, 0 where the line has no such key."""
    escaped = re.escape(name)
    found = re.search(rf"""(?:^|[\s{{,.])(?:"{escaped}"|'{escaped}'|{escaped})\s*[=.]""", line)
    return found.end() if found else 0
