"""Words as the shell will pass them on: what is known of each after all expansions."""

from __future__ import annotations

import posixpath

from msgspec import Struct

from cbx_sandbox.shell import marks
from cbx_sandbox.shell.braces import braces, has_brace
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.marks import HOLE, squeeze
from cbx_sandbox.shell.syntax import Arith, Param, Part, ProcSub, Text, Word
from cbx_sandbox.shell.values import GLOB, Values, expand_one, tilde, value_of

__all__ = ["HOLE", "Arg", "Values", "expand", "expand_one", "join"]

_FIELD = expression(r"[^ \t\n]+")
_BLANK = expression(r"[ \t\n*?\[]")
_NUMBERS = frozenset({"?", "#", "$", "!", "UID", "EUID", "PPID", "RANDOM", "SECONDS", "LINENO", "BASHPID"})


class Arg(Struct, frozen=True):
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


class _Field(Struct):
    """A word in the making."""

    text: str = ""
    pattern: bool = False
    many: bool = False
    begun: bool = False  # something quoted or not empty stands in it


def expand(word: Word, values: Values) -> list[Arg]:
    """Expand a word as the arguments of a command are."""
    args: list[Arg] = []
    variants = braces(list(word.parts)) if has_brace(word.parts) else [list(word.parts)]
    for parts in variants:
        args += _fields(parts, word, values)
    return args


def _fields(parts: list[Part], word: Word, values: Values) -> list[Arg]:
    done: list[_Field] = []
    current = _Field()
    for index, part in enumerate(parts):
        if isinstance(part, Text):
            text = tilde(part, parts, index, values)
            current.begun = current.begun or part.quoted or bool(text)
            current.text += text
            current.pattern = current.pattern or (not part.quoted and _matches(part.value))
            continue
        if isinstance(part, Param) and part.name in {"@", "*"} and not part.operator:
            current = _all_fields(part, values, done, current)
            continue
        if _spreads(part) and isinstance(part, Param) and not part.operator and values.fields(part.name) is not None:
            current = _all_fields(part, values, done, current)
            continue
        text = value_of(part, values)
        if isinstance(part, ProcSub) or part.quoted:
            current.text += text
            current.begun = True
            current.many = current.many or _spreads(part)
        else:
            current = _split(text, part, done, current, values)
    if current.begun:
        done.append(current)
    return [arg for made in done for arg in _finish(made, word, values)]


def _matches(text: str) -> bool:
    """Whether literal text is matched against names; only an extended pattern has a parenthesis in it."""
    return GLOB.search(text) is not None or "(" in text


def _spreads(part: Part) -> bool:
    """Whether a quoted expansion can still be several words: ``"${a[@]}"``."""
    if not isinstance(part, Param) or _counts(part):
        return False
    if part.subscript is None:
        return part.name == "@"
    return any(isinstance(piece, Text) and piece.value == "@" for piece in part.subscript.parts)


def _counts(part: Param) -> bool:
    """Whether it is ``${#name}``; with a word after it, the same sign removes a prefix."""
    return part.operator == "#" and part.argument is None


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
        current.many = current.many or marks.PART in text  # what a pattern matches: as many as there are
    return current


def _split(text: str, part: Part, done: list[_Field], current: _Field, values: Values) -> _Field:
    """Add an unquoted value: split at blanks, matched as a pattern, unknown text may be anything."""
    if values.lookup("IFS") not in {HOLE, None, " \t\n"} and text:
        text = HOLE  # split at other characters: not followed
    if HOLE in text:
        number = isinstance(part, Arith) or (
            isinstance(part, Param) and ((part.name in _NUMBERS and not part.operator) or _counts(part))
        )
        current.text += text
        current.begun = True
        current.many = current.many or not (
            number or (not _BLANK.search(text) and marks.DEEP not in text and marks.pattern(text) is not None)
        )
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
        current.pattern = current.pattern or GLOB.search(piece) is not None
    if pieces and text[-1] in " \t\n":
        done.append(current)
        current = _Field()
    return current


def _finish(made: _Field, word: Word, values: Values) -> list[Arg]:
    text = squeeze(made.text)
    if made.pattern and HOLE not in text and text[:1] in {"*", "?", "[", "-"}:
        odd = [name for name in values.matches(text) if name.startswith("-")]
        if odd:  # a file whose name is an option
            return [Arg(text, word.start, word.end, pattern=True, many=True)]
    return [Arg(text, word.start, word.end, made.pattern, made.many)]


def join(base: str, path: str) -> str:
    """Resolve a path against a directory, textually."""
    return posixpath.normpath(posixpath.join(base, path))
