"""Words as the shell will pass them on: what is known of each after all expansions.

An unknown piece of text is one ``HOLE`` character, so a half-known word keeps the half that is known.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cbx_sandbox.shell.syntax import Arith, Param, Part, ProcSub, Subst, Text, Word

if TYPE_CHECKING:
    from cbx_sandbox.shell.syntax import Sequence

HOLE = "\ue000"
MAX_TOKENS = 300  # pieces of a word with braces; more is a pattern as well
MAX_BRACES = 64  # words that one brace expansion may make before it is a pattern instead

_GLOB = re.compile(r"[*?]|\[[^/]*\]")
_RANGE = re.compile(r"(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(?:\.\.-?\d+)?$")
_FIELD = re.compile(r"[^ \t\n]+")
_NUMBERS = frozenset({"?", "#", "$", "!", "UID", "EUID", "PPID", "RANDOM", "SECONDS", "LINENO", "BASHPID"})


@dataclass(frozen=True, slots=True)
class Arg:
    """One word after expansion; ``many`` where it may be none or several words, ``pattern`` where it is matched."""

    text: str
    start: int
    end: int
    pattern: bool = False
    many: bool = False

    @property
    def known(self) -> bool:
        """Whether this is exactly one word with this text."""
        return not (self.pattern or self.many or HOLE in self.text)

    @property
    def open(self) -> bool:
        """Whether it could turn out to be an option."""
        return self.many or self.text.startswith(HOLE)


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


@dataclass(slots=True)
class _Field:
    """A word in the making."""

    text: str = ""
    pattern: bool = False
    many: bool = False
    begun: bool = False  # something quoted or not empty stands in it


def expand(word: Word, values: Values) -> list[Arg]:
    """Expand a word as the arguments of a command are."""
    args: list[Arg] = []
    variants = _braces(list(word.parts)) if _has_brace(word.parts) else [list(word.parts)]
    for parts in variants:
        args += _fields(parts, word, values)
    return args


def expand_one(word: Word | None, values: Values) -> str:
    """Expand a word as the value of an assignment is: no splitting, no patterns."""
    if word is None:
        return ""
    out = []
    for index, part in enumerate(word.parts):
        if isinstance(part, Text):
            out.append(_tilde(part, word.parts, index, values))
        else:
            out.append(_value(part, values))
    return _squeeze("".join(out))


def _squeeze(text: str) -> str:
    return re.sub(HOLE + "+", HOLE, text) if HOLE in text else text


# -- one word ---------------------------------------------------------------------------------------------------


def _fields(parts: list[Part], word: Word, values: Values) -> list[Arg]:
    done: list[_Field] = []
    current = _Field()
    for index, part in enumerate(parts):
        if isinstance(part, Text):
            text = _tilde(part, parts, index, values)
            current.begun = current.begun or part.quoted or bool(text)
            current.text += text
            current.pattern = current.pattern or (not part.quoted and _GLOB.search(part.value) is not None)
            continue
        if isinstance(part, Param) and part.name in {"@", "*"} and not part.operator:
            current = _all_fields(part, values, done, current)
            continue
        text = _value(part, values)
        if isinstance(part, ProcSub) or part.quoted:
            current.text += text
            current.begun = True
            current.many = current.many or _spreads(part)
        else:
            current = _split(text, part, done, current, values)
    if current.begun:
        done.append(current)
    return [arg for made in done for arg in _finish(made, word, values)]


def _spreads(part: Part) -> bool:
    """Whether a quoted expansion can still be several words: ``"${a[@]}"``."""
    if not isinstance(part, Param) or part.subscript is None or part.operator == "#":
        return False
    return any(isinstance(piece, Text) and piece.value == "@" for piece in part.subscript.parts)


def _all_fields(part: Param, values: Values, done: list[_Field], current: _Field) -> _Field:
    known = values.fields(part.name)
    if known is None or not part.quoted:
        text = HOLE if known is None else " ".join(known)
        if known is not None:
            return _split(text, part, done, current, values)
        current.text += HOLE
        current.many = current.begun = True
        return current
    if part.name == "*":
        current.text += " ".join(known)
        current.begun = True
        return current
    for index, text in enumerate(known):
        if index:
            done.append(current)
            current = _Field()
        current.text += text
        current.begun = True
    return current


def _split(text: str, part: Part, done: list[_Field], current: _Field, values: Values) -> _Field:
    """Add an unquoted value: split at blanks, matched as a pattern, unknown text may be anything."""
    if values.lookup("IFS") not in {HOLE, None, " \t\n"} and text:
        text = HOLE  # split at other characters: not followed
    if HOLE in text:
        number = isinstance(part, Arith) or (
            isinstance(part, Param) and (part.name in _NUMBERS or part.operator == "#")
        )
        current.text += text
        current.begun = True
        current.many = current.many or not number
        return current
    pieces = _FIELD.findall(text)
    if pieces and text[0] in " \t\n" and current.begun:
        done.append(current)
        current = _Field()
    for index, piece in enumerate(pieces):
        if index:
            done.append(current)
            current = _Field()
        current.text += piece
        current.begun = True
        current.pattern = current.pattern or _GLOB.search(piece) is not None
    if pieces and text[-1] in " \t\n":
        done.append(current)
        current = _Field()
    return current


def _finish(made: _Field, word: Word, values: Values) -> list[Arg]:
    text = _squeeze(made.text)
    if made.pattern and HOLE not in text and text[:1] in {"*", "?", "[", "-"}:
        odd = [name for name in values.matches(text) if name.startswith("-")]
        if odd:  # a file whose name is an option
            return [Arg(text, word.start, word.end, pattern=True, many=True)]
    return [Arg(text, word.start, word.end, made.pattern, made.many)]


def _tilde(part: Text, parts: tuple[Part, ...] | list[Part], index: int, values: Values) -> str:
    text = part.value
    if index or part.quoted or not text.startswith("~"):
        return text
    user, slash, rest = text[1:].partition("/")
    if not slash and len(parts) > 1 and isinstance(parts[1], Text) and parts[1].quoted and parts[1].value[:1] != "/":
        return text
    if user == "":
        return values.home() + slash + rest
    if user == "+":
        return (values.lookup("PWD") or HOLE) + slash + rest
    return HOLE + slash + rest


# -- values -----------------------------------------------------------------------------------------------------


def _value(part: Part, values: Values) -> str:
    if isinstance(part, Text):
        return part.value
    if isinstance(part, Subst):
        return values.substitute(part.body)
    if isinstance(part, Arith):
        values.arithmetic(expand_one(part.inner, values))
        return HOLE
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
        return HOLE
    if part.name in {"@", "*"}:
        expand_one(part.argument, values)
        known = values.fields(part.name)
        return HOLE if known is None or part.operator else " ".join(known)
    return _operate(part, values.lookup(part.name), values)


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
    if operator == "@P":
        values.executes("an expansion that executes what the variable holds")
        return HOLE
    if value is None or HOLE in value or HOLE in argument or _GLOB.search(argument):
        return HOLE
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


# -- braces -----------------------------------------------------------------------------------------------------


def _has_brace(parts: tuple[Part, ...]) -> bool:
    return any(isinstance(part, Text) and not part.quoted and "{" in part.value for part in parts)


def _braces(parts: list[Part]) -> list[list[Part]]:
    """Expand the first brace of a word, then the rest of what that makes."""
    tokens = _tokens(parts)
    if len(tokens) > MAX_TOKENS:
        return [[*parts, Text("*", quoted=False)]]
    made = _expand_tokens(tokens, MAX_BRACES)
    if made is None:
        return [[*parts, Text("*", quoted=False)]]
    return [_joined(variant) for variant in made]


def _tokens(parts: list[Part]) -> list[Part]:
    """Split unquoted text so that braces and commas stand alone."""
    out: list[Part] = []
    for part in parts:
        if isinstance(part, Text) and not part.quoted:
            out += [Text(piece, quoted=False) for piece in re.split(r"([{},])", part.value) if piece]
        else:
            out.append(part)
    return out


def _is(token: Part, char: str) -> bool:
    return isinstance(token, Text) and not token.quoted and token.value == char


def _expand_tokens(tokens: list[Part], limit: int) -> list[list[Part]] | None:
    """Return every variant, None where there are more than the limit."""
    for start, token in enumerate(tokens):
        if not _is(token, "{"):
            continue
        found = _alternatives(tokens, start)
        if found is None:
            continue
        choices, end = found
        out: list[list[Part]] = []
        for choice in choices:
            rest = _expand_tokens([*choice, *tokens[end:]], limit - len(out))
            if rest is None or len(out) + len(rest) > limit:
                return None
            out += [[*tokens[:start], *variant] for variant in rest]
        return out
    return [tokens] if limit > 0 else None


def _alternatives(tokens: list[Part], start: int) -> tuple[list[list[Part]], int] | None:
    depth = 0
    choices: list[list[Part]] = [[]]
    for index in range(start, len(tokens)):
        token = tokens[index]
        if _is(token, "{"):
            depth += 1
        if _is(token, "}"):
            depth -= 1
            if depth == 0:
                if len(choices) > 1:
                    return choices, index + 1
                spread = _range(choices[0])
                return (spread, index + 1) if spread else None
        if depth == 1 and _is(token, ","):
            choices.append([])
        elif not (depth == 1 and index == start):
            choices[-1].append(token)
    return None


def _range(tokens: list[Part]) -> list[list[Part]] | None:
    if len(tokens) != 1 or not isinstance(tokens[0], Text) or tokens[0].quoted:
        return None
    found = _RANGE.match(tokens[0].value)
    if not found:
        return None
    first, last = found.group(1), found.group(2)
    if first.isalpha() and last.isalpha():
        low, high = sorted((ord(first), ord(last)))
        values = [chr(code) for code in range(low, high + 1)]
    elif not first.isalpha() and not last.isalpha() and max(len(first), len(last)) < 10:
        low, high = sorted((int(first), int(last)))
        if high - low >= MAX_BRACES:
            return [[Text("*", quoted=False)]]
        values = [str(number) for number in range(low, high + 1)]
    else:
        return None
    return [[Text(value, quoted=False)] for value in values]


def _joined(tokens: list[Part]) -> list[Part]:
    out: list[Part] = []
    for token in tokens:
        last = out[-1] if out else None
        if isinstance(token, Text) and isinstance(last, Text) and token.quoted == last.quoted:
            out[-1] = Text(last.value + token.value, token.quoted)
        else:
            out.append(token)
    return out


def join(base: str, path: str) -> str:
    """Resolve a path against a directory, textually."""
    return posixpath.normpath(posixpath.join(base, path))
