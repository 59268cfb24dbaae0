"""Simple commands, redirections, here-documents and ``[[ … ]]``: what stands between words and compound commands."""

from __future__ import annotations

import re

from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.scan import Scanner
from cbx_sandbox.shell.syntax import Assign, Command, Heredoc, Part, Redirect, Simple, Test, Text, Word

_REDIRECT = expression(r"(?:([0-9]+)|\{([A-Za-z_][A-Za-z0-9_]*)\})?(<<<|<<-|<<|<>|<&|<|&>>|&>|>>|>\||>&|>)")
_ASSIGN = expression(r"([A-Za-z_][A-Za-z0-9_]*)(\+?=|\[)")
_DECLARING = frozenset("declare local export readonly typeset alias".split())
_COMPUTES = frozenset("-eq -ne -lt -le -gt -ge -v -R -t".split())  # take arithmetic, or names with subscripts
# What is not closed ends with the text, and is a group.
_QUOTED = expression(
    r"(?:\$'(?:\\.?|[^'\\])*+|'[^']*+|\"(?:\\.?|[^\"\\])*+)(?:['\"]|(\Z))", re.DOTALL
)  # ends at a quote or at all
_ESCAPED = expression(r"(?:^|[^\\])(?:\\\\)*\\[()'\"`;&|<>]")  # which bash reads there as if it were not escaped
_UNARY = expression(r"-[abcdefghknoprstuvwxzGLNORS]$")
_BINARY = frozenset("= == != =~ < > -eq -ne -lt -le -gt -ge -nt -ot -ef".split())


RESERVED = frozenset(
    "if then elif else fi for while until do done case esac select function time coproc in { } ! [[ ]]".split()
)
_BEGINS_REDIRECT = frozenset("<>&{0123456789")


