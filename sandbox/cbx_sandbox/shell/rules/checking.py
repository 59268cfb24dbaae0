"""What is wrong with a rule file, with the line: for `rules check`, for the daemon before it uses one, for tests."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from cbx_sandbox.shell.effects import HostKind
from cbx_sandbox.shell.estimate import COSTS
from cbx_sandbox.shell.rules import catalogue, reading
from cbx_sandbox.shell.rules.lines import Lines
from cbx_sandbox.shell.tiers import SHORT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

ROLES = frozenset(
    "read write append create delete text look tree list rewrite under prefix into tree-delete host run exec".split()
)
STYLES = frozenset({"gnu", "word", "keys", "none"})
CONDITIONS = frozenset({"has", "lacks", "first", "min", "max"})
MAX_DEPTH = 8  # tables within tables; no program has so many levels of subcommands

Path = tuple[str, ...]


class Problem(Struct, frozen=True):
    """What is wrong; ``line`` counts from 1, 0 where it cannot be told; ``where`` is the table and the key."""

    line: int
    where: str
    text: str


def problems(text: str, handlers: Collection[str]) -> list[Problem]:
    """Return everything that is wrong with a file of rules, in the order of its lines."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as failure:
        found = re.search(r"line (\d+)", str(failure))
        return [Problem(int(found.group(1)) if found else text.count("\n") + 1, "", f"not TOML: {failure}")]
    except RecursionError:
        return [Problem(0, "", "nested too deeply")]
    lines = Lines(text)
    checker = _Checker(handlers)
    checker.file(text, tables)
    found_problems = [
        Problem(lines.of(path), " ".join(path), message) for path, message in dict.fromkeys(checker.found)
    ]
    return sorted(found_problems, key=lambda problem: problem.line)


class _Checker:
    def __init__(self, handlers: Collection[str]) -> None:
        self.handlers = handlers
        self.found: list[tuple[Path, str]] = []

    def bad(self, path: Path, message: str) -> None:
        self.found.append((path, message))

    def file(self, text: str, tables: dict[str, Any]) -> None:
        for key, table in tables.items():
            if not isinstance(table, dict):
                self.bad((key,), "is no table: a program's rule begins with its name in brackets")
            elif not key.split():
                self.bad((key,), "names no program")
            else:
                self.table((key,), table)
        if self.found:
            return
        # A program's part is cut out of the file when it is needed: that has to give the same.
        cut = {part.key: part for part in catalogue.split(catalogue.RuleFile("", text))}
        for key, table in tables.items():
            try:
                same = key in cut and cut[key].table == table
            except (tomllib.TOMLDecodeError, KeyError):
                same = False
            if not same:
                self.bad((key,), f'write its tables with a header at the beginning of a line: ["{key}"]')

    def table(self, path: Path, table: dict[str, Any]) -> None:
        if len(path) > 2 * MAX_DEPTH:
            self.bad(path, "nested too deeply")
            return
        for key, value in table.items():
            if key not in _KEYS:
                self.bad((*path, key), f"no such key{_meant(key, _KEYS)}")
            elif key == "sub":
                self.subs(path, value)
            elif key == "when":
                self.whens(path, value)
            elif key == "options":
                self.options(path, value)
            elif key == "examples":
                self.examples(path, value)
            elif key == "handler":
                self.handler(path, value)
            elif key == "extend" and len(path) > 1:
                self.bad((*path, key), "belongs to a program, not to its parts")
            else:
                self.value((*path, key), key, value)

    def value(self, path: Path, key: str, value: object) -> None:
        for message in _KEYS[key](value):
            self.bad(path, message)

    def subs(self, path: Path, value: object) -> None:
        if not isinstance(value, dict):
            self.bad((*path, "sub"), "is no table")
            return
        for name, inner in value.items():
            if not isinstance(inner, dict) or not name.split():
                self.bad((*path, "sub", name), "is no table of a subcommand")
            else:
                self.table((*path, "sub", name), inner)

    def whens(self, path: Path, value: object) -> None:
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            self.bad((*path, "when"), "is no list of tables")
            return
        for entry in value:
            if not CONDITIONS & entry.keys():
                self.bad((*path, "when"), f"a condition is missing: one of {_listed(CONDITIONS)}")
            for key, inner in entry.items():
                here = (*path, "when", key)
                if key in {"min", "max"}:
                    if type(inner) is not int or inner < 0:
                        self.bad(here, "is no number of operands")
                elif key in CONDITIONS:
                    for message in _words(inner):
                        self.bad(here, message)
                elif key in reading.REPLACED:
                    self.value(here, key, inner)
                else:
                    self.bad(here, f"cannot be replaced here{_meant(key, reading.REPLACED | CONDITIONS)}")

    def options(self, path: Path, value: object) -> None:
        if not isinstance(value, dict):
            self.bad((*path, "options"), 'is no table of "-o --option" = "role"')
            return
        for spellings, spec in value.items():
            here = (*path, "options", spellings)
            if not spellings.split():
                self.bad(here, "names no option")
            if not isinstance(spec, str):
                self.bad(here, "its role is no text")
                continue
            role, bang, tier = spec.partition("!")
            if role in SHORT and not bang:
                if role == "safe":
                    self.bad(here, 'an option cannot ask for safe: say "flag"')
            elif role not in reading.ARITY:
                self.bad(here, f"no such role: {role}{_meant(role, reading.ARITY)}")
            elif bang and tier not in SHORT:
                self.bad(here, f"no such tier: {tier}{_meant(tier, SHORT)}")

    def examples(self, path: Path, value: object) -> None:
        if not isinstance(value, dict):
            self.bad((*path, "examples"), 'is no table of "command" = "tier"')
            return
        for command, tier in value.items():
            if not isinstance(tier, str) or tier not in SHORT:
                self.bad((*path, "examples", command), f"no such tier: {tier}{_meant(str(tier), SHORT)}")

    def handler(self, path: Path, value: object) -> None:
        if not isinstance(value, str) or (value and value not in self.handlers and not value.startswith("as:")):
            self.bad((*path, "handler"), f"no such handler: {value}{_meant(str(value), self.handlers)}")


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def _meant(word: str, known: Collection[str]) -> str:
    import difflib  # noqa: PLC0415 -- only where something is wrong

    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {_listed(known)}"


