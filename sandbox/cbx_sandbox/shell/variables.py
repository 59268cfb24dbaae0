"""The shell's variables, and where a command's input comes from and its output goes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell import marks
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.paths import Paths, is_socket
from cbx_sandbox.shell.state import ZEROTH
from cbx_sandbox.shell.tiers import DANGEROUS
from cbx_sandbox.shell.words import HOLE, Arg, expand, expand_one

if TYPE_CHECKING:
    from cbx_sandbox.shell.state import Where
    from cbx_sandbox.shell.syntax import Command, ProcSub, Redirect, Sequence

MAX_KEPT = 100_000  # characters of output that are carried from one command to the next

_APPENDING = frozenset({">>", "&>>"})
_APPENDED = "\0>>"  # before a path: the output is appended to what is there

_PARTS = frozenset({"RANDOM", "SRANDOM", "SECONDS", "EPOCHSECONDS", "PPID", "LINENO", "HOSTNAME"})  # set by bash itself
_NAMES = expression(r"[A-Za-z_]\w*")
_ASSIGNMENT = r"\s*(?:(?:[-+*/%&|^]|<<|>>)?=(?!=)|\+\+|--)"
_ASSIGNED = expression(
    rf"(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]*){_ASSIGNMENT}|(?:\+\+|--)\s*([A-Za-z_][A-Za-z0-9_]*)"
)
_ELEMENT = expression(rf"\]{_ASSIGNMENT}")
_SUBSCRIPTED = expression(r"(?<![A-Za-z0-9_])([A-Za-z_][A-Za-z0-9_]*)\[")


class Variables(Paths):
    """A shell as far as words and redirections are concerned; the interpreter runs what they contain."""

    anchor: Where | None = None
    fed: str | None = None  # the file that the command which is run now has as its input
    input: str | None = None  # what the command that is being expanded can read, and so its substitutions can

    def where(self, start: int, end: int) -> Where:
        """Return a position in the text that was handed in."""
        return (start, end) if self.anchor is None else self.anchor

    def executes_unknown(self, why: str, where: Where, text: str = "") -> str:
        """Note that what is executed cannot be told; ``text`` is it, as far as it is known."""
        self.record.reason("executes-unknown", why, DANGEROUS, where)
        self.record.trail.executes(text, where)
        return HOLE + marks.SHELL

    def aside(self, node: Command, stdin: str | None) -> str:
        """Run in a subshell."""
        raise NotImplementedError

    # -- redirections -------------------------------------------------------------------------------------------

    def redirects(self, redirects: tuple[Redirect, ...], stdin: str | None) -> tuple[str | None, str | None]:
        """Apply redirections; return what is read and the path that the output goes to."""
        sink: str | None = None
        self.fed = None
        for redirect in redirects:
            where = self.where(redirect.start, redirect.end)
            if redirect.here is not None:
                fed: str | None = self.fed
                stdin = self._input(redirect, stdin, expand_one(redirect.here.body, self))
                self.fed = fed if redirect.fd not in {"", "0"} else None
                continue
            operator = redirect.operator
            if operator == "<<<":
                fed = self.fed
                stdin = self._input(redirect, stdin, expand_one(redirect.target, self) + "\n")
                self.fed = fed if redirect.fd not in {"", "0"} else None
                continue
            fed = self.fed  # what stands in the target can be fed by a file of its own
            args = expand(redirect.target, self)
            feeds = redirect.fd == "0" or (redirect.fd == "" and operator.startswith("<"))
            self.fed = None if feeds else fed
            target = args[0] if len(args) == 1 else Arg(HOLE, redirect.target.start, redirect.target.end)
            if operator in {"<&", ">&"} and re.fullmatch(r"\d*-?", target.text):
                if feeds:  # 0>&3 as well
                    stdin = self.state.descriptors.get(target.text, HOLE)
                elif operator == ">&" and target.text not in {"1", "2", "-"}:
                    sink = "\0fd" + target.text
                continue
            if operator == "<&":
                stdin = self._input(redirect, stdin, HOLE)
            elif operator == "<":
                stdin = self._input(redirect, stdin, self.content(target, where))
                if redirect.fd in {"", "0"} and target.known:
                    self.fed = self.absolute(target.text)
            else:
                path = self._output(operator, target, where)
                if operator == "<>" and redirect.fd in {"", "0"}:
                    stdin = HOLE
                elif redirect.fd in {"", "1"} or operator.startswith("&"):
                    sink = path if path is None or operator not in _APPENDING else _APPENDED + path
                elif path is not None and redirect.fd != "2":
                    self.state.descriptors["\0" + redirect.fd] = path
                    self.state.files[path] = HOLE
                    if is_socket(path):
                        self.state.descriptors[redirect.fd] = HOLE + marks.NETWORK
        return stdin, sink

    def _input(self, redirect: Redirect, stdin: str | None, text: str) -> str | None:
        if redirect.fd in {"", "0"}:
            return text
        self.state.descriptors[redirect.fd] = text
        return stdin

    def _output(self, operator: str, target: Arg, where: Where) -> str | None:
        append = operator in _APPENDING
        if operator == "<>":
            self.reads(target, where)
        if append:
            self.held(target)
        return self.redirected(target, where, append=append)

    def held(self, target: Arg) -> None:
        """Note what a file holds before something is appended to it: its end must not be taken for the whole."""
        path = self.absolute(target.text)
        if path is None or path in self.state.files:
            return
        there = self.facts.kind(self.facts.resolve(path)) != "missing" or sources.changed(self, path)
        if self.state.remote or there:
            text = sources.text(self, path)
            self.state.files[path] = HOLE if text is None else kept(text)

    def sunk(self, output: str, sink: str | None) -> str:
        """Let the output of a command go where it was redirected."""
        if sink is None:
            return output
        if sink.startswith("\0fd"):
            path = self.state.descriptors.get("\0" + sink[3:])
            if path is not None:
                self.saved(path, output)
            return ""
        self.saved(sink.removeprefix(_APPENDED), output, append=sink.startswith(_APPENDED))
        return ""

    def saved(self, path: str, output: str, *, append: bool = False) -> None:
        """Let a path hold what is written to it; what held something already is known only when it is appended to."""
        if is_socket(path):
            self.record.trail.socket(output, (-1, -1))
            return
        old = self.state.files.get(path)
        if old is None:
            self.state.files[path] = kept(output)
        elif append and kept(old + output) != HOLE:
            self.state.files[path] = old + output
        else:
            self.state.files[path] = marks.add(HOLE, marks.of(old) | marks.of(output))

    # -- values, for words --------------------------------------------------------------------------------------

    def lookup(self, name: str) -> str | None:
        """Return a variable's text."""
        if name.isdigit():
            index, known = int(name), self.state.positional
            if index == 0:
                named = self.state.variables.get(ZEROTH) if "BASH_ARGV0" not in self.state.variables else None
                return HOLE if named is None else named
            if known is None:
                return HOLE
            return known[index - 1] if index <= len(known) else ""
        if name in self.state.variables:
            return self.state.variables[name]
        if name == "PWD":
            return HOLE if self.state.cwd is None else self.state.cwd
        if name == "HOME":
            return self.facts.home
        if name in {"!", "$", "BASHPID"}:
            return HOLE + marks.OWN
        if name in {"UID", "EUID"}:
            return str(self.facts.uid)
        if name in _PARTS and name not in self.facts.env:
            return HOLE + marks.PART
        # A variable that the environment lacks may be set by whoever starts the job: not known.
        return self.facts.env.get(name, HOLE)

    def fields(self, name: str) -> list[str] | None:
        """Return the words of ``$@`` or of an array."""
        if name in {"@", "*"}:
            return self.state.positional
        return self.state.arrays.get(name)

    def assign(self, name: str, value: str, where: Where = (-1, -1)) -> None:
        """Set a variable."""
        raise NotImplementedError

    def substitute(self, body: Sequence) -> str:
        """Run a command substitution."""
        output = self.aside(body, self.input).replace("\0", "")
        if output.endswith(HOLE):  # it may be nothing, and then the newlines before it go too
            return output.rstrip("\n" + HOLE) + HOLE
        return output.rstrip("\n")

    def process(self, part: ProcSub) -> str:
        """Run a process substitution."""
        number = str(63 + len(self.state.descriptors))
        output = self.aside(part.body, HOLE if part.writes else self.input)
        self.state.descriptors[number] = output
        return f"/dev/fd/{number}"

    def arithmetic(self, text: str) -> None:
        """Look at an arithmetic expression; subscripts in it are expanded once more, commands and all."""
        texts, seen = [text], set[str]()
        why = "arithmetic that executes what is quoted in it"
        while texts:
            text = texts.pop()
            if "$(" in text or "`" in text:
                self.executes_unknown(why, (-1, -1))
            why = "arithmetic that executes what a variable holds"
            for name in dict.fromkeys(_NAMES.findall(text)):  # the value of a variable is an expression again
                if name not in seen:
                    seen.add(name)
                    texts += filter(None, (self.state.variables.get(name), *(self.state.arrays.get(name) or ())))
            self._computed(text)

    def _computed(self, text: str) -> None:
        """Give up what the variables hold that an expression assigns to; whether it gets as far is not known."""
        names = {found.group(1) or found.group(2) for found in _ASSIGNED.finditer(text)}
        if _ELEMENT.search(text):  # which name a bracket belongs to takes counting
            names.update(_SUBSCRIPTED.findall(text))
        for name in names:
            held = marks.of(self.state.variables.get(name))
            self.assign(name, marks.add(HOLE, held))
            self.state.arrays[name] = None

    def executes(self, why: str) -> None:
        """Note that an expansion executes text."""
        self.executes_unknown(why, (-1, -1))

    def home(self) -> str:
        """Return the home directory as ``~`` means it."""
        return self.lookup("HOME") or ""

    def matches(self, pattern: str) -> tuple[str, ...]:
        """Return the names that a relative pattern matches."""
        if self.state.cwd is None or pattern.startswith("/"):
            return ()
        base = self.state.cwd.rstrip("/") + "/"
        return tuple(path.removeprefix(base) for path in self.facts.glob(base + pattern))


def kept(text: str) -> str:
    """Return a text if it is short enough to be carried along."""
    return text if len(text) <= MAX_KEPT else HOLE
