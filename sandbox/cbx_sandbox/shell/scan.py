"""Words as bash reads them: quotes, expansions, substitutions. ``parse`` builds commands from them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell.syntax import (
    Arith,
    Param,
    Part,
    ProcSub,
    QuoteMode,
    Subst,
    Text,
    Unreadable,
    Word,
)

if TYPE_CHECKING:
    from cbx_sandbox.shell.syntax import Sequence

MAX_DEPTH = 30  # nested substitutions and compounds; each costs about ten frames
MAX_WORDS = 3_000  # words read in one text, so that the work is bounded

_PLAIN = re.compile(r"[^ \t\n\r;&|<>()$`\"'\\\x00]+")
_DOUBLE = re.compile(r"[^$`\"\\\x00]+")
_HERE = re.compile(r"[^$`\\\x00]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PARAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[*@#?$!-]")
_PARAM_OP = re.compile(r":[-=?+]|[-=?+]|##|#|%%|%|//|/|\^\^|\^|,,|,|@[A-Za-z]|:")
_BRACED = re.compile(r"[^$`\"'\\{}\x00]+")
_ARITH = re.compile(r"[^$`\"'\\()\[\]\x00]+")
_SPECIAL = "*@#?-$!0123456789"
_LITERAL_QUOTE_OPS = frozenset({":-", "-", ":=", "=", ":?", "?", ":+", "+", ":"})
_ESCAPES = {
    "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "?": "?",
}  # fmt: skip
_NUMERIC = re.compile(r"x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{1,4}|U[0-9A-Fa-f]{1,8}|[0-7]{1,3}")


class Scanner:
    """A position in a text and the readers of one word."""

    def __init__(self, text: str, *, depth: int = 0, base: int | None = None, extglob: bool = False) -> None:
        self.text = text
        self.pos = 0
        self.depth = depth
        self.base = base  # where everything is reported to be, for text taken out of back-ticks
        self.extglob = extglob
        self.words = 0

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

    def leave(self) -> None:
        """Come back up."""
        self.depth -= 1

    def commands_until(self, closer: str) -> Sequence:
        """Read commands up to a closing token; ``parse`` supplies it."""
        raise NotImplementedError

    def inner_commands(self, text: str, base: int) -> Sequence:
        """Read commands from text that was taken out of back-ticks; ``parse`` supplies it."""
        raise NotImplementedError

    # -- words --------------------------------------------------------------------------------------------------

    def word(self) -> Word | None:
        """Read one word where it stands, None where none begins."""
        start = self.pos
        parts: list[Part] = []
        self.words += 1
        if self.words > MAX_WORDS:
            raise self.fail("too long to be read word by word")
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
            self._backslash(parts)
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

    def _backslash(self, parts: list[Part]) -> None:
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

    def double(self) -> list[Part]:
        """Read up to the closing double quote; the opening one is behind us."""
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
            self._in_double(char, parts, escapes='$`"\\')

    def _in_double(self, char: str, parts: list[Part], escapes: str) -> None:
        if char == "$":
            parts.append(self.dollar("double"))
        elif char == "`":
            parts.append(self.backticks("double"))
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
            self._in_double(self.peek(), parts, escapes="$`\\")
        return Word(tuple(parts), self.at(0), self.at(len(self.text)))

    # -- what a dollar begins -----------------------------------------------------------------------------------

    def dollar(self, mode: QuoteMode) -> Part:
        """Read an expansion."""
        self.words += 1
        if self.words > MAX_WORDS:
            raise self.fail("too long to be read word by word")
        quoted = mode != "plain"
        following = self.text[self.pos + 1 : self.pos + 2]
        if following == "(":
            return self._paren(quoted=quoted)
        if following == "{":
            return self._braced(quoted=quoted)
        if following == "[":
            self.pos += 2
            return Arith(self.arithmetic("]"), quoted)
        if following == "'" and not quoted:
            self.pos += 1
            return Text(self._ansi(), quoted=True)
        if following == '"' and not quoted:
            self.pos += 2
            parts = self.double()
            if all(isinstance(part, Text) for part in parts):
                return Text("".join(part.value for part in parts if isinstance(part, Text)), quoted=True)
            # A translated string with expansions: its value is the quoted parts, kept together as a default.
            return Param("", "", Word(tuple(parts), self.at(self.pos), self.at(self.pos)), None, quoted=True)
        name = _NAME.match(self.text, self.pos + 1)
        if name:
            self.pos = name.end()
            return Param(name.group(), "", None, None, quoted)
        if following and following in _SPECIAL:
            self.pos += 2
            return Param(following, "", None, None, quoted)
        self.pos += 1
        return Text("$", quoted=True)

    def _paren(self, *, quoted: bool) -> Part:
        start = self.pos
        if self.text.startswith("$((", start):
            words = self.words
            try:
                self.pos = start + 3
                return Arith(self.arithmetic("))"), quoted)
            except Unreadable as failure:
                if failure.why != _NOT_ARITHMETIC:
                    raise
                self.pos, self.words = start, words
        self.pos = start + 2
        self.enter()
        body = self.commands_until(")")
        self.leave()
        return Subst(body, quoted)

    def arithmetic(self, closer: str) -> Word:
        """Read an arithmetic expression and its closer."""
        self.enter()
        start, parts, open_parens = self.pos, list[Part](), 0
        while True:
            run = _ARITH.match(self.text, self.pos)
            if run:
                parts.append(Text(run.group(), quoted=True))
                self.pos = run.end()
            char = self.peek()
            if char in {"", "\x00"}:
                raise self.fail("an arithmetic expression that is not closed", start)
            if open_parens == 0 and self.text.startswith(closer, self.pos):
                word = Word(tuple(parts), self.at(start), self.at(self.pos))
                self.pos += len(closer)
                self.leave()
                return word
            if char in "()[]":
                open_parens = self._count(char, open_parens, closer)
                parts.append(Text(char, quoted=True))
                self.pos += 1
            else:
                self._in_arithmetic(char, parts)

    def _count(self, char: str, opened: int, closer: str) -> int:
        if closer == "]":
            return opened + (char == "[") - (char == "]")
        opened += (char == "(") - (char == ")")
        if opened < 0:
            self.leave()
            raise self.fail(_NOT_ARITHMETIC)
        return opened

    def _in_arithmetic(self, char: str, parts: list[Part]) -> None:
        if char == "$":
            parts.append(self.dollar("double"))
        elif char == "`":
            parts.append(self.backticks("double"))
        elif char == '"':
            self.pos += 1
            parts += self.double()
        elif char == "'":
            parts.append(Text(self.single(), quoted=True))
        else:
            parts.append(Text(self.peek(2), quoted=True))
            self.pos += 2

    def _braced(self, *, quoted: bool) -> Part:
        start = self.pos
        self.enter()
        self.pos += 2
        prefix = ""
        if self.peek() in {"!", "#"} and _PARAM_NAME.match(self.text, self.pos + 1) and self.peek(2) != "#}":
            after = self.text[self.pos + 1 : self.pos + 2]
            if self.peek() == "!" or after not in "-=?+:%/" or self.text[self.pos + 2 : self.pos + 3] == "}":
                prefix = self.peek()
                self.pos += 1
        name = _PARAM_NAME.match(self.text, self.pos)
        if not name:
            raise self.fail("an expansion that bash calls a bad substitution", start)
        self.pos = name.end()
        subscript = None
        if self.peek() == "[":
            self.pos += 1
            subscript = self.arithmetic("]")
        operator = _PARAM_OP.match(self.text, self.pos)
        argument = None
        text_operator = prefix
        if operator:
            text_operator += operator.group()
            self.pos = operator.end()
            argument = self._brace_word(quoted=quoted, operator=operator.group())
        elif prefix == "!" and self.peek() in {"*", "@"}:
            self.pos += 1
        if self.peek() != "}":
            raise self.fail("an expansion that bash calls a bad substitution", start)
        self.pos += 1
        self.leave()
        return Param(name.group(), text_operator, argument, subscript, quoted)

    def _brace_word(self, *, quoted: bool, operator: str) -> Word:
        """Read what stands after the operator, up to the brace that closes."""
        start, parts = self.pos, list[Part]()
        literal_quotes = quoted and operator in _LITERAL_QUOTE_OPS
        while True:
            run = _BRACED.match(self.text, self.pos)
            if run:
                parts.append(Text(run.group(), quoted))
                self.pos = run.end()
            char = self.peek()
            if char in {"", "\x00"}:
                raise self.fail("a brace that is not closed", start)
            if char == "}":
                return Word(tuple(parts), self.at(start), self.at(self.pos))
            if char == "{":
                parts.append(Text(char, quoted))
                self.pos += 1
            elif char == "'" and not literal_quotes:
                parts.append(Text(self.single(), quoted=True))
            elif char == "'":
                parts.append(Text(char, quoted=True))
                self.pos += 1
            elif char == '"':
                self.pos += 1
                parts += self.double()
            elif char == "\\":
                self._backslash(parts)
            elif char == "$":
                parts.append(self.dollar("double" if quoted else "plain"))
            else:
                parts.append(self.backticks("double" if quoted else "plain"))

    def _ansi(self) -> str:
        """Read ``$'…'``; the position is on the quote."""
        start, self.pos, out = self.pos, self.pos + 1, list[str]()
        while True:
            char = self.peek()
            if char in {"", "\x00"}:
                raise self.fail("a quote that is not closed", start)
            self.pos += 1
            if char == "'":
                return "".join(out).split("\x00", 1)[0]
            out.append(self._ansi_escape() if char == "\\" else char)

    def _ansi_escape(self) -> str:
        following = self.peek()
        number = _NUMERIC.match(self.text, self.pos)
        if number:
            self.pos = number.end()
            digits = number.group()
            value = int(digits[1:], 16) if digits[0] in "xuU" else int(digits, 8) & 0xFF
            return chr(value) if value < 0x110000 and not 0xD800 <= value < 0xE000 else "\ufffd"
        if following == "c" and self.pos + 1 < len(self.text):
            self.pos += 2
            return chr(ord(self.text[self.pos - 1]) & 0x1F)
        self.pos += 1
        return _ESCAPES.get(following, "\\" + following)

    def backticks(self, mode: QuoteMode) -> Part:
        """Read a back-tick substitution with a scanner of its own: its inside is unescaped, then read as commands."""
        start = self.pos
        pos, out, text = start + 1, list[str](), self.text
        escapes = '$`\\"' if mode == "double" else "$`\\"
        while True:
            if pos >= len(text):
                raise self.fail("a back-tick that is not closed", start)
            char = text[pos]
            if char == "`":
                break
            if char == "\\" and pos + 1 < len(text) and text[pos + 1] in escapes:
                pos += 1
                char = text[pos]
            out.append(char)
            pos += 1
        self.pos = pos + 1
        self.enter()
        body = self.inner_commands("".join(out), self.at(start))
        self.leave()
        return Subst(body, mode != "plain")

    def process(self, *, writes: bool) -> Part:
        """Read ``<(…)`` or ``>(…)``."""
        self.pos += 2
        self.enter()
        body = self.commands_until(")")
        self.leave()
        return ProcSub(body, writes)


_NOT_ARITHMETIC = "not arithmetic"
