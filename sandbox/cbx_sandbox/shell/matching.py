"""Patterns over one command with its words expanded, as the TOML tables beside the rules write them.

programs   names, some with a star
except     names that a star does not mean
first      what the first word that is no option may be
words      expressions; each has to be found in some word
none       expressions; none may be found in any word
line       an expression that is found in the words joined by single spaces
input      an expression that is found in what the command reads, as far as that is known
unknown    true: also where what the command reads is not known in full
valued     options of these programs that take a word as their value: it is no operand, and none of ``none``
bare       true: without any word that is no option
"""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from cbx_sandbox.shell import marks
from cbx_sandbox.shell.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

KEYS = frozenset({"programs", "except", "first", "words", "none", "line", "input", "unknown", "bare", "valued"})
MAX_REMEMBERED = 5_000  # programs
MAX_MATCHED = 20_000  # characters of one word or input that an expression is tried on


_HEADER = expression(r"(?m)^\[\[(\w+)\]\]$")
_PROGRAMS = expression(r'(?m)^programs = "([^"\\]+)"$')


class Pattern(Struct, frozen=True, dict=True):
    """One table of a file; it is parsed, and its expressions are compiled, when one of its programs is first met."""

    key: str
    text: str

    @cached_property
    def table(self) -> Mapping[str, Any]:
        """What the table says."""
        table: Mapping[str, Any] = tomllib.loads(self.text)[self.key][0]
        return table

    @cached_property
    def programs(self) -> tuple[str, ...]:
        """The names that it is about."""
        found = _PROGRAMS.search(self.text)
        return tuple((str(self.table["programs"]) if found is None else found[1]).split())

    @cached_property
    def _first(self) -> frozenset[str]:
        return frozenset(str(self.table.get("first", "")).split())

    @cached_property
    def _words(self) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(text) for text in self.table.get("words", ()))

    @cached_property
    def _none(self) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(text) for text in self.table.get("none", ()))

    @cached_property
    def _line(self) -> re.Pattern[str] | None:
        return re.compile(self.table["line"]) if "line" in self.table else None

    @cached_property
    def _input(self) -> re.Pattern[str] | None:
        return re.compile(self.table["input"]) if "input" in self.table else None

    def operands(self, texts: Sequence[str]) -> list[str]:
        """Return the words that are no option and no value of one."""
        return [
            text
            for before, text in zip(["", *texts], texts, strict=False)
            if not text.startswith("-") and before not in self._valued
        ]

    @cached_property
    def _valued(self) -> frozenset[str]:
        return frozenset(str(self.table.get("valued", "")).split())

    def holds(self, texts: Sequence[str], stdin: str | None) -> bool:
        """Whether a command with these arguments, which reads this, is meant."""
        operands = self.operands(texts)
        if self._first and not (operands and operands[0] in self._first):
            return False
        if self.table.get("bare") and operands:
            return False
        words = [text[:MAX_MATCHED] for text in texts]
        if not all(any(expression.search(word) for word in words) for expression in self._words):
            return False
        if self._none:
            own = [word for before, word in zip(["", *words], words, strict=False) if before not in self._valued]
            if any(expression.search(word) for expression in self._none for word in own):
                return False
        if self._line is not None and not self._line.search(" ".join(words)[:MAX_MATCHED]):
            return False
        return self._input is None or self._reads(self._input, stdin)

    def _reads(self, wanted: re.Pattern[str], stdin: str | None) -> bool:
        """Whether a command that reads this reads what is meant."""
        if self.table.get("unknown") and (stdin is None or marks.HOLE in stdin or len(stdin) > MAX_MATCHED):
            return True
        return stdin is not None and wanted.search(stdin[:MAX_MATCHED]) is not None


def means(pattern: str, name: str) -> bool:
    """Whether a name with or without stars in it means a program; compiling an expression for it takes longer."""
    if not _WILD.search(pattern):
        return pattern == name
    return name.startswith(_WILD.split(pattern, maxsplit=1)[0]) and fnmatchcase(name, pattern)


_WILD = expression(r"[*?\[]")


def _cut(text: str, key: str) -> Iterator[Pattern]:
    """Yield the tables of an array, each with its own text."""
    headers = list(_HEADER.finditer(text))
    for header, following in zip(headers, [*headers[1:], None], strict=False):
        if header[1] == key:
            yield Pattern(key, text[header.start() : following.start() if following else len(text)])


class Patterns:
    """Many patterns, found by the program."""

    def __init__(self, text: str, key: str) -> None:
        """Take the tables of an array from the text of a file."""
        self._named: dict[str, list[Pattern]] = {}
        self._starred: list[Pattern] = []
        for pattern in _cut(text, key):
            for name in pattern.programs:
                if "*" not in name:
                    self._named.setdefault(name, []).append(pattern)
            if any("*" in name for name in pattern.programs):
                self._starred.append(pattern)

        self._found: dict[str, tuple[Pattern, ...]] = {}

    def about(self, name: str) -> tuple[Pattern, ...]:
        """Return the patterns about a program."""
        found = self._found.get(name)
        if found is None:
            starred = [
                pattern
                for pattern in self._starred
                if any(means(known, name) for known in pattern.programs if "*" in known)
                and name not in str(pattern.table.get("except", "")).split()
            ]
            found = (*self._named.get(name, ()), *starred)
            if len(self._found) < MAX_REMEMBERED:
                self._found[name] = found
        return found
