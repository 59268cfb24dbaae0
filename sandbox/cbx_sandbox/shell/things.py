"""Things besides files that a command changes or uses, by the tables in things.toml."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from typing import TYPE_CHECKING, Any

from cbx_sandbox.shell import bundled
from cbx_sandbox.shell.effects import Thing
from cbx_sandbox.shell.matching import Patterns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cbx_sandbox.shell.matching import Pattern

KEYS = frozenset({"thing", "names", "default", "prefix", "changes", "trim"})
PLACES = frozenset({"rest", "all", "last"})


def named(program: str, texts: Sequence[str]) -> Iterator[tuple[Thing, str, bool]]:
    """Return the things that a command with these words is about, their names, and whether it changes them."""
    for pattern in _tables().about(program):
        if not pattern.holds(texts, None):
            continue
        table = pattern.table
        prefix, trim = table.get("prefix", ""), table.get("trim")
        found = [re.sub(trim, "", name) if trim else name for name in _names(pattern, texts)]
        for name in dict.fromkeys(found or [table.get("default", "")]):
            yield Thing(table["thing"]), prefix + name, table.get("changes", True)


def tables() -> Mapping[str, Any]:
    """Return what the file says."""
    return tomllib.loads(_text())


def _text() -> str:
    return bundled.text(__name__.rpartition(".")[0], "things.toml")


@cache
def _tables() -> Patterns:
    return Patterns(_text(), "thing")


def _names(pattern: Pattern, texts: Sequence[str]) -> Iterable[str]:
    names = pattern.table["names"]
    if not isinstance(names, str):
        line = " ".join(texts)
        for expression in names:
            found = re.search(expression, line)
            if found:
                return [found.group(1)]
        return []
    operands = pattern.operands(texts)
    if names == "last":
        return operands[-1:]
    return operands if names == "all" else operands[1:]
