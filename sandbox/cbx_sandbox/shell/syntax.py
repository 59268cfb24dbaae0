"""The small syntax tree that the rest of the analysis walks: what bash would do, without what it looks like.

    Word        Text | Param | Subst | Arith | ProcSub, joined
    commands    Simple Pipeline Sequence Group If Loop For ArithFor Case Select Function Test ArithCommand Coproc

Positions are character offsets into the text that was parsed; what was read inside back-ticks carries the position of
the whole back-tick expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Text:
    """Literal characters; unquoted ones may still be braces, tildes and patterns."""

    value: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Param:
    """``$name`` or ``${name op arg}``; ``subscript`` keeps what is evaluated between the brackets."""

    name: str
    operator: str
    argument: Word | None
    subscript: Word | None
    quoted: bool
    open: bool = False  # written without braces, so that a letter after it would belong to the name


@dataclass(frozen=True, slots=True)
class Subst:
    """Command substitution."""

    body: Sequence
    quoted: bool


@dataclass(frozen=True, slots=True)
class Arith:
    """Arithmetic: the parts that are expanded before it is computed, and its plain text."""

    inner: Word
    quoted: bool


@dataclass(frozen=True, slots=True)
class ProcSub:
    """``<(…)`` or, with ``writes``, ``>(…)``."""

    body: Sequence
    writes: bool


Part = Text | Param | Subst | Arith | ProcSub


@dataclass(frozen=True, slots=True)
class Word:
    """One word before expansion."""

    parts: tuple[Part, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Assign:
    """``name=value``; ``elements`` for an array."""

    name: str
    value: Word | None
    elements: tuple[Word, ...] | None
    subscript: Word | None
    append: bool
    start: int
    end: int


@dataclass(slots=True)
class Heredoc:
    """A here-document; its body is met only after the line that names it."""

    delimiter: str
    expands: bool
    strip_tabs: bool
    body: Word | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """One redirection."""

    operator: str
    fd: str
    target: Word
    here: Heredoc | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Simple:
    """Assignments, words and redirections."""

    assigns: tuple[Assign, ...]
    words: tuple[Word | Assign, ...]
    redirects: tuple[Redirect, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands joined by ``|``."""

    commands: tuple[Command, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Sequence:
    """Commands one after the other; each carries the operator that follows it."""

    items: tuple[tuple[Command, str], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """``( … )`` or ``{ …; }``, and any compound command that has redirections."""

    body: Command
    subshell: bool
    redirects: tuple[Redirect, ...]


@dataclass(frozen=True, slots=True)
class If:
    """Every condition and branch, in order."""

    conditions: tuple[Sequence, ...]
    branches: tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """``while`` and ``until``."""

    condition: Sequence
    body: Sequence


@dataclass(frozen=True, slots=True)
class For:
    """``for`` and ``select``; ``words`` is None where the positional parameters are meant."""

    name: str
    words: tuple[Word, ...] | None
    body: Sequence
    select: bool


@dataclass(frozen=True, slots=True)
class ArithFor:
    """``for ((…))``."""

    header: Word
    body: Sequence


@dataclass(frozen=True, slots=True)
class Case:
    """``case``."""

    subject: Word
    patterns: tuple[Word, ...]
    branches: tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A definition; its body runs when it is called."""

    name: str
    body: Command
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Test:
    """``[[ … ]]``: only its words matter, and whether an operator takes them for arithmetic or for names."""

    words: tuple[Word, ...]
    computes: bool


@dataclass(frozen=True, slots=True)
class ArithCommand:
    """``(( … ))``."""

    inner: Word


@dataclass(frozen=True, slots=True)
class Coproc:
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
