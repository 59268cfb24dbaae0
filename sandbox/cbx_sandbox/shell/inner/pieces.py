"""Strings, comments and calls of a text in Perl, Ruby or JavaScript: as much of their grammar as that takes.

A string that is put together keeps the part that is known; what stands in its place is a HOLE.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from msgspec import Struct, field

from cbx_sandbox.shell.words import HOLE

MAX_TEXT = 64_000
MAX_DEPTH = 8  # code within strings within code

_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "e": "\x1b"}
_BEFORE_REGEX = frozenset("( , = : [ ! & | ? { } ; + - * % < > ~ ^".split()) | {"\n"}
_WORDS_BEFORE_REGEX = frozenset(
    "return if unless while until and or not split grep map x case when typeof in of".split()
)


class Kind(Enum):
    """What a token is."""

    NAME = auto()
    VARIABLE = auto()
    STRING = auto()
    RUN = auto()  # a text for the shell, in back-ticks or the like
    REGEX = auto()
    NUMBER = auto()
    MARK = auto()  # an operator, a bracket, the end of a line


class Token(Struct, frozen=True):
    """A piece of code."""

    kind: Kind
    text: str


class Language(Struct, frozen=True):
    """What tells the languages' pieces apart."""

    comment: str  # how a comment to the end of the line begins
    blocks: bool = False  # /* … */
    runs: str = ""  # the quote whose text the shell executes
    templates: str = ""  # the quote whose text may span lines and hold ${…}
    inside: str = ""  # how code in a string begins: "${" or "#{"
    sigils: str = ""  # what variables begin with; they are replaced in strings
    quoting: dict[str, Kind] = field(default_factory=dict)  # q, qq, qx: what follows is quoted by any character
    percent: bool = False  # Ruby's %q(…), %x(…)
    names: str = r"[A-Za-z_]\w*"


class Unreadable(Exception):  # noqa: N818 -- an answer, not a mistake
    """Code that does not come apart."""


def tokens(text: str, language: Language, depth: int = 0) -> list[Token]:
    """Take a text apart; raise Unreadable where something does not end."""
    if len(text) > MAX_TEXT or depth > MAX_DEPTH:
        raise Unreadable
    return _Scan(text, language, depth).run()


