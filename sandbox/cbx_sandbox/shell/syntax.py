"""The small syntax tree that the rest of the analysis walks: what bash would do, without what it looks like.

    Word        Text | Param | Subst | Arith | ProcSub, joined
    commands    Simple Pipeline Sequence Group If Loop For ArithFor Case Select Function Test ArithCommand Coproc

Positions are character offsets into the text that was parsed; what was read inside back-ticks carries the position of
the whole back-tick expression.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct  # made a hundred times faster than a data class, which `explain` would wait for


class Text(Struct, frozen=True):
    """Literal characters; unquoted ones may still be braces, tildes and patterns."""

    value: str
    quoted: bool


class Param(Struct, frozen=True):
    """``$name`` or ``${name op arg}``; ``subscript`` keeps what is evaluated between the brackets."""

    name: str
    operator: str
    argument: Word | None
    subscript: Word | None
    quoted: bool
    open: bool = False  # written without braces, so that a letter after it would belong to the name


class Subst(Struct, frozen=True):
    """Command substitution."""

    body: Sequence
    quoted: bool


class Arith(Struct, frozen=True):
    """Arithmetic: the parts that are expanded before it is computed, and its plain text."""

    inner: Word
    quoted: bool


class ProcSub(Struct, frozen=True):
    """``<(…)`` or, with ``writes``, ``>(…)``."""

    body: Sequence
    writes: bool


Part = Text | Param | Subst | Arith | ProcSub


class Word(Struct, frozen=True):
    """One word before expansion."""

    parts: tuple[Part, ...]
    start: int
    end: int


class Assign(Struct, frozen=True):
    """``name=value``; ``elements`` for an array."""

    name: str
    value: Word | None
    elements: tuple[Word, ...] | None
    subscript: Word | None
    append: bool
    start: int
    end: int


class Heredoc(Struct):
    """A here-document; its body is met only after the line that names it."""

    delimiter: str
    expands: bool
    strip_tabs: bool
    body: Word | None = None


class Redirect(Struct, frozen=True):
    """One redirection."""

    operator: str
    fd: str
    target: Word
    here: Heredoc | None
    start: int
    end: int


class Simple(Struct, frozen=True):
    """Assignments, words and redirections."""

    assigns: tuple[Assign, ...]
    words: tuple[Word | Assign, ...]
    redirects: tuple[Redirect, ...]
    start: int
    end: int


class Pipeline(Struct, frozen=True):
    """Commands joined by ``|``."""

    commands: tuple[Command, ...]
    negated: bool


class Sequence(Struct, frozen=True):
    """Commands one after the other; each carries the operator that follows it."""

    items: tuple[tuple[Command, str], ...]


class Group(Struct, frozen=True):
    """``( … )`` or ``{ …; }``, and any compound command that has redirections."""

    body: Command
    subshell: bool
    redirects: tuple[Redirect, ...]


class If(Struct, frozen=True):
    """Every condition and branch, in order."""

    conditions: tuple[Sequence, ...]
    branches: tuple[Sequence, ...]


class Loop(Struct, frozen=True):
    """``while`` and ``until``."""

    condition: Sequence
    body: Sequence


class For(Struct, frozen=True):
    """``for`` and ``select``; ``words`` is None where the positional parameters are meant."""

    name: str
    words: tuple[Word, ...] | None
    body: Sequence
    select: bool


class ArithFor(Struct, frozen=True):
    """``for ((…))``."""

    header: Word
    body: Sequence


class Case(Struct, frozen=True):
    """``case``."""

    subject: Word
    patterns: tuple[Word, ...]
    branches: tuple[Sequence, ...]


class Function(Struct, frozen=True):
    """A definition; its body runs when it is called."""

    name: str
    body: Command
    start: int
    end: int


class Test(Struct, frozen=True):
    """``[[ … ]]``: only its words matter, and whether an operator takes them for arithmetic or for names."""

    words: tuple[Word, ...]
    computes: bool


class ArithCommand(Struct, frozen=True):
    """``(( … ))``."""

    inner: Word


class Coproc(Struct, frozen=True):
    """``coproc``."""

    name: str
    body: Command


Command = (
    Simple | Pipeline | Sequence | Group | If | Loop | For | ArithFor | Case | Function | Test | ArithCommand | Coproc
)

QuoteMode = Literal["plain", "double", "here"]
EMPTY = Sequence(())


class Unreadable(Exception):  # noqa: N818 -- it is an answer, not an error: the text is opaque from here on
    """The text is not what bash would accept, or more than is read here."""

    def __init__(self, why: str, at: int) -> None:
        super().__init__(why)
        self.why = why
        self.at = at
