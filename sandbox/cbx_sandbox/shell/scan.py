"""Words as bash reads them: quotes and plain text. ``parse`` builds commands from them."""

from __future__ import annotations

from cbx_sandbox.shell.expansions import Expansions
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.syntax import Part, QuoteMode, Text, Word

_PLAIN = expression(r"[^ \t\n\r;&|<>()$`\"'\\\x00]+")
_DOUBLE = expression(r"[^$`\"\\\x00]+")
_HERE = expression(r"[^$`\\\x00]+")


class Scanner(Expansions):
    """The readers of one word."""

    def token(self) -> Word | None:
        """Read one word where a token begins, so that a number sign begins a comment."""
        return None if self.peek() == "#" else self.word()

    def word(self) -> Word | None:
        """Read one word where it stands, None where none begins."""
        start = self.pos
        parts: list[Part] = []
        self.count()
        text = self.text
        while self.pos < len(text):
            char = text[self.pos]
            run = _PLAIN.match(text, self.pos)
            if run:
                parts.append(Text(run.group(), quoted=False))
                self.pos = run.end()
            elif not self._special(char, parts):
                break
        if self.pos == start:
            return None
        return Word(tuple(parts), self.at(start), self.at(self.pos))

    def _special(self, char: str, parts: list[Part]) -> bool:
        """Read what a character that is not plain begins; False where it ends the word."""
        if char == "\\":
            self.backslash(parts)
        elif char == "'":
            parts.append(Text(self.single(), quoted=True))
        elif char == '"':
            self.pos += 1
            parts += self.double()
        elif char == "$":
            parts.append(self.dollar("plain"))
        elif char == "`":
            parts.append(self.backticks("plain"))
        elif char in "<>" and self.text.startswith("(", self.pos + 1):
            parts.append(self.process(writes=char == ">"))
        elif char == "(" and self._extglob_begins(parts):
            self._extglob(parts)
        elif char in "\r\x00":
            raise self.fail("a control character that bash reads differently from what is shown")
        else:
            return False
        return True

    def _extglob_begins(self, parts: list[Part]) -> bool:
        last = parts[-1] if parts else None
        return self.extglob and isinstance(last, Text) and not last.quoted and last.value[-1:] in tuple("?*+@!")

    def _extglob(self, parts: list[Part]) -> None:
        self.enter()
        self.pos += 1
        parts.append(Text("(", quoted=False))
        while self.peek() != ")":
            before = self.pos
            inner = self.word()
            if inner:
                parts.extend(inner.parts)
            if self.peek() in {"|", " ", "\t"}:
                parts.append(Text(self.peek(), quoted=False))
                self.pos += 1
            elif self.pos == before:
                raise self.fail("a pattern that does not end")
        self.pos += 1
        parts.append(Text(")", quoted=False))
        self.leave()

    def backslash(self, parts: list[Part]) -> None:
        """Read a backslash and what it quotes."""
        self.count()
        following = self.text[self.pos + 1 : self.pos + 2]
        self.pos += 2
        if following == "":
            self.pos -= 1
            parts.append(Text("\\", quoted=True))
        elif following == "\x00":
            raise self.fail("a NUL character")
        elif following != "\n":
            parts.append(Text(following, quoted=True))

    def single(self) -> str:
        """Read ``'…'``."""
        end = self.text.find("'", self.pos + 1)
        if end < 0:
            raise self.fail("a single quote that is not closed")
        value = self.text[self.pos + 1 : end]
        if "\x00" in value:
            raise self.fail("a NUL character")
        self.pos = end + 1
        return value

    def double(self, mode: QuoteMode = "double") -> list[Part]:
        """Read up to the closing double quote; the opening one is behind us.

        Back-ticks lose backslashes before quotes only where nothing but the quotes stands around them.
        """
        parts: list[Part] = [Text("", quoted=True)]
        while True:
            run = _DOUBLE.match(self.text, self.pos)
            if run:
                parts.append(Text(run.group(), quoted=True))
                self.pos = run.end()
            char = self.peek()
            if char == '"':
                self.pos += 1
                return parts
            if char in {"", "\x00"}:
                raise self.fail("a double quote that is not closed")
            self._in_double(char, parts, '$`"\\', mode)

    def _in_double(self, char: str, parts: list[Part], escapes: str, mode: QuoteMode) -> None:
        if char == "$":
            parts.append(self.dollar(mode))
        elif char == "`":
            parts.append(self.backticks(mode))
        else:  # a backslash
            following = self.text[self.pos + 1 : self.pos + 2]
            self.pos += 2
            if following == "\n":
                return
            if following == "" or following not in escapes:
                self.pos -= 1 if following else 0
                parts.append(Text("\\", quoted=True))
                self.pos = min(self.pos, len(self.text))
                return
            parts.append(Text(following, quoted=True))

    def here_text(self) -> Word:
        """Read the whole text as the body of a here-document whose delimiter was not quoted."""
        parts: list[Part] = []
        while self.pos < len(self.text):
            run = _HERE.match(self.text, self.pos)
            if run:
                parts.append(Text(run.group(), quoted=True))
                self.pos = run.end()
                continue
            if self.peek() == "\x00":
                raise self.fail("a NUL character")
            self._in_double(self.peek(), parts, "$`\\", "here")
        return Word(tuple(parts), self.at(0), self.at(len(self.text)))
