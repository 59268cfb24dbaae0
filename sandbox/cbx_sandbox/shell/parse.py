"""Shell text to the small syntax tree: a reader of bash's grammar that refuses what it does not know.

Every character is consumed by a rule or the text is unreadable, which callers treat as opaque. Two independent parsers
look over its shoulder in ``witness``.
"""

from __future__ import annotations

import re

from cbx_sandbox.shell.expansions import TOO_MANY_PARENTHESES
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.simple import RESERVED, SimpleReader
from cbx_sandbox.shell.syntax import (
    EMPTY,
    ArithCommand,
    ArithFor,
    Case,
    Command,
    Coproc,
    For,
    Function,
    Group,
    If,
    Loop,
    Param,
    Pipeline,
    Sequence,
    Text,
    Unreadable,
    Word,
)

MAX_UNCLOSED = 3
MAX_TEXT = 1 << 21  # characters; beyond, the text is refused unread

_CLOSING = frozenset("then elif else fi do done esac }".split())
_FUNCTION = expression(r"([^\s;&|<>()$`\"'\\={}\[\]!]+)[ \t]*\([ \t]*\)")
_COPROC_NAME = expression(r"([A-Za-z_][A-Za-z0-9_]*)[ \t]+(?=[{(]|\[\[|(?:if|for|while|until|case|select)\s)")
_KEYWORD = expression(r"(?:\{|\}|!|\[\[|\]\]|[a-z]+)(?=(?:\\\n)*(?:[\s;&|()]|[<>](?!\()|\Z))")
_TIMED_COMPOUND = expression(
    r"time[ \t]+(?:-p[ \t]+)?"
    r"(?:(?:\{|\[\[|if|for|while|until|case|select|function|coproc)(?=\s)"
    r"|\(\(|[^\n;&|()]*=\(|[^\s;&|<>()$`\"'\\]+[ \t]*\()"
)
_EXTGLOB = expression(r"(?m)^[^#\n]*\bshopt\s+-s\s+[^\n]*extglob[^\n]*\n")