class _Scan:
    def __init__(self, text: str, language: Language, depth: int) -> None:
        self.text = text
        self.language = language
        self.depth = depth
        self.pos = 0
        self.out: list[Token] = []
        self.name = re.compile(language.names)

    def run(self) -> list[Token]:
        while self.pos < len(self.text):
            self._one()
        return self.out

    def _add(self, kind: Kind, text: str) -> None:
        self.out.append(Token(kind, text))

    def _one(self) -> None:
        text, char, language = self.text, self.text[self.pos], self.language
        if char == "\n" or char.isspace():
            if char == "\n":
                self._add(Kind.MARK, "\n")
            self.pos += 1
        elif text.startswith(language.comment, self.pos) and not self._variable_before():
            end = text.find("\n", self.pos)
            self.pos = len(text) if end < 0 else end
        elif language.blocks and text.startswith("/*", self.pos):
            end = text.find("*/", self.pos)
            if end < 0:
                raise Unreadable
            self.pos = end + 2
        elif char in "\"'`":
            self._quoted(char)
        elif char.isdigit():
            found = re.compile(r"[\w.]+").match(text, self.pos)
            self._take(Kind.NUMBER, found.group() if found else char)
        elif language.sigils and char in language.sigils and self._is_variable():
            found = re.compile(r"[$@%&]+(?:\w+(?:::\w+)*|[^\w\s])").match(text, self.pos)
            self._take(Kind.VARIABLE, found.group() if found else char)
        elif self.name.match(text, self.pos):
            self._word()
        elif char == "/" and self._begins_value():
            self._regex()
        elif char == "%" and language.percent and self._percent():
            pass
        else:
            self._take(Kind.MARK, char)

    def _take(self, kind: Kind, text: str) -> None:
        self._add(kind, text)
        self.pos += len(text)

    def _variable_before(self) -> bool:
        """Whether a # belongs to $#array."""
        return self.pos > 0 and self.text[self.pos - 1] == "$" and bool(self.language.sigils)

    def _is_variable(self) -> bool:
        if self.text[self.pos] in "%&":
            return not self._ends_value() and re.match(r"[%&]\w", self.text[self.pos : self.pos + 2]) is not None
        return self.pos + 1 < len(self.text)

    def _ends_value(self) -> bool:
        last = self.out[-1] if self.out else None
        if last is None or last.kind is Kind.MARK:
            return last is not None and last.text in {")", "]", "}"}
        return not (last.kind is Kind.NAME and last.text in _WORDS_BEFORE_REGEX)

    def _begins_value(self) -> bool:
        last = self.out[-1] if self.out else None
        if last is None:
            return True
        if last.kind is Kind.NAME:
            return last.text in _WORDS_BEFORE_REGEX
        return last.kind is Kind.MARK and last.text in _BEFORE_REGEX

    # -- words --------------------------------------------------------------------------------------------------

    def _word(self) -> None:
        found = self.name.match(self.text, self.pos)
        word = found.group() if found else ""
        after = self.pos + len(word)
        kind = self.language.quoting.get(word)
        last = self.out[-1] if self.out else None
        if kind is None or (last is not None and last.text in {">", ".", "{", "&"} and word != "qx"):
            self._take(Kind.NAME, word)
            return
        opener = re.compile(r"\s*([^\w\s,;=)]|=(?![>=~]))").match(self.text, after)
        if opener is None or self.text.startswith("=>", after):
            self._take(Kind.NAME, word)
            return
        self.pos = opener.end() - 1
        raw = self._delimited()
        if word in {"s", "tr", "y"}:
            self._replacement(word, raw)
        elif kind is Kind.REGEX:
            self._flags()
            self._add(Kind.REGEX, raw)
        else:
            self._string(kind, raw, plain=word == "q")

    def _replacement(self, word: str, pattern: str) -> None:
        """Read what follows the pattern of s/…/…/: with the flag e it is code."""
        if pattern and self.text[self.pos - 1] in _PAIRS.values():
            skip = re.compile(r"\s*").match(self.text, self.pos)
            self.pos = skip.end() if skip else self.pos
        else:
            self.pos -= 1
        raw = self._delimited()
        flags = self._flags()
        self._add(Kind.REGEX, pattern)
        if word == "s" and "e" in flags:
            self.out += tokens(raw, self.language, self.depth + 1)
            if flags.count("e") > 1:
                self._add(Kind.NAME, "eval")
        elif word == "s":
            self._string(Kind.STRING, raw, plain=False)

    def _flags(self) -> str:
        found = re.compile(r"[a-z]*").match(self.text, self.pos)
        flags = found.group() if found else ""
        self.pos += len(flags)
        return flags

    def _regex(self) -> None:
        raw = self._delimited()
        self._flags()
        self._add(Kind.REGEX, raw)
        if self.language.inside:
            self._code_in(raw)
        if "(?{" in raw or "(??{" in raw:
            self._add(Kind.NAME, "eval")

    def _percent(self) -> bool:
        found = re.compile(r"%([qQwWixIrs]?)([^\w\s])").match(self.text, self.pos)
        if found is None or (not found.group(1) and self._ends_value()):
            return False
        self.pos = found.end() - 1
        raw = self._delimited()
        kind = {"x": Kind.RUN, "r": Kind.REGEX}.get(found.group(1), Kind.STRING)
        self._string(kind, raw, plain=found.group(1) in {"q", "w", "i"})
        return True

    # -- strings ------------------------------------------------------------------------------------------------

    def _delimited(self) -> str:
        """Read from a delimiter to the one that ends it."""
        if self.pos >= len(self.text):
            raise Unreadable  # `s{a}` without its second part
        opener = self.text[self.pos]
        closer = _PAIRS.get(opener, opener)
        start, depth, self.pos = self.pos + 1, 1, self.pos + 1
        while self.pos < len(self.text):
            char = self.text[self.pos]
            if char == "\\":
                self.pos += 2
                continue
            if char == closer and opener == closer:
                depth = 0
            elif char in {opener, closer}:
                depth += 1 if char == opener else -1
            self.pos += 1
            if depth == 0:
                return self.text[start : self.pos - 1]
        raise Unreadable

    def _quoted(self, quote: str) -> None:
        if quote == self.language.templates:
            self._template()
            return
        raw = self._delimited()
        kind = Kind.RUN if quote == self.language.runs else Kind.STRING
        self._string(kind, raw, plain=quote == "'" or self.language.inside == "${")

    def _template(self) -> None:
        """Read a template: it ends at the next back-tick that is in no ${…}."""
        start, position, depth = self.pos + 1, self.pos + 1, 0
        while position < len(self.text):
            if self.text[position] == "\\":
                position += 2
                continue
            if self.text.startswith("${", position):
                depth += 1
                position += 2
                continue
            if depth and self.text[position] == "}":
                depth -= 1
            elif not depth and self.text[position] == "`":
                self.pos = position + 1
                tagged = bool(self.out) and self.out[-1].text == "$"
                self._string(Kind.RUN if tagged else Kind.STRING, self.text[start:position], plain=False)
                return
            position += 1
        raise Unreadable

    def _string(self, kind: Kind, raw: str, *, plain: bool) -> None:
        if plain:
            self._add(kind, _unescaped(raw))
            return
        inside = self.language.inside
        if inside and inside in raw:
            place = len(self.out)
            known = self._code_in(raw)
            self.out.insert(place, Token(kind, _unescaped(known)))
            return
        if self.language.sigils:
            raw = re.sub(r"(?<!\\)[$@](?:\{[^}]*\}|[\w:]+)(?:(?:->)?[\[{][^\]}]*[\]}])*", HOLE, raw)
        self._add(kind, _unescaped(raw))

    def _code_in(self, raw: str) -> str:
        """Take the code in a string apart as well; return the string with HOLEs in its place."""
        out, position = [], 0
        inside = self.language.inside
        while (start := raw.find(inside, position)) >= 0:
            depth, end = 1, start + 2
            while end < len(raw) and depth:
                depth += (raw[end] == "{") - (raw[end] == "}")
                end += 1
            if depth:
                raise Unreadable
            out += [raw[position:start], HOLE]
            self._add(Kind.MARK, ";")
            self.out += tokens(raw[start + 2 : end - 1], self.language, self.depth + 1)
            self._add(Kind.MARK, ";")
            position = end
        return "".join([*out, raw[position:]])


