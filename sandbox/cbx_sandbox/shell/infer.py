"""Walks the syntax tree as the shell would and records what each command is predicted to touch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbx_sandbox.shell import builtins, programs, rules
from cbx_sandbox.shell.checks import Check, Verdict
from cbx_sandbox.shell.parse import parse
from cbx_sandbox.shell.state import State
from cbx_sandbox.shell.survey import background, command_names, endless
from cbx_sandbox.shell.syntax import (
    ArithCommand,
    ArithFor,
    Assign,
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
    Unreadable,
)
from cbx_sandbox.shell.tiers import CONDITIONAL, DANGEROUS, SEQUENTIAL
from cbx_sandbox.shell.variables import Variables, kept
from cbx_sandbox.shell.witness import unseen
from cbx_sandbox.shell.words import HOLE, Arg, expand, expand_one

if TYPE_CHECKING:
    from cbx_sandbox.shell.effects import Facts
    from cbx_sandbox.shell.rules import Rule
    from cbx_sandbox.shell.state import Record, Where

MAX_STEPS = 10_000  # pieces of work for one text, loops and functions included
MAX_UNROLLED_STEPS = 1_000  # beyond, loops are no longer tried word by word
MAX_WRAPPERS = 40  # sudo env nice …
MAX_NESTING = 10  # texts within texts: bash -c "bash -c …"
MAX_UNROLL = 24  # words of a loop that are tried one by one

_STANDARD = frozenset({"/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin", "/usr/local/sbin"})


@dataclass(slots=True)
class Call:
    """One command with its words expanded."""

    name: str
    args: list[Arg]
    rule: Rule | None
    where: Where
    stdin: str | None  # what it can read: None is the caller's own standard input

    def texts(self) -> list[str]:
        """Return the arguments as plain text."""
        return [arg.text for arg in self.args]


class Interpreter(Variables):
    """One shell."""

    def __init__(self, facts: Facts, record: Record, state: State, *, nesting: int = 0) -> None:
        super().__init__(facts, record, state)
        self.nesting = nesting
        self.steps = [0, 0]  # pieces of work so far, commands within commands now
        self.calls: list[tuple[Function, int]] = []
        self.asides = 0
        self.called: set[str] = set()

    # -- whole texts --------------------------------------------------------------------------------------------

    def read(self, text: str, stdin: str | None = None) -> str:
        """Read a text and run it in this shell."""
        if any("\ue000" <= char <= "\uf8ff" for char in text) and self.anchor is None:
            return self.opaque("a private-use character", (0, len(text)))
        try:
            tree = parse(text)
        except Unreadable as failure:
            at = min(failure.at, max(len(text) - 1, 0))
            return self.opaque(failure.why, self.where(at, len(text)))
        names: set[str] = set()
        command_names(tree, text, names)
        output = self.run(tree, stdin)
        if self.record.tier is not DANGEROUS and HOLE not in text:
            missed = unseen(text, frozenset(names))
            if missed is not None:
                return self.opaque(f"a second reading finds the command {missed!r}", self.where(0, len(text)))
        return output

    def nested(self, text: str, where: Where, stdin: str | None = None, state: State | None = None) -> str:
        """Run text that a command executes, in a shell of its own unless a state is given."""
        if text.strip() == "":
            return ""
        if self.nesting >= MAX_NESTING:
            return self.opaque("texts within texts, nested too deeply", where)
        inner = Interpreter(self.facts, self.record, state or self.state.copy(), nesting=self.nesting + 1)
        inner.steps, inner.anchor, inner.calls = self.steps, where, self.calls
        return inner.read(text, stdin)

    def execute_text(self, text: str, where: Where, stdin: str | None = None, state: State | None = None) -> str:
        """Run text that has to be known in full; where it is not, anything can happen."""
        if HOLE in text:
            return self.executes_unknown("executes text that is not known before it runs", where)
        return self.nested(text, where, stdin, state)

    def opaque(self, why: str, where: Where) -> str:
        """Note that a part cannot be read."""
        self.record.opaque = True
        self.record.reason("opaque", f"cannot be read: {why}", DANGEROUS, where)
        return HOLE

    def direct(self, args: list[Arg], where: Where) -> None:
        """Run a program without a shell: the shell's own commands are programs here, or are not at all."""
        name = args[0].text
        if name in builtins.BUILTINS and not builtins.as_program(name):
            programs.unknown(self, Call(name, args[1:], None, where, None), name)
        else:
            self.program(name, args[1:], None, where)

    # -- nodes --------------------------------------------------------------------------------------------------

    def run(self, node: Command, stdin: str | None = None) -> str:
        """Run a node and return what it prints, as far as that is known."""
        if not self._step((-1, -1)):
            return HOLE
        match node:
            case Simple():
                return self._simple(node, stdin)
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
                self.arithmetic(expand_one(node.header, self))
                return self._repeat(None, node.body, stdin)
            case Case():
                return self._case(node, stdin)
            case Function():
                self._define(node)
            case Test():
                for word in node.words:
                    text = expand_one(word, self)
                    if re.search(r"\[.*(?:\$\(|`)", text):
                        self.arithmetic(text)
            case ArithCommand():
                self.arithmetic(expand_one(node.inner, self))
            case Coproc():
                self.state.arrays[node.name] = None
                self.state.descriptors["coproc"] = self.aside(node.body, HOLE)
                return HOLE
        return ""

    def _sequence(self, node: Sequence, stdin: str | None) -> str:
        out = []
        before = ""
        for command, operator in node.items:
            if before in {"&&", "||"}:
                other = self.state.copy()
                out.append(self.run(command, stdin))
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
        self.asides += 1
        output = self.run(node, stdin)
        self.asides -= 1
        saved.files.update(self.state.files)
        self.state = saved
        return output

    def _pipeline(self, node: Pipeline, stdin: str | None) -> str:
        stream = stdin
        output = ""
        for index, command in enumerate(node.commands):
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
        stdin, sink = self.redirects(node.redirects, stdin)
        output = self.run(node.body, stdin)
        if node.subshell:
            saved.files.update(self.state.files)
            self.state = saved
        return self.sunk(output, sink)

    def _if(self, node: If, stdin: str | None) -> str:
        for condition in node.conditions:
            self.run(condition, stdin)
        outputs = self._branches(node.branches, stdin)
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
        for _ in range(2):
            before = self.state.copy()
            if condition is not None:
                self.run(condition, stdin)
            outputs = self.run(body, stdin)
            changed = self.state.variables != before.variables or self.state.cwd != before.cwd
            self.state.blend(before)
            if not changed:
                break
        return HOLE if outputs else ""

    def _for(self, node: For, stdin: str | None) -> str:
        values: list[Arg] = []
        if node.words is None:
            known = self.state.positional
            values = [Arg(HOLE, 0, 0, many=True)] if known is None else [Arg(text, 0, 0) for text in known]
        for word in node.words or ():
            values += expand(word, self)
        many = len(values) > MAX_UNROLL or self.steps[0] > MAX_UNROLLED_STEPS
        if node.select or many or any(value.many for value in values):
            self.state.variables[node.name] = HOLE
            return self._repeat(None, node.body, stdin)
        outputs = []
        for value in values:
            self.state.variables[node.name] = value.text
            outputs.append(self.run(node.body, stdin))
        return kept("".join(outputs)) if not any(value.pattern for value in values) else HOLE

    def _define(self, node: Function) -> None:
        self.state.functions[node.name] = node

    def _bomb(self, why: str, where: Where) -> None:
        self.record.checks.append(Check("fork-bomb", Verdict.DENY, why, self.record.offsets.span(where)))
        self.record.reason("fork-bomb", why, DANGEROUS, where)

    def uncalled(self) -> None:
        """Look at functions that were defined and never called: something else may call them."""
        for name, function in list(self.state.functions.items()):
            if name not in self.called:
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
        before = dict(self.state.variables)
        output = self.run(function.body, stdin)
        for name in self.state.arrays.pop("\0local", None) or ():
            self.state.variables[name] = before.get(name)
            if name not in before:
                self.state.variables.pop(name)
        self.state.positional = positional
        self.calls.pop()
        return output

    # -- simple commands ----------------------------------------------------------------------------------------

    def _simple(self, node: Simple, stdin: str | None) -> str:
        where = self.where(node.start, node.end)
        args: list[Arg] = []
        for word in node.words:
            if isinstance(word, Assign):
                args.append(Arg(f"{word.name}={self._assigned(word)}", word.start, word.end))
                self._declare(word)
            else:
                args += expand(word, self)
        if not node.words:
            for assign in node.assigns:
                self.assign(assign.name, self._assigned(assign))
                self._declare(assign)
        prefix = {assign.name: self._assigned(assign) for assign in node.assigns} if node.words else {}
        stdin, sink = self.redirects(node.redirects, stdin)
        if not args:
            if node.words:
                self.executes_unknown("the program's name is empty or not known", where)
            return ""
        output = self._with_environment(prefix, lambda: self.dispatch(args, stdin, where), where)
        return self.sunk(output, sink)

    def _assigned(self, assign: Assign) -> str:
        if assign.subscript is not None:
            self.arithmetic(expand_one(assign.subscript, self))
        if assign.elements is not None:
            return " ".join(arg.text for word in assign.elements for arg in expand(word, self))
        value = expand_one(assign.value, self)
        return (self.lookup(assign.name) or "") + value if assign.append else value

    def _declare(self, assign: Assign) -> None:
        if assign.subscript is not None or (assign.elements is not None and assign.append):
            self.state.arrays[assign.name] = None
            self.state.variables[assign.name] = HOLE
        elif assign.elements is not None:
            args = [arg for word in assign.elements for arg in expand(word, self)]
            self.state.arrays[assign.name] = [arg.text for arg in args] if all(arg.known for arg in args) else None
            self.state.variables[assign.name] = args[0].text if args else ""

    def assign(self, name: str, value: str, where: Where = (-1, -1)) -> None:
        """Set a variable; some make later commands run something."""
        value = kept(value)
        self.state.variables[name] = value
        self.state.arrays.pop(name, None)
        builtins.environment(self, name, value, where)

    def _with_environment(self, prefix: dict[str, str], action: object, where: Where) -> str:
        """Run with variables set for one command."""
        saved = {name: self.state.variables.get(name, "\0none") for name in prefix}
        changed = self.state.path_changed
        for name, value in prefix.items():
            self.assign(name, value, where)
        output = action()  # type: ignore[operator]  # a closure over the command
        for name, old in saved.items():
            if old == "\0none":
                self.state.variables.pop(name, None)
            else:
                self.state.variables[name] = old
        self.state.path_changed = changed
        return str(output)

    def dispatch(self, args: list[Arg], stdin: str | None, where: Where) -> str:
        """Run a command whose words are expanded."""
        if not self._step(where):
            return HOLE
        if self.steps[1] >= MAX_WRAPPERS:
            return self.opaque("commands within commands, nested too deeply", where)
        self.steps[1] += 1
        output = self._dispatch(args, stdin, where)
        self.steps[1] -= 1
        return output

    def _step(self, where: Where) -> bool:
        """Count a piece of work; False once there has been too much."""
        self.steps[0] += 1
        if self.steps[0] == MAX_STEPS:
            self.opaque("more commands than are looked at in one text", where)
        return self.steps[0] < MAX_STEPS

    def _dispatch(self, args: list[Arg], stdin: str | None, where: Where) -> str:
        head, rest = args[0], args[1:]
        if not head.known:
            return self.executes_unknown("the program's name is computed and not known", where)
        name = head.text
        if name in self.state.aliases:
            alias = self.state.aliases.pop(name)
            # Whether aliases are on is not followed: both what it stands for and what it hides may run.
            text = " ".join([alias, *(_quoted(arg.text) for arg in rest)])
            output = self.execute_text(text, where, stdin, self.state)
            other = self._dispatch(args, stdin, where)
            self.state.aliases[name] = alias
            return output if output == other else HOLE
        function = self.state.functions.get(name)
        if function is not None:
            known = all(arg.known for arg in rest)
            output = self.call(function, [arg.text for arg in rest] if known else None, stdin)
            if name not in self.state.unsure:
                return output
        return self.program(name, rest, stdin, where)

    def program(self, name: str, args: list[Arg], stdin: str | None, where: Where) -> str:
        """Run a builtin or a program."""
        builtin = builtins.BUILTINS.get(name)
        if builtin is not None:
            self.record.programs[name] = None
            return builtin(self, Call(name, args, rules.find(name), where, stdin))
        base, trusted = self._trust(name, where)
        rule = rules.find(base)
        self.record.programs[base if rule else name] = None
        call = Call(base, args, rule, where, stdin)
        programs.look_for_miners(self, call, name)
        if rule is None or (not trusted and not rule.local):
            output = programs.unknown(self, call, name)
            if rule is not None:
                programs.apply(self, call)
            return output
        before = self.record.tier
        output = programs.apply(self, call)
        if not trusted and before.rank < SEQUENTIAL.rank and self.record.tier.rank < CONDITIONAL.rank:
            programs.unknown(self, call, name)
        return output

    def _trust(self, name: str, where: Where) -> tuple[str, bool]:
        """Return the name to look up and whether it is the system's program."""
        directory, slash, base = name.rpartition("/")
        if slash:
            written = self.state.files.get(self.absolute(name) or name)
            if written is not None:
                self.execute_text(written, where)
            return base, directory in _STANDARD
        if self.state.path_changed:
            return name, False
        found = self.facts.which(name)
        if found is None:
            return name, True
        directory = found.rpartition("/")[0]
        odd = directory not in _STANDARD and (
            not directory.startswith("/")
            or directory.startswith(("/tmp", "/var/tmp", "/dev/shm"))  # noqa: S108 -- named to distrust them
            or self.inside_project(directory)
        )
        return name, not odd


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
