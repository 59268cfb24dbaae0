"""Follows text from where it comes from to where it goes: fetched and executed, secret and sent, encrypted and deleted.

The interpreter tells a ``Trail`` what happens; what that is called goes into the record.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct, field

from cbx_sandbox.shell import marks
from cbx_sandbox.shell.checks import catalogue, code, glyphs
from cbx_sandbox.shell.checks.model import Finding, Verdict, finding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbx_sandbox.shell.state import Record, Where

DOWNLOAD = Finding("download-and-run", Verdict.DENY, "executes what comes from the network")
DECODED = Finding("obfuscated-run", Verdict.DENY, "executes what was decoded before, so that nobody reads it")
INJECTION = Finding("injection", Verdict.ISOLATE, "executes a text that is put together from input")
REVERSE = Finding("reverse-shell", Verdict.DENY, "gives a shell to whoever is at the other end")
THEFT = Finding("credential-theft", Verdict.DENY, "sends credentials over the network")
LEAK = Finding("private-data", Verdict.CONFIRM, "sends what is private over the network")
RANSOM = Finding("ransom", Verdict.DENY, "encrypts many files and deletes them")

EACH = frozenset({"find", "xargs", "parallel", "fd", "fdfind", "rush"})  # they run a command for each of many files


class Step(Struct):
    """One command while it runs."""

    name: str
    seen: frozenset[str]  # the marks of its words and of its input
    read: frozenset[str] = frozenset()  # the marks of the files that it reads
    written: list[str] = field(default_factory=list)
    connects: bool = False
    executes: bool = False  # executes what cannot be told

    @property
    def marks(self) -> frozenset[str]:
        """Everything that it could tell."""
        return self.seen | self.read


class Trail(Struct):
    """The commands that run within each other right now, and what has happened to many files."""

    record: Record
    steps: list[Step] = field(default_factory=list)
    encrypts_many: bool = False
    deletes_many: bool = False

    def find(self, found: Finding, where: Where, about: str = "") -> None:
        """Put a finding into the record."""
        self.record.found(found, where, about)

    # -- what the interpreter tells -------------------------------------------------------------------------------

    def reads(self, found: frozenset[str]) -> None:
        """Note that the command reads a file with marks."""
        if self.steps and found:
            self.steps[-1].read |= found

    @property
    def looking(self) -> bool:
        """Whether the command only looks at what files are."""
        return bool(self.steps) and self.steps[-1].name in catalogue.words("looks")

    def writes(self, path: str) -> None:
        """Note that the command writes a file."""
        if self.steps:
            self.steps[-1].written.append(path)

    def connects(self, host: str | None, where: Where) -> None:
        """Note that the command opens a connection."""
        if self.steps:
            self.steps[-1].connects = True
        problem = None if host is None else glyphs.odd_host(host)
        if problem is not None:
            self.find(problem, where)

    def executes(self, text: str, where: Where) -> None:
        """Note that a text is executed that cannot be told; the marks in it say where it comes from."""
        if self.steps:
            self.steps[-1].executes = True
        self._executed(marks.of(text), where)

    def _executed(self, found: frozenset[str], where: Where) -> None:
        if marks.NETWORK in found:
            self.find(DOWNLOAD, where)
        elif marks.DECODED in found:
            self.find(DECODED, where)

    # -- around a command -------------------------------------------------------------------------------------------

    def begin(self, name: str, texts: list[str], stdin: str | None) -> Step:
        """Begin with a command."""
        seen = marks.of(stdin).union(*map(marks.of, texts))
        step = Step(name, seen)
        self.steps.append(step)
        return step

    def end(self, step: Step, where: Where) -> frozenset[str]:
        """End with a command; return the marks of what it prints and saves."""
        self.steps.pop()
        found = step.marks
        if step.executes:
            self._executed(step.seen, where)
        if step.connects:
            self._sent(step, where)
            if step.name in catalogue.words("fetch"):
                found |= {marks.NETWORK}
        passed = found & marks.PASSED_ON
        if self.steps:  # who runs another program can print what that has read
            self.steps[-1].read |= step.read & marks.PASSED_ON
        return passed | {marks.SHELL} if step.executes else passed

    def _sent(self, step: Step, where: Where) -> None:
        sends = step.name in catalogue.words("send")
        if marks.SHELL in step.seen and step.name in catalogue.words("raw"):
            self.find(REVERSE, where)
        if marks.SECRET in step.marks:
            self.find(THEFT if sends else LEAK, where)
        elif marks.PRIVATE in step.marks and sends:
            self.find(LEAK, where)

    def socket(self, text: str, where: Where) -> None:
        """Note that the shell itself sends a text over a connection."""
        found = marks.of(text)
        if marks.SHELL in found:
            self.find(REVERSE, where)
        if marks.SECRET in found:
            self.find(THEFT, where)
        elif marks.PRIVATE in found:
            self.find(LEAK, where)

    # -- what a command is by itself ----------------------------------------------------------------------------------

    def look(self, name: str, texts: list[str], stdin: str | None, where: Where, scripts: Iterable[str]) -> None:
        """Look at a command with its words expanded; ``scripts`` are what the files hold that its words name."""
        asks = texts[-1:] in (["--help"], ["--version"]) and len(texts) <= 2
        for pattern in () if asks else catalogue.patterns("calls", "call").about(name):
            if pattern.holds(texts, stdin):
                self.find(finding(pattern.table), where)
        handed = [*texts, " ".join(texts), *([stdin] if stdin else []), *scripts]
        for found in code.look(name, handed):
            self.find(found, where)
        for word in (name, *(text.partition("=")[0] for text in texts if text.startswith("--"))):
            problem = glyphs.odd(word)
            if problem is not None:
                self.find(problem, where)

        for text in texts if name in catalogue.words("remote") else ():
            problem = glyphs.odd_host(text) if "." in text else None
            if problem is not None:
                self.find(problem, where)

    def assigns(self, name: str, value: str, where: Where) -> None:
        """Look at a variable that is set."""
        for table in catalogue.tables("flow")["variable"]:
            if name in table["names"] and re.search(table["value"], value):
                self.find(finding(table), where)

    def source(self, name: str, texts: list[str], stdin: str | None) -> frozenset[str]:
        """Return the marks that a command gives to what it prints, whatever it reads."""
        found = frozenset[str]()
        for pattern in catalogue.patterns("flow", "mark").about(name):
            if pattern.holds(texts, stdin):
                found |= {catalogue.MARKS[pattern.table["mark"]]}
        return found

    def many(self, name: str, texts: list[str], stdin: str | None, where: Where) -> None:
        """Note a command that is run for each of many files."""
        if any(pattern.holds(texts, stdin) for pattern in catalogue.patterns("flow", "encrypts").about(name)):
            self.encrypts_many = True
        if any(pattern.holds(texts, stdin) for pattern in catalogue.patterns("flow", "deletes").about(name)):
            self.deletes_many = True
        if self.encrypts_many and self.deletes_many:
            self.find(RANSOM, where)
