"""What a word contains besides its letters: parameters, substitutions, arithmetic. ``scan`` reads the word itself."""

from __future__ import annotations

from cbx_sandbox.shell.cursor import Cursor
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.syntax import Arith, Param, Part, ProcSub, QuoteMode, Subst, Text, Unreadable, Word

_NAME = expression(r"[A-Za-z_][A-Za-z0-9_]*")
_PARAM_NAME = expression(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[*@#?$!-]")
_PARAM_OP = expression(r":[-=?+]|[-=?+]|##|#|%%|%|//|/|\^\^|\^|,,|,|@[A-Za-z]|:")
_BRACED = expression(r"[^$`\"'\\{}\x00]+")
_ARITH = expression(r"[^$`\"'\\()\[\]\x00]+")
_SPLIT = expression(r"(?:\\\n)+[({\['\"A-Za-z0-9_*@#?$!-]")  # bash joins the lines before it reads them
_SPLIT_NAME = expression(r"(?:\\\n)+[A-Za-z0-9_]")
_SPECIAL = "*@#?-$!0123456789"
_LITERAL_QUOTE_OPS = frozenset({":-", "-", ":=", "=", ":?", "?", ":+", "+", ":"})
_ESCAPES = {
    "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "?": "?",
}  # fmt: skip
_NUMERIC = expression(r"x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{1,4}|U[0-9A-Fa-f]{1,8}|[0-7]{1,3}")


class Expansions(Cursor):
    """The readers of what a dollar or a back-tick begins."""

    def dollar(self, mode: QuoteMode) -> Part:
        """Read an expansion."""
        self.count()
        quoted = mode != "plain"
        following = self.text[self.pos + 1 : self.pos + 2]
        if following == "\\" and _SPLIT.match(self.text, self.pos + 1):
            raise self.fail("an expansion that is split over two lines")
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
            if _SPLIT_NAME.match(self.text, self.pos):
                raise self.fail("a variable's name that is split over two lines")
            return Param(name.group(), "", None, None, quoted, open=True)
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
        self.count()
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
        if opened > MAX_PARENTHESES:
            raise self.fail(TOO_MANY_PARENTHESES)
        return opened

    def _in_arithmetic(self, char: str, parts: list[Part]) -> None:
        if char == "$":
            parts.append(self.dollar("here"))
        elif char == "`":
            parts.append(self.backticks("here"))
        elif char == '"':
            self.pos += 1
            parts += self.double("here")
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
            if self.text.startswith("\\\n", self.pos):
                raise self.fail("an expansion that is split over two lines", start)
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
                parts += self.double("here" if quoted else "double")
            elif char == "\\":
                self.backslash(parts)
            elif char == "$":
                parts.append(self.dollar("here" if quoted else "plain"))
            else:
                parts.append(self.backticks("here" if quoted else "plain"))

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
        self.count()
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
TOO_MANY_PARENTHESES = "an arithmetic expression nested too deeply"
MAX_PARENTHESES = 200  # open at once: a text of nothing else would be read to its end again and again
