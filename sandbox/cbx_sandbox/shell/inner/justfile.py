"""A justfile read as a table of recipes."""

from __future__ import annotations

import re

from msgspec import Struct, field

from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.words import HOLE

_HEADER = expression(r"@?([A-Za-z_][\w-]*)((?:\s[^:]*)?):(?!=)\s*(.*)$")
_VARIABLE = expression(r"(?:export\s+)?([A-Za-z_][\w-]*)\s*:=\s*(.*)$")
_SHELL = expression(r"set\s+(?:windows-)?shell\s*:=\s*\[\s*['\"]([^'\"]*)['\"]")
_PARAMETER = expression(r"([A-Za-z_][\w-]*)(?:=('[^']*'|\"[^\"]*\"|\S+))?")
_SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh"})


class Unreadable(Exception):  # noqa: N818 -- an answer, not a mistake
    """A justfile that is more than a table."""


class Recipe(Struct):
    """The recipes that come before and after one, its parameters with what they are by default, and its lines."""

    needs: list[str] = field(default_factory=list)
    parameters: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


class Justfile(Struct):
    """What was read."""

    recipes: dict[str, Recipe] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    executes: list[str] = field(default_factory=list)  # what back-ticks run

    def text(self, line: str, given: dict[str, str]) -> str:
        """Return a line as the shell gets it."""

        def value(found: re.Match[str]) -> str:
            inner = found.group(1).strip()
            return given.get(inner, self.variables.get(inner, self._value(inner)))

        line = re.sub(r"\{\{\{\{", "\0", line)
        return re.sub(r"\{\{(.*?)(?:\}\}|$)", value, line).replace("\0", "{{")

    def _value(self, text: str) -> str:
        """Return what is written as a value: a text in quotes; back-ticks are executed."""
        text = text.strip()
        found = re.fullmatch(r"'([^']*)'|\"([^\"\\]*)\"", text)
        if found:
            return found.group(1) or found.group(2) or ""
        self.executes += re.findall(r"`([^`]*)`", text)
        return self.variables.get(text, HOLE)

    def assign(self, name: str, value: str) -> None:
        """Set a variable."""
        self.variables[name] = self._value(value)


def read(text: str) -> Justfile:
    """Read a justfile."""
    made = Justfile()
    current: Recipe | None = None
    for line in text.replace("\\\n", " ").split("\n"):
        if line[:1] in {" ", "\t"} and current is not None:
            current.lines.append(line.strip())
            continue
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", "[")):
            continue
        current = _item(made, stripped)
    return made


def _item(made: Justfile, line: str) -> Recipe | None:
    shell = _SHELL.match(line)
    if shell:
        if shell.group(1).rpartition("/")[2] not in _SHELLS:
            raise Unreadable("a shell of its own")
        return None
    if re.match(r"set\s", line):
        return None
    alias = re.match(r"alias\s+([\w-]+)\s*:=\s*([\w-]+)", line)
    if alias:
        made.aliases[alias.group(1)] = alias.group(2)
        return None
    variable = _VARIABLE.match(line)
    if variable:
        made.assign(*variable.groups())
        return None
    header = _HEADER.match(line)
    if header is None or line.startswith(("import ", "mod ")):
        raise Unreadable(f"the line {line[:40]!r}")
    name, parameters, needs = header.groups()
    recipe = Recipe(re.findall(r"[A-Za-z_][\w-]*", re.sub(r"'[^']*'|\"[^\"]*\"|#.*", "", needs)))
    for found in _PARAMETER.finditer(parameters or ""):
        recipe.parameters.append((found.group(1), (found.group(2) or HOLE).strip("'\"")))
    return made.recipes.setdefault(name, recipe)
