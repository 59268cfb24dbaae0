"""What a call in Perl, Ruby or JavaScript does, by tables: a name, and a letter for what happens to each argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbx_sandbox.shell import programs
from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.inner import pieces
from cbx_sandbox.shell.inner.pieces import Kind
from cbx_sandbox.shell.tiers import DANGEROUS, SEQUENTIAL
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.inner.pieces import Call, Language, Value
    from cbx_sandbox.shell.state import Where

_ACCESS = {"w": Access.WRITE, "a": Access.APPEND, "d": Access.DELETE, "c": Access.CREATE, "t": Access.DELETE}


class Effects:
    """The calls of one text, noted one after the other.

    A table maps ``name`` (plain), ``Owner.name`` or ``*.name`` (whatever it is a member of) to what happens: a letter
    an argument (``r`` read, ``w`` write, ``a`` append, ``c`` create, ``d`` delete, ``t`` delete a tree, ``-`` nothing;
    before a ``+`` the last letter counts for all that follow), or one of the words ``shell`` ``program`` ``eval``
    ``kill`` ``connect``.
    """

    def __init__(self, run: Interpreter, where: Where) -> None:
        self.run = run
        self.where = where

    def look(
        self, text: str, language: Language, table: Mapping[str, str], special: Callable[[Effects, Call], bool]
    ) -> list[pieces.Call]:
        """Note what a text does and return its calls; raise Unreadable where it does not come apart."""
        found = pieces.tokens(text, language)
        for token in found:
            if token.kind is Kind.RUN:
                self.shell(token.text)
        called = pieces.calls(found)
        for call in called:
            what = _entry(table, call)
            if not special(self, call) and what is not None:
                self.note(call, what)
        return called

    def note(self, call: Call, what: str) -> None:
        """Note what one call does."""
        match what:
            case "shell":
                self.starts(call.args)
            case "program":
                self.program(call.args)
            case "eval":
                self.run.executes_unknown(f"code that calls {call.name}", self.where)
            case "kill":
                words = [_first(value) for value in call.args]
                self.run.dispatch([Arg(word, *self.where) for word in ["kill", *words]], None, self.where)
            case "connect":
                self.connects(_first(call.args[0]) if call.args else HOLE)
            case _:
                self._paths(call, what)

    def _paths(self, call: Call, letters: str) -> None:
        every = letters.endswith("+")
        letters = letters.rstrip("+")
        for index, letter in enumerate(letters):
            values = call.args[index : None if every and index == len(letters) - 1 else index + 1] or [HOLE]
            for value in values:
                for text in value if isinstance(value, list) else [value]:
                    self.path(letter, text)

    def path(self, letter: str, text: str) -> None:
        """Note what happens to a path."""
        arg = Arg(text, *self.where)
        if letter == "r":
            if text != HOLE:
                self.run.reads(arg, self.where)
        elif letter != "-":
            self.run.writes(arg, self.where, access=_ACCESS[letter], under=letter == "t")
        if letter == "t":
            self.run.record.reason("inline-destroys", "code that deletes trees", DANGEROUS, self.where)

    # -- programs and hosts -------------------------------------------------------------------------------------

    def starts(self, args: list[Value]) -> None:
        """Start a program: one text is for the shell, several are a program and its arguments."""
        self.run.record.reason("inline-code", "code that starts programs", SEQUENTIAL, self.where)
        words = [text for value in args for text in (value if isinstance(value, list) else [value])]
        if not words or words[0].startswith(HOLE):
            self.run.executes_unknown("code that starts programs", self.where)
        elif len(words) == 1 and not isinstance(args[0], list):
            self.shell(words[0])
        else:
            self.run.dispatch([Arg(word, *self.where, many=word == HOLE) for word in words], None, self.where)

    def program(self, args: list[Value]) -> None:
        """Start a program without a shell: its name, then a list; options may ask for a shell after all."""
        if len(args) > 1 and isinstance(args[1], list):
            self.starts([[_first(args[0]), *args[1]]])
        else:
            self.starts(args[:1])

    def shell(self, text: str) -> None:
        """Hand a text to the shell."""
        self.run.record.reason("inline-code", "code that starts programs", SEQUENTIAL, self.where)
        if text.startswith(HOLE):
            self.run.executes_unknown("code that executes text", self.where)
        else:
            self.run.nested(text, self.where)

    def connects(self, text: str) -> None:
        """Note a connection."""
        programs.connect(self.run, Arg(text, *self.where), self.where)


def _first(value: Value) -> str:
    return (value[0] if value else HOLE) if isinstance(value, list) else value


def _entry(table: Mapping[str, str], call: Call) -> str | None:
    return (
        table.get(f"{call.of}.{call.name}" if call.of else call.name)
        or table.get(f"*.{call.name}")
        or (table.get(call.name) if call.of in {"Kernel", "CORE", "globalThis", "window", "self"} else None)
    )