class Reader(SimpleReader):
    """Commands."""

    def program(self) -> Sequence:
        """Read the whole text."""
        body = self.sequence()
        if self.pos < len(self.text):
            raise self.fail(f"{self.peek()!r} where a command was expected")
        self._heredocs()
        return body

    def inner_commands(self, text: str, base: int) -> Sequence:
        """Read commands from text that was taken out of back-ticks."""
        inner = Reader(text, depth=self.depth, base=base, extglob=self.extglob)
        inner.words = self.words
        body = inner.program()
        self.words = inner.words
        return body

    def commands_until(self, closer: str) -> Sequence:
        """Read commands up to a closing token and that token."""
        outer, self.pending = self.pending, []
        self.enclosed += 1
        self._no_timed_compound()
        body = self.sequence()
        if self.peek(len(closer)) != closer:
            raise self.fail(f"a {closer} is missing")
        self.pos += len(closer)
        if self.pending:
            raise self.fail("a here-document inside a substitution that does not end there")
        self.pending = outer
        self.enclosed -= 1
        return body

    def _no_timed_compound(self) -> None:
        """Refuse ``$(time {``: bash knows no reserved word and no ``((`` there, unlike anywhere else."""
        self.skip_blanks()
        if _TIMED_COMPOUND.match(self.text, self.pos):
            raise self.fail("a timed compound command at the start of a substitution")

    # -- lists and pipelines ------------------------------------------------------------------------------------

    def _comment(self) -> None:
        self.skip_blanks()
        if self.peek() == "#":
            end = self.text.find("\n", self.pos)
            self.pos = len(self.text) if end < 0 else end

    def sequence(self) -> Sequence:
        """Read commands up to something that cannot begin one."""
        items: list[tuple[Command, str]] = []
        self.newlines()
        while not self._ends():
            command = self.and_or()
            self._comment()
            operator = self.peek()
            if operator in {";", "&"} and self.peek(2) not in {";;", ";&", "&&"}:
                self.pos += 1
            elif operator == "\n":
                operator = ";"
            else:
                items.append((command, ""))
                break
            items.append((command, operator))
            self.newlines()
        self.newlines()
        return Sequence(tuple(items))

    def _ends(self) -> bool:
        return self.peek() in {"", ")"} or self.peek(2) in {";;", ";&"} or self._keyword() in _CLOSING

    def and_or(self) -> Command:
        """Read pipelines joined by ``&&`` and ``||``."""
        items = [(self.pipeline(), "")]
        while True:
            self._comment()
            operator = self.peek(2)
            if operator not in {"&&", "||"}:
                break
            self.pos += 2
            self.newlines()
            items[-1] = (items[-1][0], operator)
            items.append((self.pipeline(), ""))
        return items[0][0] if len(items) == 1 else Sequence(tuple(items))

    def pipeline(self) -> Command:
        """Read commands joined by ``|``."""
        negated = False
        timed = False
        while True:
            self.skip_blanks()
            keyword = self._keyword()
            if keyword == "!":
                self.pos += 1
                negated = True
            elif keyword == "time":
                self.pos += 4
                timed = True
                self.skip_blanks()
                while self.peek(3) in {"-p ", "-p\n"} or self.peek(3) == "-- ":
                    self.pos += 2
                    self.skip_blanks()
            else:
                break
        if timed or negated:
            self._comment()
            if self.peek() in {"", "\n"} or (self.peek() == ";" and self.peek(2) not in {";;", ";&"}):
                return EMPTY
        commands = [self.command()]
        while True:
            self._comment()
            if self.peek() != "|" or self.peek(2) == "||":
                break
            self.pos += 2 if self.peek(2) == "|&" else 1
            self.newlines()
            commands.append(self._piped())
        return commands[0] if len(commands) == 1 and not negated else Pipeline(tuple(commands), negated)

    def _piped(self) -> Command:
        """Read what stands after a bar: ``time`` is a program there, and ``!`` cannot be."""
        keyword = self._keyword()
        if keyword == "!":
            raise self.fail("'!' inside a pipeline")
        return self._simple() if keyword == "time" else self.command()

    def _keyword(self) -> str:
        found = _KEYWORD.match(self.text, self.pos)
        return found.group() if found and found.group() in RESERVED else ""

    # -- compound commands --------------------------------------------------------------------------------------

    def command(self) -> Command:
        """Read one command."""
        self.skip_blanks()
        keyword = self._keyword()
        if keyword and keyword != "in":
            return self._reserved(keyword)
        if self.peek(2) == "((":
            arithmetic = self._double_paren()
            if arithmetic is not None:
                return self._redirected(arithmetic)
        if self.peek() == "(":
            return self._subshell()
        function = _FUNCTION.match(self.text, self.pos)
        if function:
            self.pos = function.end()
            return self._function(function.group(1), function.start())
        return self._simple()

    def _subshell(self) -> Command:
        self.pos += 1
        self.enter()
        body = self._body()
        if self.peek() != ")":
            raise self.fail("a ) is missing")
        self.pos += 1
        self.leave()
        return self._redirected(body, subshell=True)

    def _reserved(self, keyword: str) -> Command:
        readers = {
            "if": self._if, "while": self._loop, "until": self._loop, "for": self._for, "select": self._for,
            "case": self._case, "{": self._brace, "[[": self._test, "function": self._function_word,
            "coproc": self._coproc, "!": self.pipeline, "time": self.pipeline,
        }  # fmt: skip
        reader = readers.get(keyword)
        if reader is None:
            raise self.fail(f"{keyword!r} where a command was expected")
        if reader == self.pipeline:
            return self.pipeline()
        self.enter()
        command = reader()
        self.leave()
        return command if isinstance(command, (Function, Coproc)) else self._redirected(command)

    def _take(self, word: str) -> None:
        self.skip_blanks()
        if self._keyword() != word:
            raise self.fail(f"{word!r} is missing")
        self.pos += len(word)

    def _body(self) -> Sequence:
        body = self.sequence()
        if not body.items:
            raise self.fail("an empty body")
        return body

    def _redirected(self, command: Command, *, subshell: bool = False) -> Command:
        redirects = []
        while True:
            self.skip_blanks()
            redirect = self._redirect()
            if redirect is None:
                break
            redirects.append(redirect)
        return Group(command, subshell, tuple(redirects)) if redirects or subshell else command

    def _if(self) -> Command:
        conditions, branches = [], []
        self._take("if")
        while True:
            conditions.append(self._body())
            self._take("then")
            branches.append(self._body())
            keyword = self._keyword()
            if keyword == "elif":
                self.pos += 4
                continue
            if keyword == "else":
                self.pos += 4
                branches.append(self._body())
            self._take("fi")
            return If(tuple(conditions), tuple(branches))

    def _loop(self) -> Command:
        self.pos += 5  # while, until
        condition = self._body()
        return Loop(condition, self._do())

    def _do(self) -> Sequence:
        self._take("do")
        body = self._body()
        self._take("done")
        return body

    def _brace(self) -> Command:
        self.pos += 1
        body = self._body()
        self._take("}")
        return Group(body, subshell=False, redirects=())

    def _for(self) -> Command:
        select = self._keyword() == "select"
        self.pos += 6 if select else 3
        self.skip_blanks()
        if not select and self.peek(2) == "((":
            self.pos += 2
            header = self.arithmetic("))")
            plain = "".join(part.value for part in header.parts if isinstance(part, Text))
            if plain.count(";") != 2 and not set(plain) & set("'\"\\"):
                raise self.fail("a loop that has not three expressions")
            self._separator()
            return ArithFor(header, self._for_body())
        start = self.pos
        name = self.token()
        if name is None or not all(isinstance(part, (Text, Param)) for part in name.parts):
            raise self.fail("a loop without a name")
        written = self.text[start : self.pos]
        self.skip_blanks()
        if self._keyword() == "{":
            raise self.fail("a loop without words before its brace")
        self.newlines()
        words: list[Word] | None = None
        if self._keyword() == "in":
            self.pos += 2
            words = self._words()
            if self.peek() not in {";", "\n"}:
                raise self.fail("a loop whose words do not end")
        self._separator()
        return For(written, None if words is None else tuple(words), self._for_body(), select)

    def _for_body(self) -> Sequence:
        if self._keyword() == "{":
            self.pos += 1
            body = self._body()
            self._take("}")
            return body
        return self._do()

    def _separator(self) -> None:
        self.skip_blanks()
        if self.peek() == ";":
            self.pos += 1
        self.newlines()

    def _words(self) -> list[Word]:
        words: list[Word] = []
        while True:
            self.skip_blanks()
            word = self.token()
            if word is None:
                self._comment()
                return words
            words.append(word)

    def _case(self) -> Command:
        self._take("case")
        self.skip_blanks()
        subject = self.token()
        if subject is None:
            raise self.fail("a case without a word")
        self.newlines()
        self._take("in")
        patterns: list[Word] = []
        branches: list[Sequence] = []
        self.newlines()
        while self._keyword() != "esac":
            patterns += self._patterns()
            branches.append(self.sequence())
            if self.peek(2) in {";;", ";&"}:
                self.pos += 3 if self.peek(3) == ";;&" else 2
                self.newlines()
            elif self._keyword() != "esac":
                raise self.fail("a case branch that does not end")
        self._take("esac")
        return Case(subject, tuple(patterns), tuple(branches))

    def _patterns(self) -> list[Word]:
        patterns = []
        if self.peek() == "(":
            self.pos += 1
        while True:
            self.skip_blanks()
            pattern = self.token()
            if pattern is None:
                raise self.fail("a case pattern is missing")
            patterns.append(pattern)
            self.skip_blanks()
            self.pos += 1
            closer = self.text[self.pos - 1 : self.pos]
            if closer == ")":
                return patterns
            if closer != "|":
                raise self.fail("a case pattern that does not end")

    def _function_word(self) -> Command:
        start = self.pos
        self._take("function")
        self.skip_blanks()
        name = self.token()
        if name is None or not all(isinstance(part, Text) for part in name.parts):
            raise self.fail("a function without a name")
        self.skip_blanks()
        parens = re.compile(r"\([ \t]*\)").match(self.text, self.pos)
        if parens:
            self.pos = parens.end()
        return self._function("".join(part.value for part in name.parts if isinstance(part, Text)), start)

    def _function(self, name: str, start: int) -> Command:
        self.newlines()
        keyword = self._keyword()
        if self.peek() != "(" and keyword not in {"{", "[[", "if", "for", "while", "until", "case", "select"}:
            raise self.fail("a function without a body")
        self.enter()
        body = self.command()
        self.leave()
        return Function(name, body, self.at(start), self.at(self.pos))

    def _coproc(self) -> Command:
        self._take("coproc")
        self.skip_blanks()
        named = _COPROC_NAME.match(self.text, self.pos)
        if named and named.group(1) not in RESERVED:
            self.pos = named.end()
            return Coproc(named.group(1), self.command())
        return Coproc("COPROC", self.command())

    def _double_paren(self) -> Command | None:
        start, words = self.pos, self.words
        self.pos += 2
        try:
            return ArithCommand(self.arithmetic("))"))
        except Unreadable as failure:
            if failure.why == TOO_MANY_PARENTHESES:  # subshells would be as deep
                raise
            if self.peek() == "":  # it was looked for up to the end of the text: not often
                self.unclosed += 1
                if self.unclosed > MAX_UNCLOSED:
                    raise
            self.pos, self.words = start, words
            return None


def parse(text: str) -> Sequence:
    """Read a shell text; raise ``Unreadable`` where bash would refuse it or where it is more than is read here."""
    if len(text) > MAX_TEXT or "\x00" in text:
        raise Unreadable("the text is too long, or has a NUL character", 0)
    return Reader(text, extglob=_EXTGLOB.search(text) is not None).program()
