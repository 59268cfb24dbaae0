"""Walks the syntax tree as the shell would: lists, pipelines, branches, loops, functions."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cbx_sandbox.shell import marks
from cbx_sandbox.shell.checks import Finding, Verdict
from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.survey import background, endless, forever
from cbx_sandbox.shell.syntax import (
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
    Pipeline,
    Sequence,
    Simple,
    Test,
    Text,
    Word,
)
from cbx_sandbox.shell.tiers import DANGEROUS, SEQUENTIAL
from cbx_sandbox.shell.variables import Variables, kept
from cbx_sandbox.shell.words import HOLE, Arg, expand, expand_one

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbx_sandbox.shell.effects import Facts
    from cbx_sandbox.shell.state import Record, State, Where

MAX_STEPS = 10_000  # pieces of work for one text, loops and functions included
MAX_UNROLLED_STEPS = 1_000  # beyond, loops are no longer tried word by word
MAX_NESTING = 10  # texts within texts: bash -c "bash -c …"
MAX_LINES = 32  # that a loop reads and that are tried one by one
MAX_UNROLL = 24  # words of a loop that are tried one by one


class Walker(Variables):
    """A shell as far as its grammar is concerned; the interpreter runs the simple commands."""

    def __init__(self, facts: Facts, record: Record, state: State, *, nesting: int = 0) -> None:
        super().__init__(facts, record, state)
        self.nesting = nesting
        self.steps = [0, 0, MAX_STEPS]  # pieces of work so far, commands within commands now, pieces at most
        self.calls: list[tuple[Function, int]] = []
        self.asides = 0
        self.later = 0  # within a trap that is only set: what its variables are is not known yet
        self.loops = 0  # within which many files may be gone through
        self.called: set[str] = set()
        self.brought: frozenset[str] = frozenset()  # functions that an outer shell defined, and looks at

    def opaque(self, why: str, where: Where) -> str:
        """Note that a part cannot be read; in a script that was there before it is a program that is not known."""
        if self.state.script:
            self.record.reason("unreadable-script", f"a script that is not read: {why}", SEQUENTIAL, where)
            self.writes_place("project", where, SEQUENTIAL)
            return HOLE
        self.record.opaque = True
        self.record.reason("opaque", f"cannot be read: {why}", DANGEROUS, where)
        return HOLE

    def simple(self, node: Simple, stdin: str | None) -> str:
        """Run a simple command."""
        raise NotImplementedError

    def ends(self) -> None:
        """Run what was trapped, with the variables as they are at the end."""
        raise NotImplementedError

    def step(self, where: Where) -> bool:
        """Count a piece of work; False once there has been too much."""
        self.steps[0] += 1
        if self.steps[0] == self.steps[2]:
            self.opaque("more commands than are looked at in one text", where)
        return self.steps[0] < self.steps[2]

    @contextmanager
    def share(self, most: int) -> Iterator[None]:
        """Do no more work than this within, and leave as much for what follows."""
        outer = self.steps
        self.steps = [0, outer[1], min(most, max((outer[2] - outer[0]) // 2, 1))]
        yield
        outer[0] += min(self.steps[0], self.steps[2])
        self.steps = outer

    # -- nodes --------------------------------------------------------------------------------------------------

    def run(self, node: Command, stdin: str | None = None) -> str:
        """Run a node and return what it prints, as far as that is known."""
        if not self.step((-1, -1)):
            return HOLE
        outer, self.input = self.input, stdin
        output = self._node(node, stdin)
        self.input = outer
        return output

    def _node(self, node: Command, stdin: str | None) -> str:
        match node:
            case Simple():
                return self.simple(node, stdin)
            case Sequence():
                return self._sequence(node, stdin)
            case Pipeline():
                return self._pipeline(node, stdin)
            case Group():
                return self._group(node, stdin)
            case If():
                return self._if(node, stdin)
            case Loop():
                return self._repeat(node.condition, node.body, stdin)
            case For():
                return self._for(node, stdin)
            case ArithFor():
                header = expand_one(node.header, self)
                self.arithmetic(header)
                if forever(header) and background(node.body):
                    self._bomb("starts programs in the background without end", self.anchor or (-1, -1))
                return self._repeat(None, node.body, stdin)
            case Case():
                return self._case(node, stdin)
            case Function():
                self._define(node)
            case Test():
                for word in node.words:
                    text = expand_one(word, self)
                    if HOLE not in text and len(node.words) > 1:
                        self.looks(self.absolute(text) if text else None, self.where(word.start, word.end))
                    quotes = "$(" in text or "`" in text
                    if node.computes and (not quotes or re.search(r"\[.*(?:\$\(|`)", text)):
                        self.arithmetic(text)
            case ArithCommand():
                self.arithmetic(expand_one(node.inner, self))
            case Coproc():
                self.state.arrays[node.name] = None
                self.state.variables[f"{node.name}_PID"] = HOLE + marks.OWN
                self.state.descriptors["coproc"] = self.aside(node.body, HOLE)
                return HOLE
        return ""

    def _sequence(self, node: Sequence, stdin: str | None) -> str:
        out = []
        before = ""
        cwd = self.state.cwd
        for command, operator in node.items:
            self.fed = None
            if before in {"&&", "||"}:
                if before == "&&":
                    self.state.left = None  # a cd before it did not fail
                other = self.state.copy()
                leaves = before == "||" and operator != "&" and self._leaves(command)
                if before == "||" and self.state.cwd != cwd:
                    self.state.cwd = None  # the cd before it may be what failed
                out.append(self.run(command, stdin))
                if leaves:
                    self.state = other  # what follows is only run where that was not
                    self.state.left = None
                else:
                    self.state.blend(other, keep_cwd=before == "&&")
            elif operator == "&":
                out.append(self.aside(command, stdin))
            else:
                out.append(self.run(command, stdin))
            before = operator
        return kept("".join(out))

    def aside(self, node: Command, stdin: str | None) -> str:
        """Run in a subshell: what it prints and touches stays, its variables do not."""
        saved = self.state
        self.state = saved.copy()
        self.state.traps = ()
        self.asides += 1
        output = self.run(node, stdin)
        self.ends()
        self.asides -= 1
        saved.files.update(self.state.files)
        self.state = saved
        return output

    def _pipeline(self, node: Pipeline, stdin: str | None) -> str:
        stream = stdin
        output = ""
        for index, command in enumerate(node.commands):
            self.fed = None if index else self.fed
            if len(node.commands) == 1:
                output = self.run(command, stream)
            else:
                last = index == len(node.commands) - 1
                lasting = last and "lastpipe" in self.state.variables
                output = self.run(command, stream) if lasting else self.aside(command, stream)
            stream = output
        return output

    def _group(self, node: Group, stdin: str | None) -> str:
        saved = self.state
        if node.subshell:
            self.state = saved.copy()
            self.state.traps = ()
        stdin, sink = self.redirects(node.redirects, stdin)
        output = self.run(node.body, stdin)
        if node.subshell:
            self.ends()
            saved.files.update(self.state.files)
            self.state = saved
        return self.sunk(output, sink)

    def _if(self, node: If, stdin: str | None) -> str:
        """Run each branch with what the conditions up to its own have left."""
        ends, outputs = [], []
        for index, branch in enumerate(node.branches):
            if index < len(node.conditions):
                self.run(node.conditions[index], stdin)
            before = self.state.copy()
            outputs.append(self.run(branch, stdin))
            ends.append(self.state)
            self.state = before
        if len(node.branches) > len(node.conditions):
            self.state = ends.pop()
        for end in ends:
            self.state.blend(end)
        return outputs[0] if len(set(outputs)) == 1 and len(node.branches) > len(node.conditions) else HOLE

    def _branches(self, branches: tuple[Sequence, ...], stdin: str | None) -> list[str]:
        before = self.state.copy()
        outputs = []
        for branch in branches:
            other = self.state
            self.state = before.copy()
            outputs.append(self.run(branch, stdin))
            self.state.blend(other)
        return outputs

    def _case(self, node: Case, stdin: str | None) -> str:
        for word in (node.subject, *node.patterns):
            expand_one(word, self)
        self._branches(node.branches, stdin)
        return HOLE if node.branches else ""

    def _repeat(self, condition: Sequence | None, body: Sequence, stdin: str | None) -> str:
        """Run a loop twice: the second time with what the first may have changed."""
        if endless(condition) and background(body):
            self._bomb("starts programs in the background without end", self.anchor or (-1, -1))
        outputs = ""
        fed, found = self.fed, self._lines(condition, stdin)
        if found is not None and condition is not None and self.steps[0] <= MAX_UNROLLED_STEPS:
            held = self.state.files.get(fed) if fed is not None else None
            self.run(condition, stdin)
            self._each_line(*found, body, stdin)
            # What the loop adds to the file that it reads is read as well.
            if fed is None or (self.state.files.get(fed) == held and not sources.changed(self, fed)):
                return HOLE
        self.loops += 1
        for _ in range(2):
            before = self.state.copy()
            if condition is not None:
                self.run(condition, stdin)
            outputs = self.run(body, stdin)
            changed = self.state.variables != before.variables or self.state.cwd != before.cwd
            self.state.blend(before)
            if not changed:
                break
        self.loops -= 1
        return HOLE if outputs else ""

    def _for(self, node: For, stdin: str | None) -> str:
        values: list[Arg] = []
        if node.words is None:
            known = self.state.positional
            values = [Arg(HOLE, 0, 0, many=True)] if known is None else [Arg(text, 0, 0) for text in known]
        for word in node.words or ():
            values += expand(word, self)
        for value in values:
            self.matched(value, (-1, -1))
            if node.name in self.record.evaluated:
                self.arithmetic(value.text)
        many = len(values) > MAX_UNROLL or self.steps[0] > MAX_UNROLLED_STEPS
        if many or any(value.many for value in values):
            own = not node.select and all(marks.own(value.text) for value in values)
            self.assign(node.name, HOLE + marks.OWN if own else HOLE)
            return self._repeat(None, node.body, stdin)
        if node.select:
            return self._select(node, values, stdin)
        outputs = []
        matched = any(value.pattern for value in values)
        self.loops += matched
        for value in values:
            self.assign(node.name, value.text)
            outputs.append(self.run(node.body, stdin))
        self.loops -= matched
        return kept("".join(outputs)) if not any(value.pattern for value in values) else HOLE

    def _leaves(self, node: Command) -> bool:
        """Whether a command ends the shell that it is run in, and nothing is done on the way out."""
        if isinstance(node, Pipeline) and len(node.commands) == 1:
            return self._leaves(node.commands[0])
        if isinstance(node, Group) and not node.subshell and not node.redirects and isinstance(node.body, Sequence):
            return bool(node.body.items) and self._leaves(node.body.items[-1][0]) and not self.state.traps
        if not isinstance(node, Simple) or node.redirects or not node.words or self.state.traps:
            return False
        first = node.words[0]
        redefined = "exit" in self.state.functions or "exit" in self.state.aliases
        return isinstance(first, Word) and _literal(first) == "exit" and not redefined

    def _select(self, node: For, values: list[Arg], stdin: str | None) -> str:
        """Try each word that can be chosen, and the empty text that any other answer gives, twice over."""
        for value in [*values, Arg("", 0, 0)] * 2:
            before = self.state.copy()
            self.assign(node.name, value.text)
            self.assign("REPLY", HOLE)
            self.run(node.body, stdin)
            self.state.blend(before)
        return HOLE

    def _lines(self, condition: Sequence | None, stdin: str | None) -> tuple[str, list[str]] | None:
        """Return the variable that a loop reads lines into, and the lines where these are written down somewhere."""
        words = _read_words(condition)
        if words is None or "IFS" in self.state.variables:
            return None
        text = stdin
        if self.fed is not None and (text is None or HOLE in text):
            text = sources.text(self, self.fed, limit=MAX_LINES * 256)
        if not text or HOLE in text or "\0" in text or ("\\" in text and "-r" not in words):
            return None
        lines = text.removesuffix("\n").split("\n")
        if words[0] != "IFS=":
            lines = [line.strip(" \t") for line in lines]
        return (words[-1], lines) if len(lines) <= MAX_LINES else None

    def _each_line(self, name: str, lines: list[str], body: Sequence, stdin: str | None) -> None:
        """Run the body of a loop once for each line."""
        for line in lines:
            self.assign(name, line)
            self.run(body, stdin)
        self.assign(name, "")

    def _define(self, node: Function) -> None:
        self.state.functions[node.name] = node

    def _bomb(self, why: str, where: Where) -> None:
        self.record.found(Finding("fork-bomb", Verdict.DENY, why), where)

    def uncalled(self) -> None:
        """Look at functions that were defined and never called: something else may call them, a trap for one."""
        for name, function in list(self.state.functions.items()):
            if name not in self.called and name not in self.brought:
                self.call(function, None, None)

    def call(self, function: Function, args: list[str] | None, stdin: str | None) -> str:
        """Call a function."""
        self.called.add(function.name)
        begun = next((asides for other, asides in self.calls if other is function), None)
        if begun is not None:
            if self.asides > begun:
                self._bomb("starts copies of itself without end", self.where(function.start, function.end))
            return HOLE
        if len(self.calls) >= MAX_NESTING:
            return self.opaque("functions that call each other too deeply", self.where(function.start, function.end))
        self.calls.append((function, self.asides))
        positional, self.state.positional = self.state.positional, args
        outer, self.state.local = self.state.local, frozenset()
        before = dict(self.state.variables)
        output = self.run(function.body, stdin)
        for name in self.state.local:
            self.state.variables.pop(name, None)
            if name in before:
                self.state.variables[name] = before[name]
        self.state.local = outer
        self.state.positional = positional
        self.calls.pop()
        return output


def _read_words(condition: Sequence | None) -> list[str] | None:
    """Return the words of a loop's condition where that reads one variable, and nothing else."""
    command = condition.items[0][0] if condition is not None and len(condition.items) == 1 else None
    if isinstance(command, Pipeline) and len(command.commands) == 1:
        command = command.commands[0]
    if not isinstance(command, Simple) or command.redirects:
        return None
    words = [_literal(word) if isinstance(word, Word) else None for word in command.words]
    if any(assign.name != "IFS" or _literal(assign.value) for assign in command.assigns):
        return None
    known = [word for word in words if word is not None]
    if len(known) != len(words) or known[:1] != ["read"] or known[1:-1] not in ([], ["-r"]):
        return None
    if len(known) < 2 or not known[-1].isidentifier():
        return None
    return [*(["IFS="] if command.assigns else []), *known]


def _literal(word: Word | None) -> str | None:
    """Return the text of a word in which nothing is expanded."""
    texts = [part.value for part in word.parts if isinstance(part, Text)] if word is not None else []
    return "".join(texts) if word is None or len(texts) == len(word.parts) else None
