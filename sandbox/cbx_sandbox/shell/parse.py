"""Shell text to the small syntax tree: a reader of bash's grammar that refuses what it does not know.

Every character is consumed by a rule or the text is unreadable, which callers treat as opaque. Two independent parsers
look over its shoulder in ``witness``.
"""

from __future__ import annotations

import re

from cbx_sandbox.shell.scan import Scanner
from cbx_sandbox.shell.syntax import (
    EMPTY,
    ArithCommand,
    ArithFor,
    Assign,
    Case,
    Command,
    Coproc,
    For,
    Function,
    Group,
    Heredoc,
    If,
    Loop,
    Part,
    Pipeline,
    Redirect,
    Sequence,
    Simple,
    Test,
    Text,
    Unreadable,
    Word,
)

MAX_TEXT = 1 << 21  # characters; beyond, the text is refused unread

_RESERVED = frozenset(
    "if then elif else fi for while until do done case esac select function time coproc in { } ! [[ ]]".split()
)
_CLOSING = frozenset("then elif else fi do done esac }".split())
_REDIRECT = re.compile(r"(?:([0-9]+)|\{([A-Za-z_][A-Za-z0-9_]*)\})?(<<<|<<-|<<|<>|<&|<|&>>|&>|>>|>\||>&|>)")
_ASSIGN = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?=|\[)")
_FUNCTION = re.compile(r"([^\s;&|<>()$`\"'\\={}\[\]!]+)[ \t]*\([ \t]*\)")
_COPROC_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)[ \t]+(?=[{(]|\[\[|(?:if|for|while|until|case|select)\s)")
_DECLARING = frozenset("declare local export readonly typeset alias".split())
_KEYWORD = re.compile(r"(?:\{|\}|!|\[\[|[a-z]+)(?=[\s;&|()<>]|\\\n|$)")
_EXTGLOB = re.compile(r"(?m)^[^#\n]*\bshopt\s+-s\s+[^\n]*extglob[^\n]*\n")
_UNARY = re.compile(r"-[a-zA-Z]$")
_BINARY = frozenset("= == != =~ < > -eq -ne -lt -le -gt -ge -nt -ot -ef".split())


class Reader(Scanner):
    """Commands."""

    def __init__(self, text: str, *, depth: int = 0, base: int | None = None, extglob: bool = False) -> None:
        super().__init__(text, depth=depth, base=base, extglob=extglob)
        self.pending: list[Heredoc] = []

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
        body = self.sequence()
        if self.peek(len(closer)) != closer:
            raise self.fail(f"a {closer} is missing")
        self.pos += len(closer)
        if self.pending:
            raise self.fail("a here-document inside a substitution that does not end there")
        self.pending = outer
        return body

    # -- lists and pipelines ------------------------------------------------------------------------------------

    def newlines(self) -> None:
        """Skip blanks, comments and newlines; the bodies of here-documents begin after a newline."""
        while True:
            self.skip_blanks()
            char = self.peek()
            if char == "#":
                end = self.text.find("\n", self.pos)
                self.pos = len(self.text) if end < 0 else end
            elif char == "\n":
                self.pos += 1
                self._heredocs()
            else:
                return

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
        if (timed or negated) and (self._ends() or self.peek() in "\n;&|"):
            return EMPTY
        commands = [self.command()]
        while True:
            self._comment()
            if self.peek() != "|" or self.peek(2) == "||":
                break
            self.pos += 2 if self.peek(2) == "|&" else 1
            self.newlines()
            commands.append(self.command())
        return commands[0] if len(commands) == 1 and not negated else Pipeline(tuple(commands), negated)

    def _keyword(self) -> str:
        found = _KEYWORD.match(self.text, self.pos)
        return found.group() if found and found.group() in _RESERVED else ""

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
            self._separator()
            return ArithFor(header, self._for_body())
        name = self.word()
        if name is None or len(name.parts) != 1 or not isinstance(name.parts[0], Text):
            raise self.fail("a loop without a name")
        self.newlines()
        words: list[Word] | None = None
        if self._keyword() == "in":
            self.pos += 2
            words = self._words()
            if self.peek() not in {";", "\n"}:
                raise self.fail("a loop whose words do not end")
        self._separator()
        return For(name.parts[0].value, None if words is None else tuple(words), self._for_body(), select)

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
            word = None if self.peek() == "#" else self.word()
            if word is None:
                self._comment()
                return words
            words.append(word)

    def _case(self) -> Command:
        self._take("case")
        self.skip_blanks()
        subject = self.word()
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
            pattern = self.word()
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
        name = self.word()
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
        if named and named.group(1) not in _RESERVED:
            self.pos = named.end()
            return Coproc(named.group(1), self.command())
        return Coproc("COPROC", self.command())

    def _double_paren(self) -> Command | None:
        start, words = self.pos, self.words
        self.pos += 2
        try:
            return ArithCommand(self.arithmetic("))"))
        except Unreadable:
            self.pos, self.words = start, words
            return None

    # -- [[ … ]] ------------------------------------------------------------------------------------------------

    def _test(self) -> Command:
        self._take("[[")
        words: list[Word] = []
        extglob, self.extglob = self.extglob, True
        self._test_or(words)
        self.extglob = extglob
        self.newlines()
        if self.peek(2) != "]]":
            raise self.fail("a test that does not end")
        self.pos += 2
        return Test(tuple(words))

    def _test_or(self, words: list[Word]) -> None:
        while True:
            self._test_term(words)
            self.newlines()
            if self.peek(2) not in {"&&", "||"}:
                return
            self.pos += 2

    def _test_term(self, words: list[Word]) -> None:
        self.newlines()
        while self.peek() == "!" and self.peek(2)[1:] in {" ", "\t", "("}:
            self.pos += 1
            self.newlines()
        if self.peek() == "(":
            self.pos += 1
            self.enter()
            self._test_or(words)
            self.leave()
            self.newlines()
            if self.peek() != ")":
                raise self.fail("a test whose parenthesis is not closed")
            self.pos += 1
            return
        if self.peek(2) == "]]":
            raise self.fail("an empty test")
        first = self._test_word()
        words.append(first)
        self.skip_blanks()
        operator = self._test_operator()
        if operator:
            self.skip_blanks()
            words.append(self._regex() if operator == "=~" else self._test_word())
        elif _UNARY.match(_plain(first)) and self.peek(2) not in {"]]", "&&", "||"} and self.peek() != ")":
            words.append(self._test_word())

    def _test_word(self) -> Word:
        word = self.word()
        if word is None:
            raise self.fail("a test that lacks a word")
        return word

    def _test_operator(self) -> str:
        char = self.peek()
        if char in {"<", ">"} and self.peek(2)[1:] != "(":
            self.pos += 1
            return char
        start, words = self.pos, self.words
        word = self.word()
        if word is not None and _plain(word) in _BINARY:
            return _plain(word)
        self.pos, self.words = start, words
        return ""

    def _regex(self) -> Word:
        """Read a regular expression: parentheses and bars belong to it, blanks inside parentheses too."""
        start, parts, opened = self.pos, list[Part](), 0
        while True:
            word = self.word()
            if word:
                parts += word.parts
            char = self.peek()
            if char and (char in "(|<>&;)" or (opened and char in " \t\n")):
                if char == ")" and opened == 0:
                    break
                opened += (char == "(") - (char == ")")
                parts.append(Text(char, quoted=True))
                self.pos += 1
            else:
                break
        if not parts or opened:
            raise self.fail("a regular expression that does not end")
        return Word(tuple(parts), self.at(start), self.at(self.pos))

    # -- simple commands ----------------------------------------------------------------------------------------

    def _simple(self) -> Command:
        start = self.pos
        assigns: list[Assign] = []
        words: list[Word | Assign] = []
        redirects: list[Redirect] = []
        end = start
        declaring = False
        while True:
            self.skip_blanks()
            if self.peek() == "#":
                break
            redirect = self._redirect()
            if redirect is not None:
                redirects.append(redirect)
                end = self.pos
                continue
            assign = self._assign() if not words or declaring else None
            if assign is not None:
                if words:
                    words.append(assign)
                else:
                    assigns.append(assign)
                end = self.pos
                continue
            word = self.word()
            if word is None:
                break
            if not words:
                declaring = _plain(word) in _DECLARING
            words.append(word)
            end = self.pos
        if not (assigns or words or redirects):
            raise self.fail(f"{self.peek()!r} where a command was expected" if self.peek() else "a command is missing")
        if self.peek() == "(":
            raise self.fail("a parenthesis where none can be")
        return Simple(tuple(assigns), tuple(words), tuple(redirects), self.at(start), self.at(end))

    def _assign(self) -> Assign | None:
        found = _ASSIGN.match(self.text, self.pos)
        if not found:
            return None
        start, words = self.pos, self.words
        self.pos = found.end()
        subscript = None
        append = found.group(2) == "+="
        if found.group(2) == "[":
            try:
                subscript = self.arithmetic("]")
            except Unreadable:
                subscript = None
            equals = self.peek(2)
            if subscript is None or not (equals.startswith("=") or equals == "+="):
                self.pos, self.words = start, words
                return None
            append = equals == "+="
            self.pos += 2 if append else 1
        elements = None
        value = None
        if self.peek() == "(" and subscript is None:
            elements = self._array()
        else:
            value = self.word()
        return Assign(found.group(1), value, elements, subscript, append, self.at(start), self.at(self.pos))

    def _array(self) -> tuple[Word, ...]:
        self.pos += 1
        elements: list[Word] = []
        while True:
            self.newlines()
            if self.peek() == ")":
                self.pos += 1
                return tuple(elements)
            word = self.word()
            if word is None:
                raise self.fail("an array that does not end")
            elements.append(word)

    # -- redirections -------------------------------------------------------------------------------------------

    def _redirect(self) -> Redirect | None:
        found = _REDIRECT.match(self.text, self.pos)
        if not found or (found.group(3) in {"<", ">"} and self.text.startswith("(", found.end())):
            return None
        start = self.pos
        fd, operator = found.group(1) or found.group(2) or "", found.group(3)
        if fd and operator.startswith("&"):
            return None
        self.pos = found.end()
        self.skip_blanks()
        target = self.word()
        if target is None:
            raise self.fail("a redirection without a target")
        if operator in {"<<", "<<-"}:
            return self._heredoc(operator, fd, target, start)
        return Redirect(operator, fd, target, None, self.at(start), self.at(self.pos))

    def _heredoc(self, operator: str, fd: str, target: Word, start: int) -> Redirect:
        if not all(isinstance(part, Text) for part in target.parts):
            raise self.fail("a here-document whose end is computed")
        parts = [part for part in target.parts if isinstance(part, Text)]
        heredoc = Heredoc(
            delimiter="".join(part.value for part in parts),
            expands=not any(part.quoted for part in parts),
            strip_tabs=operator == "<<-",
        )
        self.pending.append(heredoc)
        return Redirect(operator, fd, target, heredoc, self.at(start), self.at(self.pos))

    def _heredocs(self) -> None:
        pending, self.pending = self.pending, []
        for heredoc in pending:
            heredoc.body = self._heredoc_body(heredoc)

    def _heredoc_body(self, heredoc: Heredoc) -> Word:
        start = self.pos
        lines: list[str] = []
        continued = False
        while self.pos < len(self.text):
            end = self.text.find("\n", self.pos)
            end = len(self.text) if end < 0 else end
            line = self.text[self.pos : end]
            self.pos = min(end + 1, len(self.text))
            if heredoc.strip_tabs and not continued:
                line = line.lstrip("\t")
            if line == heredoc.delimiter and not continued:
                break
            continued = heredoc.expands and _continues(line)
            lines.append(line + "\n")
        text = "".join(lines)
        if not heredoc.expands:
            return Word((Text(text, quoted=True),), self.at(start), self.at(self.pos))
        inner = Reader(text, depth=self.depth, base=self.at(start), extglob=self.extglob)
        inner.words = self.words
        body = inner.here_text()
        self.words = inner.words
        return body


def _continues(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _plain(word: Word) -> str:
    """Return a word that is written without quotes or expansions, else the empty string."""
    if len(word.parts) == 1 and isinstance(word.parts[0], Text) and not word.parts[0].quoted:
        return word.parts[0].value
    return ""


def parse(text: str) -> Sequence:
    """Read a shell text; raise ``Unreadable`` where bash would refuse it or where it is more than is read here."""
    if len(text) > MAX_TEXT or "\x00" in text:
        raise Unreadable("the text is too long, or has a NUL character", 0)
    return Reader(text, extglob=_EXTGLOB.search(text) is not None).program()