# -- single values: each yields what is wrong ----------------------------------------------------------------------


def _text(value: object) -> Iterator[str]:
    if not isinstance(value, str):
        yield "is no text"


def _words(value: object) -> Iterator[str]:
    if not isinstance(value, str) and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        yield "is neither a text nor a list of texts"


def _flag(value: object) -> Iterator[str]:
    if not isinstance(value, bool):
        yield "is neither true nor false"


def _count(value: object) -> Iterator[str]:
    if type(value) is not int:
        yield "is no whole number"


def _one_of(known: Collection[str], *, empty: bool = False) -> Callable[[object], Iterator[str]]:
    def check(value: object) -> Iterator[str]:
        if not isinstance(value, str) or (value not in known and not (empty and value == "")):
            yield f"cannot be {value}{_meant(str(value), known)}"

    return check


def _operands(value: object) -> Iterator[str]:
    yield from _words(value)
    roles = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    for role in roles:
        if str(role).removesuffix("*") not in ROLES:
            yield f"no such role: {role}{_meant(str(role), ROLES)}"
    if sum(str(role).endswith("*") for role in roles) > 1:
        yield "only one role can have a star"


def _network(value: object) -> Iterator[str]:
    if value not in {True, False, "operand", ""}:
        yield 'is neither true, false nor "operand"'


def _statuses(value: object) -> Iterator[str]:
    if not isinstance(value, list) or not all(type(item) is int and 0 <= item <= 255 for item in value):
        yield "is no list of exit statuses"


_KEYS: dict[str, Callable[[object], Iterator[str]]] = {
    "tier": _one_of(SHORT),
    "unknown": _one_of(SHORT),
    "why": _text,
    "default": _text,
    "operands": _operands,
    "writes": _words,
    "caches": _words,
    "resources": _words,
    "settings": _words,
    "network": _network,
    "host": _one_of([kind.value for kind in HostKind], empty=True),
    "processes": _flag,
    "local": _flag,
    "extend": _flag,
    "benign": _statuses,
    "cost": _one_of(COSTS),
    "style": _one_of(STYLES),
    "wrap": _count,
    **dict.fromkeys(("options", "sub", "when", "handler", "examples"), _text),  # each has a check of its own
}
