"""A position in a shell text, what bounds the work, and what the layers of the reader ask of each other.

``expansions``, ``scan``, ``simple`` and ``parse`` are layers of one reader: each knows those beneath it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbx_sandbox.shell.syntax import Part, QuoteMode, Unreadable

if TYPE_CHECKING:
    from cbx_sandbox.shell.syntax import Sequence

MAX_DEPTH = 30  # nested substitutions and compounds; each costs about ten frames
MAX_WORDS = 3_000  # words read in one text, so that the work is bounded


class Cursor:
    """A position in a text."""

    def __init__(self, text: str, *, depth: int = 0, base: int | None = None, extglob: bool = False) -> None:
        self.text = text
        self.pos = 0
        self.depth = depth
        self.base = base  # where everything is reported to be, for text taken out of back-ticks
        self.extglob = extglob
        self.words = 0
        self.unclosed = 0  # how often (( was tried as arithmetic and had no end
        self.enclosed = 0  # how many $( … ) and <( … ) are open here

    # -- small things -------------------------------------------------------------------------------------------

    def fail(self, why: str, at: int | None = None) -> Unreadable:
        """Make the answer that the text cannot be read."""
        return Unreadable(why, self.at(self.pos if at is None else at))

    def at(self, position: int) -> int:
        """Return where a position is in the whole text."""
        return position if self.base is None else self.base

    def peek(self, length: int = 1) -> str:
        """Return the next characters without moving."""
        return self.text[self.pos : self.pos + length]

    def skip_blanks(self) -> None:
        """Move over blanks and continued lines."""
        text, pos = self.text, self.pos
        while pos < len(text):
            if text[pos] in " \t":
                pos += 1
            elif text.startswith("\\\n", pos):
                pos += 2
            else:
                break
        self.pos = pos

    def enter(self) -> None:
        """Go one level deeper."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail("nested too deeply")

    def count(self) -> None:
        """Count a piece of work."""
        self.words += 1
        if self.words > MAX_WORDS:
            raise self.fail("too long to be read word by word")

    def leave(self) -> None:
        """Come back up."""
        self.depth -= 1

    def commands_until(self, closer: str) -> Sequence:
        """Read commands up to a closing token; ``parse`` supplies it."""
        raise NotImplementedError

    def inner_commands(self, text: str, base: int) -> Sequence:
        """Read commands from text that was taken out of back-ticks; ``parse`` supplies it."""
        raise NotImplementedError

    def double(self, mode: QuoteMode = "double") -> list[Part]:
        """Read up to the closing double quote; ``scan`` supplies it."""
        raise NotImplementedError

    def single(self) -> str:
        """Read ``'…'``; ``scan`` supplies it."""
        raise NotImplementedError

    def backslash(self, parts: list[Part]) -> None:
        """Read a backslash and what it quotes; ``scan`` supplies it."""
        raise NotImplementedError
