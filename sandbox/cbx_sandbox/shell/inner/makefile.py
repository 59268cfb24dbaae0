"""A makefile read as a table: which targets need which others, and the lines that make them.

What is read is what make itself would see in a plain makefile. Both branches of a condition count; what a function
makes is not known, but for the few that give what they are given. What is beyond that makes the whole unreadable.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct, field

from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LINES = 5_000
MAX_DEPTH = 20  # variables that stand for variables, includes within includes
MAX_ALTERNATIVES = 4  # values of one variable that are tried

_ASSIGN = expression(r"(?:(?:override|private)\s+)*([^\s:#=+?!$()]+)\s*(::?:?=|\?=|\+=|!=|=)\s*(.*)$", re.DOTALL)
_CONDITION = expression(r"(?:ifeq|ifneq|ifdef|ifndef|else|endif)\b")
_COMPUTED = expression(r"\$[({](?:eval|call|foreach|if|file|guile)\b|-?load\s")
_INCLUDE = expression(r"(-include|sinclude|include)\s+(.*)$")
_SAME = frozenset({"strip", "abspath", "realpath", "sort", "firstword", "lastword"})
_SILENT = frozenset({"info", "warning", "error"})
_MARKED = "@+- \t"

# What make knows without being told, where it matters what is executed.
_BUILT_IN = {
    "MAKE": "make", "CC": "cc", "CXX": "c++", "AR": "ar", "AS": "as", "LD": "ld", "RM": "rm -f", "CPP": "cc -E",
    "LEX": "lex", "YACC": "yacc", "FC": "f77", "SHELL": "/bin/sh", "CURDIR": ".", "MAKEFLAGS": "", "MAKECMDGOALS": HOLE,
}  # fmt: skip


class Unreadable(Exception):  # noqa: N818 -- an answer, not a mistake
    """A makefile that is more than a table."""


class Target(Struct):
    """What a target needs, and how it is made."""

    needs: list[str] = field(default_factory=list)
    recipe: list[str] = field(default_factory=list)


class Makefile(Struct):
    """What was read; the values of variables are texts that are expanded where they are used."""

    lookup: Callable[[str], str]  # a variable of the environment
    include: Callable[[str], str | None]
    matches: Callable[[str], tuple[str, ...]]  # the files that a pattern names
    fixed: dict[str, str] = field(default_factory=dict)  # set on the command line
    variables: dict[str, list[str]] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    patterns: dict[str, Target] = field(default_factory=dict)
    first: str | None = None
    exported: set[str] = field(default_factory=set)
    remade: list[str] = field(default_factory=list)  # files that are included
    executes: list[str] = field(default_factory=list)  # what $(shell …) runs
    beyond: str = ""  # why this is not all of it
    choice: int = 0  # which of several values of a variable is meant now
    depth: int = 0

    # -- lines --------------------------------------------------------------------------------------------------

    def read(self, text: str) -> None:
        """Read a makefile into the table."""
        lines = text.split("\n")
        if len(lines) > MAX_LINES or self.depth > MAX_DEPTH:
            raise Unreadable("more than is read here")
        current: list[Target] = []
        index = 0
        while index < len(lines):
            line = lines[index]
            index += 1
            while line.endswith("\\") and not line.endswith("\\\\") and index < len(lines):
                inner = lines[index]
                line += "\n" + (inner[1:] if line.startswith("\t") and inner.startswith("\t") else inner)
                index += 1
            if line.startswith("\t") and current:
                for target in current:
                    target.recipe.append(line[1:])
                continue
            line = re.sub(r"[ \t]*\\\n[ \t]*", " ", line)
            line = _uncommented(line).strip()
            if line.startswith("define "):
                index = self._define(line, lines, index)
            elif line:
                try:
                    current = self._line(line, current)
                except Unreadable as found:
                    self.beyond, current = str(found), []

    def _define(self, line: str, lines: list[str], index: int) -> int:
        name = line.split()[1].rstrip("=:")
        body: list[str] = []
        while index < len(lines) and lines[index].strip() != "endef":
            body.append(lines[index])
            index += 1
        self._give(name, "=", "\n".join(body))
        return index + 1

    def _line(self, line: str, current: list[Target]) -> list[Target]:
        if _CONDITION.match(line):
            self.expand(line)
            return current
        found = _INCLUDE.match(line)
        if found:
            self._include(found.group(2), optional=found.group(1) != "include")
            return []
        if line.startswith(("export ", "unexport ", "override export ", "vpath ", "undefine ")) or line == "export":
            self._export(line)
            return []
        assigned = _ASSIGN.match(line)
        if assigned:
            self._give(*assigned.groups())
            return []
        if _COMPUTED.match(line):
            raise Unreadable("lines that are computed")
        if re.fullmatch(r"\$[({](?:info|warning|error)\b.*[)}]", line):
            self.expand(line)
            return current
        return self._rule(line)

    def _include(self, names: str, *, optional: bool) -> None:
        for name in self.expand(names).split():
            text = None if HOLE in name else self.include(name)
            if text is not None:
                self.depth += 1
                self.read(text)
                self.depth -= 1
            elif HOLE in name or not optional:
                self.beyond = "includes what is not known"
            self.remade.append(name)

    def _export(self, line: str) -> None:
        rest = line.partition("export")[2].strip()
        assigned = _ASSIGN.match(rest)
        if line.startswith(("vpath", "undefine")):
            return
        if assigned:
            self._give(*assigned.groups())
            self.exported.add(assigned.group(1))
        elif rest == "":
            self.exported |= {"*"}
        else:
            self.exported |= set(rest.split())

    def _give(self, name: str, operator: str, value: str) -> None:
        if name in {".RECIPEPREFIX", ".SHELLFLAGS", ".ONESHELL"}:
            raise Unreadable(name)
        if operator == "!=":
            self.executes.append(self.expand(value))
            value = HOLE
        if operator == "?=" and (name in self.variables or self.lookup(name)):
            return
        values = self.variables.setdefault(name, [])
        if operator in {":=", "::=", ":::="}:
            value = self.expand(value)
        if operator == "+=" and values:
            values[:] = [f"{old} {value}" for old in values]
        elif value not in values:
            if len(values) >= MAX_ALTERNATIVES:
                raise Unreadable(f"too many values of {name}")
            values.append(value.replace(f"$({name})", HOLE).replace(f"${{{name}}}", HOLE))

    def _rule(self, line: str) -> list[Target]:
        head, colon, rest = _at_colon(line)
        if not colon:
            self.expand(line)
            raise Unreadable(f"the line {line[:40]!r}")
        rest, _, recipe = rest.lstrip(":").partition(";")
        assigned = _ASSIGN.match(rest.strip())
        if assigned:
            self._give(*assigned.groups())
            return []
        names = self.expand(head).split()
        if any(HOLE in name for name in names):
            raise Unreadable("targets that are computed")
        pattern, second, needs = _at_colon(rest)
        if not second:
            pattern, needs = "", rest
        needed = self.expand(needs).replace("|", " ").split()
        made: list[Target] = []
        for name in names:
            table = self.patterns if "%" in name else self.targets
            target = table.setdefault(name, Target())
            stem = _stem(pattern.strip(), name) if pattern.strip() else None
            target.needs += needed if stem is None else [need.replace("%", stem) for need in needed]
            if recipe.strip():
                target.recipe.append(recipe.strip())
            made.append(target)
            if self.first is None and "%" not in name and not (name.startswith(".") and "/" not in name):
                self.first = name
            if name == ".ONESHELL":
                raise Unreadable(name)
        return made

    # -- targets ------------------------------------------------------------------------------------------------

    def find(self, name: str) -> tuple[Target, str] | None:
        """Return how a target is made, with the stem that a pattern matched."""
        target = self.targets.get(name)
        if target is not None and target.recipe:
            return target, HOLE
        for pattern, other in self.patterns.items():
            stem = _stem(pattern, name)
            if stem is not None and other.recipe:
                needs = [need.replace("%", stem) for need in other.needs]
                return Target(needs + (target.needs if target else []), other.recipe), stem
        return None if target is None else (target, HOLE)

    def goal(self) -> str | None:
        """Return the target that is made when none is named."""
        named = self.variables.get(".DEFAULT_GOAL")
        return self.expand(named[-1]).strip() if named else self.first

    def commands(self, name: str, target: Target, stem: str) -> list[str]:
        """Return the lines of a recipe as the shell gets them."""
        own = {"@": name, "<": target.needs[0] if target.needs else HOLE, "^": " ".join(target.needs) or HOLE}
        own |= {
            "*": stem,
            "?": HOLE,
            "+": own["^"],
            "|": HOLE,
            "%": HOLE,
            "@D": HOLE,
            "@F": HOLE,
            "<D": HOLE,
            "<F": HOLE,
        }
        lines: list[str] = []
        for line in target.recipe:
            for piece in self.expand(line, own).split("\n") if "\\\n" not in line else [self.expand(line, own)]:
                command = piece.lstrip(_MARKED)
                if command.strip() and command not in lines:
                    lines.append(command)
        return lines

    # -- values -------------------------------------------------------------------------------------------------

    def value(self, name: str, own: dict[str, str] | None = None) -> str:
        """Return what a variable stands for, expanded."""
        if own and name in own:
            return own[name]
        if name in self.fixed:
            return self.fixed[name]
        values = self.variables.get(name)
        if values:
            return self.expand(values[min(self.choice, len(values) - 1)], own)
        return _BUILT_IN[name] if name in _BUILT_IN else self.lookup(name)

    def expand(self, text: str, own: dict[str, str] | None = None) -> str:
        """Replace variables and functions; what is not known becomes a HOLE."""
        if "$" not in text:
            return text
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.depth -= 1
            return HOLE
        out: list[str] = []
        position = 0
        while position < len(text):
            char = text[position]
            if char != "$" or position + 1 >= len(text):
                out.append(char)
                position += 1
                continue
            following = text[position + 1]
            if following == "$":
                out.append("$")
                position += 2
            elif following in "({":
                end = _closing(text, position + 1)
                out.append(self._reference(text[position + 2 : end], own))
                position = end + 1
            else:
                out.append(self.value(following, own))
                position += 2
        self.depth -= 1
        return re.sub(HOLE + "+", HOLE, "".join(out))

    def _reference(self, text: str, own: dict[str, str] | None) -> str:
        name, blank, rest = text.partition(" ")
        if blank and re.fullmatch(r"[a-z-]+", name):
            argument = self.expand(rest, own)
            if name == "shell":
                if argument not in self.executes:
                    self.executes.append(argument)
                return HOLE
            if name == "eval":
                raise Unreadable("lines that are computed")
            if name in _SILENT:
                return ""
            return argument if name in _SAME else self._function(name, argument)
        name = self.expand(name, own)
        if HOLE in name:
            return HOLE
        base, colon, edit = name.partition(":")
        value = self.value(base, own)
        if not colon:
            return value
        old, _, new = edit.partition("=")
        return _edited(value, old if "%" in old else "%" + old, new if "%" in old else "%" + new)

    def _function(self, name: str, argument: str) -> str:
        """Return what a function makes of words that are known."""
        parts = argument.split(",", 2)
        if HOLE in argument:
            return HOLE
        match name, parts:
            case "wildcard", _:
                return " ".join(found for pattern in argument.split() for found in self.matches(pattern))
            case "patsubst", [old, new, words]:
                return _edited(words, old.strip(), new.strip())
            case "addprefix", [prefix, words]:
                return " ".join(prefix.strip() + word for word in words.split())
            case "addsuffix", [suffix, words]:
                return " ".join(word + suffix.strip() for word in words.split())
            case "subst", [old, new, words]:
                return words.replace(old, new) if old else words
            case "notdir", _:
                return " ".join(word.rpartition("/")[2] for word in argument.split())
            case _:
                return HOLE


def _edited(words: str, old: str, new: str) -> str:
    """Replace a pattern in each word, as patsubst does."""
    if HOLE in words:
        return HOLE
    stems = ((word, _stem(old, word)) for word in words.split())
    return " ".join(word if stem is None else new.replace("%", stem, 1) for word, stem in stems)


def _closing(text: str, start: int) -> int:
    """Return where the bracket at a position is closed."""
    opener = text[start]
    closer = ")" if opener == "(" else "}"
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] == opener) - (text[position] == closer)
        if depth == 0:
            return position
    raise Unreadable("a reference that does not end")


def _uncommented(line: str) -> str:
    found = re.search(r"(?<!\\)#", line)
    return line[: found.start()] if found else line


def _at_colon(line: str) -> tuple[str, str, str]:
    """Split at the first colon that is in no reference and begins no assignment."""
    position = 0
    while position < len(line):
        if line[position] == "$" and line[position + 1 : position + 2] in {"(", "{"}:
            position = _closing(line, position + 1) + 1
            continue
        if line[position] == ":" and line[position + 1 : position + 2] != "=":
            return line[:position], ":", line[position + 1 :]
        position += 1
    return line, "", ""


def _stem(pattern: str, name: str) -> str | None:
    """Return what the % of a pattern stands for in a name."""
    before, mark, after = pattern.partition("%")
    if not mark or len(name) < len(before) + len(after):
        return None
    if not (name.startswith(before) and name.endswith(after)):
        return None
    return name[len(before) : len(name) - len(after)]
