"""The values of a word's parts: parameters with their operators, substitutions, arithmetic.

An unknown piece of text is one ``HOLE`` character, so a half-known word keeps the half that is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cbx_sandbox.shell import marks
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.marks import HOLE, PART, squeeze
from cbx_sandbox.shell.syntax import Arith, Param, Part, ProcSub, Subst, Text, Word

if TYPE_CHECKING:
    from cbx_sandbox.shell.syntax import Sequence

GLOB = expression(r"[*?]|\[[^/\[]*\]")


class Values(Protocol):
    """What expansion needs from the interpreter."""

    def lookup(self, name: str) -> str | None:
        """Return a variable's text, HOLE where unknown, None where it is known to be unset."""

    def fields(self, name: str) -> list[str] | None:
        """Return the words of ``$@`` or an array, None where unknown."""

    def assign(self, name: str, value: str) -> None:
        """Set a variable."""

    def substitute(self, body: Sequence) -> str:
        """Run a command substitution and return what it prints."""

    def process(self, part: ProcSub) -> str:
        """Run a process substitution and return the path that stands for it."""

    def arithmetic(self, text: str) -> None:
        """Look at an arithmetic expression for assignments and for text that would be executed."""

    def executes(self, why: str) -> None:
        """Note that an expansion executes text."""

    def home(self) -> str:
        """Return the home directory."""

    def matches(self, pattern: str) -> tuple[str, ...]:
        """Return the names that a pattern matches, as the shell would write them."""


def expand_one(word: Word | None, values: Values) -> str:
    """Expand a word as the value of an assignment is: no splitting, no patterns."""
    if word is None:
        return ""
    out = []
    for index, part in enumerate(word.parts):
        if isinstance(part, Text):
            out.append(tilde(part, word.parts, index, values))
        else:
            out.append(value_of(part, values))
    return squeeze("".join(out))


def tilde(part: Text, parts: tuple[Part, ...] | list[Part], index: int, values: Values) -> str:
    """Return a literal part with the home directory that a leading ``~`` means."""
    text = part.value
    if index or part.quoted or not text.startswith("~"):
        return text
    user, slash, rest = text[1:].partition("/")
    if not slash and len(parts) > 1:  # whatever follows belongs to the name, and then it is none
        return text
    if user == "":
        return values.home() + slash + rest
    if user == "+":
        return (values.lookup("PWD") or HOLE) + slash + rest
    return HOLE + slash + rest


def value_of(part: Part, values: Values) -> str:
    """Return what a part stands for."""
    if isinstance(part, Text):
        return part.value
    if isinstance(part, Subst):
        return values.substitute(part.body)
    if isinstance(part, Arith):
        values.arithmetic(expand_one(part.inner, values))
        return HOLE + PART
    if isinstance(part, ProcSub):
        return values.process(part)
    return _parameter(part, values)


def _parameter(part: Param, values: Values) -> str:
    if part.name == "":
        return expand_one(part.argument, values)
    if part.subscript is not None:
        inner = expand_one(part.subscript, values)
        if inner not in {"@", "*"}:
            values.arithmetic(inner)
        expand_one(part.argument, values)
        known = values.fields(part.name)
        if known is not None and not part.operator and inner in {"@", "*"}:
            return " ".join(known)
        if known is not None and not part.operator and (len(known) == 1 or not any(HOLE in text for text in known)):
            return _element(known, inner)
        return HOLE
    if part.name in {"@", "*"}:
        expand_one(part.argument, values)
        known = values.fields(part.name)
        return HOLE if known is None or part.operator else " ".join(known)
    return _operate(part, values.lookup(part.name), values)


def _element(known: list[str], index: str) -> str:
    """Return a word of an array by its number."""
    if not index.isdigit() or not index.isascii():
        return HOLE
    if len(known) == 1 and HOLE in known[0]:
        return known[0]  # it stands for as many as there are
    return known[int(index)] if int(index) < len(known) else ""


def _operate(part: Param, value: str | None, values: Values) -> str:
    operator = part.operator
    if operator == "":
        return value or ""
    if operator.startswith(("!", "#")) and operator not in {"#", "##"}:
        if operator.startswith("!") and value:
            values.arithmetic(value)
        return HOLE
    if operator == "#" and part.argument is None:
        return HOLE
    if operator.lstrip(":") in {"-", "=", "+", "?"}:
        return _default(part, value, values)
    argument = expand_one(part.argument, values)
    if operator == ":":
        values.arithmetic(argument)
    if operator == "@P":
        values.executes("an expansion that executes what the variable holds")
        return HOLE
    if value is None or HOLE in value or HOLE in argument or GLOB.search(argument):
        return marks.add(HOLE, marks.of(value))
    return _edit(operator, value, argument)


def _default(part: Param, value: str | None, values: Values) -> str:
    """Choose between the value and the word; where either could be meant, nothing is known."""
    operator = part.operator
    kind = operator[-1]
    unset = value is None or (operator.startswith(":") and value == "")
    unsure = value is not None and HOLE in value
    argument = expand_one(part.argument, values)
    if kind == "+":
        chosen = "" if unset else argument
        return HOLE if unsure else chosen
    if unsure:
        return HOLE
    if not unset:
        return value or ""
    if kind == "=":
        values.assign(part.name, argument)
    return "" if kind == "?" else argument


def _edit(operator: str, value: str, argument: str) -> str:
    if operator in {"#", "##"}:
        return value.removeprefix(argument)
    if operator in {"%", "%%"}:
        return value.removesuffix(argument)
    if operator in {"/", "//"}:
        old, _, new = argument.partition("/")
        if old == "" or old[0] in "#%":
            return HOLE
        return value.replace(old, new, 1 if operator == "/" else -1)
    if argument == "" and operator in {"^^", ",,"}:
        return value.upper() if operator == "^^" else value.lower()
    if argument == "" and operator in {"^", ","} and value:
        first = value[0].upper() if operator == "^" else value[0].lower()
        return first + value[1:]
    return HOLE
