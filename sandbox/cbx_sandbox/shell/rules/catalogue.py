"""Which rule a program has when several files speak of it: each file is cut up, its tables are read when first met."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.rules import reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbx_sandbox.shell.rules.model import Rule

_HEADER = expression(r'(?m)^\[\[?(?:"([^"]+)"|([A-Za-z0-9_-]+))')


class RuleFile(Struct, frozen=True):
    """A file of rules; ``source`` is its name for people."""

    source: str
    text: str


class Definition(Struct, frozen=True, dict=True):
    """What one file says of one group of programs; ``line`` is where it begins."""

    key: str
    source: str
    line: int
    text: str

    @cached_property
    def table(self) -> dict[str, Any]:
        """The TOML table."""
        table: dict[str, Any] = tomllib.loads(self.text)[self.key]
        return table

    @property
    def extends(self) -> bool:
        """Whether it adds to what earlier files say."""
        return self.table.get("extend") is True


class Catalogue:
    """The rules of several files, later over earlier."""

    def __init__(self, rule_files: Iterable[RuleFile]) -> None:
        self._index: dict[str, list[Definition]] = {}
        for file in rule_files:
            for definition in split(file):
                for name in definition.key.split():
                    self._index.setdefault(name, []).append(definition)
        self._patterns = [name for name in self._index if "*" in name]

    def names(self) -> tuple[str, ...]:
        """Return every program, patterns among them."""
        return tuple(self._index)

    def definitions(self, name: str) -> tuple[Definition, ...]:
        """Return what the files say of a program, in their order."""
        found = self._index.get(name)
        if found is None:
            pattern = next((pattern for pattern in self._patterns if fnmatchcase(name, pattern)), None)
            found = [] if pattern is None else self._index[pattern]
        return tuple(found)

    def find(self, name: str) -> Rule | None:
        """Return the rule of a program."""
        found: Rule | None = None
        for definition in _in_force(self.definitions(name)):
            found = reading.rule(name, definition.table, base=found if definition.extends else None)
        return found


def _in_force(definitions: tuple[Definition, ...]) -> tuple[Definition, ...]:
    """Return the last that stands for itself and those that extend it."""
    begin = len(definitions) - 1
    while begin > 0 and definitions[begin].extends:
        begin -= 1
    return definitions[max(begin, 0) :]


def split(file: RuleFile) -> list[Definition]:
    """Cut a file into the texts of its programs, so that each is parsed when it is first needed."""
    chunks: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    headers = list(_HEADER.finditer(file.text))
    line, counted = 1, 0
    for header, following in zip(headers, [*headers[1:], None], strict=False):
        key = header.group(1) or header.group(2)
        end = following.start() if following else len(file.text)
        line += file.text.count("\n", counted, header.start())
        counted = header.start()
        lines.setdefault(key, line)
        chunks.setdefault(key, []).append(file.text[header.start() : end])
    return [Definition(key, file.source, lines[key], "".join(parts)) for key, parts in chunks.items()]