def _unescaped(raw: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found.group(1), found.group(1)), raw, flags=re.DOTALL)


# -- calls ------------------------------------------------------------------------------------------------------------

Value = str | list[str]
"""An argument: a text, or a list that is written down."""


class Call(Struct, frozen=True):
    """A name with what follows it: its arguments, and all the words among them."""

    name: str
    of: str  # what stands before it: "File" in File.delete, "." where that is no name, "" for a plain name
    args: list[Value]
    words: frozenset[str]


_OPENS, _CLOSES = frozenset("([{"), frozenset(")]}")
_ENDS = frozenset({";", "\n", "|", "}", ")", "]"})
_END_WORDS = frozenset("if unless while until for foreach or and do then".split())


def calls(found: list[Token]) -> list[Call]:
    """Return every name that is followed by arguments, or stands alone."""
    out = []
    for index, token in enumerate(found):
        if token.kind is Kind.NAME:
            groups = _arguments(found, index + 1)
            words = frozenset(each.text for group in groups for each in group)
            out.append(Call(token.text, _qualifier(found, index), [_value(group) for group in groups], words))
    return out


def _qualifier(found: list[Token], index: int) -> str:
    before = [token.text for token in found[max(index - 3, 0) : index]]
    if before[-1:] == ["."] or before[-2:] == ["-", ">"] or before[-2:] == [":", ":"]:
        at = index - (2 if before[-1:] == ["."] else 3)
        owner = found[at] if at >= 0 else None
        return owner.text if owner is not None and owner.kind is Kind.NAME else "."
    return ""


def _arguments(found: list[Token], start: int) -> list[list[Token]]:
    """Return the arguments that follow, each as its tokens: in brackets, or to the end of the statement."""
    bracketed = start < len(found) and found[start].text == "(" and found[start].kind is Kind.MARK
    position = start + 1 if bracketed else start
    groups: list[list[Token]] = [[]]
    depth = 0
    while position < len(found):
        token = found[position]
        mark = token.kind is Kind.MARK
        if mark and depth == 0 and (token.text == ")" if bracketed else token.text in _ENDS):
            break
        if not bracketed and token.kind is Kind.NAME and token.text in _END_WORDS and depth == 0:
            break
        depth += mark * ((token.text in _OPENS) - (token.text in _CLOSES))
        if mark and token.text == "," and depth == 0:
            groups.append([])
        elif not (mark and token.text == "\n"):
            groups[-1].append(token)
        position += 1
    return [group for group in groups if group]


def _value(group: list[Token]) -> Value:
    """Return what an argument is, as far as it is written down."""
    if group[0].text == "[" and group[-1].text == "]" and group[0].kind is Kind.MARK:
        inner: list[list[Token]] = [[]]
        for token in group[1:-1]:
            if token.text == "," and token.kind is Kind.MARK:
                inner.append([])
            else:
                inner[-1].append(token)
        return [_text(each) for each in inner if each]
    return _text(group)


def _text(group: list[Token]) -> str:
    out = []
    for token in group:
        if token.kind is Kind.STRING:
            out.append(token.text)
        elif not (token.kind is Kind.MARK and token.text in {".", "+", "(", ")"}):
            out.append(token.text if token.kind is Kind.NUMBER and len(group) == 1 else HOLE)
    return re.sub(HOLE + "+", HOLE, "".join(out)) if out else HOLE