class SimpleReader(Scanner):
    """Commands that contain no others but in their words."""

    def __init__(self, text: str, *, depth: int = 0, base: int | None = None, extglob: bool = False) -> None:
        super().__init__(text, depth=depth, base=base, extglob=extglob)
        self.pending: list[Heredoc] = []
        self.computes = False

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

    # -- [[ … ]] ------------------------------------------------------------------------------------------------

    def _test(self) -> Command:
        self.pos += 2
        words: list[Word] = []
        extglob, self.extglob = self.extglob, True
        computes, self.computes = self.computes, False
        self._test_or(words)
        self.extglob = extglob
        computes, self.computes = self.computes, computes
        self.newlines()
        if self.peek(2) != "]]":
            raise self.fail("a test that does not end")
        self.pos += 2
        return Test(tuple(words), computes)

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
        if _UNARY.match(_plain(first)):
            if self.peek(2) == "]]":
                raise self.fail("a test that lacks a word")
            self.computes = self.computes or _plain(first) in _COMPUTES
            words.append(self._test_word())
            return
        operator = self._test_operator()
        if operator:
            self.computes = self.computes or operator in _COMPUTES
            self.skip_blanks()
            words.append(self._regex() if operator == "=~" else self._test_word())
        elif self.peek() in {"\n", "#"}:
            raise self.fail("a test that ends with its line")

    def _test_word(self) -> Word:
        word = self.token()
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
            word = self.word() if parts else self.token()
            if word:
                parts += word.parts
            char = self.peek()
            if char and (char in "(|)" or (opened and char in "<>&; \t\n")):
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
            if isinstance(assign, Assign):
                if words:
                    words.append(assign)
                else:
                    assigns.append(assign)
                end = self.pos
                continue
            begun = self.pos
            word = assign or self.word()
            if word is None:
                break
            if not words:
                declaring = _plain(word) in _DECLARING
            words.append(word)
            end = self.pos
            if "\\\n" in self.text[begun:end]:
                self._joined(word, first=len(words) == 1)
        if not (assigns or words or redirects):
            raise self.fail(f"{self.peek()!r} where a command was expected" if self.peek() else "a command is missing")
        if self.peek() == "(":
            raise self.fail("a parenthesis where none can be")
        return Simple(tuple(assigns), tuple(words), tuple(redirects), self.at(start), self.at(end))

    def _joined(self, word: Word, *, first: bool) -> None:
        """Refuse what is something else than a word once its lines are joined."""
        text = "".join(part.value for part in word.parts if isinstance(part, Text) and not part.quoted)
        number = self.peek() in {"<", ">"} and re.fullmatch(r"\d+|\{\w+\}", text)
        if number or (first and (text in RESERVED or _ASSIGN.match(text))):
            raise self.fail("a word that is split over two lines")

    def _assign(self) -> Assign | Word | None:
        """Read an assignment; a word where it only began like one."""
        found = _ASSIGN.match(self.text, self.pos)
        if not found:
            return None
        start = self.pos
        self.pos = found.end()
        subscript = None
        append = found.group(2) == "+="
        if found.group(2) == "[":
            subscript = self.arithmetic("]")
            equals = self.peek(2)
            if not (equals.startswith("=") or equals == "+="):
                # To bash it is one word all the same, blanks between the brackets included.
                rest = self.word()
                parts = (Text(found.group(), quoted=False), *subscript.parts, Text("]", quoted=False))
                return Word((*parts, *(rest.parts if rest else ())), self.at(start), self.at(self.pos))
            append = equals == "+="
            self.pos += 2 if append else 1
        elements = None
        value = None
        if self.peek() == "(":
            elements = self._array()
        else:
            value = self.word()
        return Assign(found.group(1), value, elements, subscript, append, self.at(start), self.at(self.pos))

    def _array(self) -> tuple[Word, ...]:
        start = self.pos
        self.pos += 1
        elements: list[Word] = []
        outer, self.pending = self.pending, []  # a line that ends in here is not the one that names them
        while True:
            self.newlines()
            if self.peek() == ")":
                self.pos += 1
                self.pending = outer
                bare = _QUOTED.sub(lambda quoted: quoted[0] if quoted.lastindex else "", self.text[start : self.pos])
                if self.enclosed and _ESCAPED.search(bare):
                    raise self.fail("an escaped operator in an array in a substitution", start)
                if outer and "\n" in bare:
                    raise self.fail("an array over two lines, the first of which names a here-document", start)
                if self.peek() == "(" or _ASSIGN.match(self.text, self.pos):
                    raise self.fail("an array that does not end where it is closed", start)
                return tuple(elements)
            begun = self.pos
            word = self.token()
            if word is None:
                raise self.fail("an array that does not end")
            if self.text[begun] == "[" and "]" not in self.text[begun : self.pos]:
                raise self.fail("a subscript that is not closed", begun)
            elements.append(word)

    # -- redirections -------------------------------------------------------------------------------------------

    def _redirect(self) -> Redirect | None:
        if self.peek() not in _BEGINS_REDIRECT:
            return None
        found = _REDIRECT.match(self.text, self.pos)
        if not found or (found.group(3) in {"<", ">"} and self.text.startswith("(", found.end())):
            return None
        start = self.pos
        fd, operator = found.group(1) or found.group(2) or "", found.group(3)
        if fd and operator.startswith("&"):
            return None
        self.pos = found.end()
        self.skip_blanks()
        target = self.token()
        if target is None:
            raise self.fail("a redirection without a target")
        if operator in {"<<", "<<-"}:
            return self._heredoc(operator, fd, target, start)
        return Redirect(operator, fd, target, None, self.at(start), self.at(self.pos))

    def _heredoc(self, operator: str, fd: str, target: Word, start: int) -> Redirect:
        parts = [part for part in target.parts if isinstance(part, Text)]
        delimiter, expands = "".join(part.value for part in parts), not any(part.quoted for part in parts)
        if len(parts) < len(target.parts):  # expansions are not expanded here: the end is as it is written
            delimiter, expands = self.text[target.start : target.end], True
            if self.base is not None or set(delimiter) & set("'\"\\\n"):
                raise self.fail("a here-document whose end is computed")
        heredoc = Heredoc(delimiter, expands, strip_tabs=operator == "<<-")
        self.pending.append(heredoc)
        return Redirect(operator, fd, target, heredoc, self.at(start), self.at(self.pos))

    def _heredocs(self) -> None:
        pending, self.pending = self.pending, []
        for heredoc in pending:
            heredoc.body = self._heredoc_body(heredoc)

    def _heredoc_body(self, heredoc: Heredoc) -> Word:
        start = self.pos
        lines: list[str] = []
        while self.pos < len(self.text):
            begun = self.pos
            line = self._heredoc_line(joins=heredoc.expands)
            if heredoc.strip_tabs:
                line = line.lstrip("\t")
            # Lines that backslashes join are one line to bash, here too: it can be the delimiter.
            if line.replace("\\\n", "") == heredoc.delimiter:
                break
            if self.enclosed and line.startswith(heredoc.delimiter) and ")" in line[len(heredoc.delimiter) :]:
                # Inside $( … ) the delimiter needs no line of its own if the substitution may end on its line.
                self.pos = self.text.index(heredoc.delimiter, begun) + len(heredoc.delimiter)
                break
            lines.append(line + "\n")
        text = "".join(lines)
        if not heredoc.expands:
            return Word((Text(text, quoted=True),), self.at(start), self.at(self.pos))
        inner = type(self)(text, depth=self.depth, base=self.at(start), extglob=self.extglob)
        inner.words = self.words
        body = inner.here_text()
        self.words = inner.words
        return Word(body.parts, self.at(start), self.at(self.pos))

    def _heredoc_line(self, *, joins: bool) -> str:
        """Read a line, and with ``joins`` those that a backslash at its end adds to it."""
        start = self.pos
        while True:
            end = self.text.find("\n", self.pos)
            end = len(self.text) if end < 0 else end
            line = self.text[self.pos : end]
            self.pos = min(end + 1, len(self.text))
            if not (joins and _continues(line) and self.pos < len(self.text)):
                return self.text[start:end]


def _continues(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _plain(word: Word) -> str:
    """Return a word that is written without quotes or expansions, else the empty string."""
    if len(word.parts) == 1 and isinstance(word.parts[0], Text) and not word.parts[0].quoted:
        return word.parts[0].value
    return ""
