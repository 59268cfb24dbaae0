"""What code in other languages looks like that means harm."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from cbx_sandbox.shell.checks import catalogue
from cbx_sandbox.shell.checks.model import Finding, finding
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.matching import means

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_CODE = 20_000  # characters that are looked at
SHORTEST = 8

# One that is not closed ends with its line, and has a group.
_STRINGS = expression(
    r"\"\"\".*?\"\"\"|'''.*?'''|\"(?:[^\"\\\n]|\\.)*+(?:\"|())|'(?:[^'\\\n]|\\.)*+(?:'|())", re.DOTALL
)


class _Table(Struct, frozen=True):
    find: tuple[re.Pattern[str], ...]
    none: tuple[re.Pattern[str], ...]
    strings: bool
    found: Finding

    def holds(self, text: str, bare: str) -> bool:
        """Whether code is meant; ``bare`` is the code without what stands between quotes."""
        looked_at = text if self.strings else bare
        return all(expression.search(looked_at) for expression in self.find) and not any(
            expression.search(looked_at) for expression in self.none
        )


def look(program: str, texts: Iterable[str]) -> Iterator[Finding]:
    """Return what the code that an interpreter is handed is called."""
    long = [text for text in texts if len(text) >= SHORTEST]
    about = _about(program) if long else ()
    if not about:
        return
    for text in long:
        code = text[:MAX_CODE]
        bare = _STRINGS.sub(lambda quoted: quoted[0] if quoted.lastindex else "''", code)
        yield from (table.found for table in about if table.holds(code, bare))


@lru_cache(maxsize=1024)
def _about(program: str) -> tuple[_Table, ...]:
    return tuple(
        _compiled(table)
        for table in catalogue.tables("code")["code"]
        if any(means(name, program) for name in str(table["programs"]).split())
    )


def _compiled(table: Mapping[str, Any]) -> _Table:
    return _Table(
        tuple(re.compile(text, re.DOTALL) for text in table["find"]),
        tuple(re.compile(text, re.DOTALL) for text in table.get("none", ())),
        table.get("strings", True),
        finding(table),
    )
