"""Runs each command of a text and records what it is predicted to touch."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from cbx_sandbox.shell import builtins, environment, marks, programs, project_rules, rules
from cbx_sandbox.shell.checks.follow import INJECTION
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.fingerprint import MAX_CALLS, form
from cbx_sandbox.shell.following import Follower
from cbx_sandbox.shell.inner import scripts
from cbx_sandbox.shell.parse import parse
from cbx_sandbox.shell.survey import command_names
from cbx_sandbox.shell.syntax import Assign, Simple, Unreadable
from cbx_sandbox.shell.tiers import CONDITIONAL, DANGEROUS, SAFE, SEQUENTIAL, highest
from cbx_sandbox.shell.variables import kept
from cbx_sandbox.shell.walk import MAX_NESTING
from cbx_sandbox.shell.witness import unseen
from cbx_sandbox.shell.words import HOLE, Arg, expand, expand_one

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.rules import Rule
    from cbx_sandbox.shell.state import State, Where

MAX_WRAPPERS = 40  # sudo env nice …
MAX_REFERRED = 200  # variables that one reference may set; Bash follows no more than 8 references

_DECIMAL = expression(r"-?[1-9][0-9]*|0|")
_STANDARD = frozenset({"/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin", "/usr/local/sbin"})


class Call(Struct):
    """One command with its words expanded."""

    name: str
    args: list[Arg]
    rule: Rule | None
    where: Where
    stdin: str | None  # what it can read: None is the caller's own standard input

    def texts(self) -> list[str]:
        """Return the arguments as plain text."""
        return [arg.text for arg in self.args]


class Interpreter(Follower):
    """One shell."""

    @cached_property
    def inherited(self) -> dict[str, str]:
        """The variables of the environment that make some program do something."""
        return environment.inherited(self)

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
        inner = type(self)(self.facts, self.record, state or self.state.copy(), nesting=self.nesting + 1)
        inner.steps, inner.anchor, inner.calls = self.steps, where, self.calls
        inner.loops, inner.later = self.loops, self.later
        inner.brought = frozenset(inner.state.functions)
        output = inner.read(text, stdin)
        if state is not self.state:
            inner.ends()
        if inner.state is not self.state:
            inner.uncalled()
        return output

    def ends(self) -> None:
        """Run what was trapped, with the variables as they are at the end."""
        traps, self.state.traps = self.state.traps, ()
        for text, where in traps:
            self.execute_text(text, where, self.input)
        self.state.traps = ()

    def execute_text(self, text: str, where: Where, stdin: str | None = None, state: State | None = None) -> str:
        """Run text that has to be known in full; where it is not, anything can happen."""
        text = text.replace(HOLE + marks.OWN, "$!")  # digits, whatever they are: the number of one's own process
        if HOLE in text:
            self.record.found(INJECTION, where)
            return self.executes_unknown("executes text that is not known before it runs", where, text)
        return self.nested(text, where, stdin, state)

    def direct(self, args: list[Arg], where: Where) -> None:
        """Run a program without a shell: the shell's own commands are programs here, or are not at all."""
        name = args[0].text
        if name in builtins.BUILTINS and not builtins.as_program(name):
            programs.unknown(self, Call(name, args[1:], None, where, None), name)
        else:
            self.program(name, args[1:], None, where)

    # -- simple commands ----------------------------------------------------------------------------------------

    def simple(self, node: Simple, stdin: str | None) -> str:
        """Run a simple command."""
        where = self.where(node.start, node.end)
        args: list[Arg] = []
        for word in node.words:
            if isinstance(word, Assign):
                args.append(Arg(f"{word.name}={self._assigned(word)}", word.start, word.end))
                self._declare(word, self._elements(word))
            else:
                expanded = expand(word, self)
                for arg in expanded:
                    self.matched(arg, where)
                args += expanded
        if not node.words:
            for assign in node.assigns:
                before = self._elements(assign)
                self.assign(assign.name, self._assigned(assign), self.where(assign.start, assign.end))
                self._declare(assign, before)
        stdin, sink = self.redirects(node.redirects, stdin)
        if not args:
            if node.words:
                self.executes_unknown("the program's name is empty or not known", where)
            elif any(redirect.operator == "<" and redirect.fd in {"", "0"} for redirect in node.redirects):
                return HOLE if stdin is None else stdin  # $(< file) is what the file holds
            return ""
        output = self._with_environment(node.assigns, lambda: self.dispatch(args, stdin, where))
        return self.sunk(output, sink)

    def _assigned(self, assign: Assign) -> str:
        if assign.subscript is not None:
            self.arithmetic(expand_one(assign.subscript, self))
        if assign.elements is not None:
            return " ".join(arg.text for word in assign.elements for arg in expand(word, self))
        value = expand_one(assign.value, self)
        if not assign.append:
            return value
        return (self.lookup(assign.name) or "") + ("+" if assign.name in self.record.integers else "") + value

    def _elements(self, assign: Assign) -> list[str] | None:
        """Return what an array that is added to holds before that, None where that is not known."""
        if not assign.append or (assign.name not in self.state.variables and assign.name not in self.facts.env):
            return []
        return self.state.arrays.get(assign.name)

    def _declare(self, assign: Assign, before: list[str] | None) -> None:
        if assign.subscript is not None or assign.elements is not None:
            where = self.where(assign.start, assign.end)
            environment.assigned(self, assign.name, HOLE, where)
            self._refer(assign.name, where)
        if assign.subscript is not None:
            self.state.arrays[assign.name] = None
            self.state.variables[assign.name] = HOLE
        elif assign.elements is not None:
            args = [arg for word in assign.elements for arg in expand(word, self)]
            known = before is not None and all(arg.known or _number(arg) or _matched(arg) for arg in args)
            # One word stands for all that a pattern matches: they look the same.
            texts = (marks.of_pattern(arg.text) if arg.pattern else arg.text for arg in args)
            words = [*(before or []), *texts]
            self.state.arrays[assign.name] = words if known else None
            self.state.variables[assign.name] = (words[0] if words else "") if known else HOLE

    def assign(self, name: str, value: str, where: Where = (-1, -1)) -> None:
        """Set a variable; some make later commands run something."""
        value = kept(value)
        if name in self.record.evaluated:
            self.arithmetic(value)
        if name in self.record.integers and not _DECIMAL.fullmatch(value):
            value = marks.add(HOLE, marks.of(value))
        self.state.variables[name] = value
        self.state.arrays.pop(name, None)
        environment.assigned(self, name, value, where)
        self._refer(name, where)

    def _refer(self, name: str, where: Where) -> None:
        """Give up what the variables hold that a reference of this name may set, and so the references that they are.

        All that a name ever referred to counts: a function's reference by the name of its caller's refers to that one.
        """
        references = self.record.references
        seen, targets = {name}, list(references.get(name, ()))
        while targets:
            target = targets.pop()
            if target in seen:
                continue
            seen.add(target)
            if len(seen) > MAX_REFERRED:
                self.opaque("a reference that may set too many variables", where)
                return
            targets += references.get(target, ())
            self.state.variables[target] = HOLE
            self.state.arrays[target] = None
            environment.assigned(self, target, HOLE, where)

    def _with_environment(self, assigns: tuple[Assign, ...], action: Callable[[], str]) -> str:
        """Run with variables set for one command; each value already sees those before it."""
        if not assigns:
            return action()
        saved = {assign.name: self.state.variables.get(assign.name, "\0none") for assign in assigns}
        changed, exported = self.state.path_changed, self.state.exported
        values = []
        for assign in assigns:
            values.append((assign, self._assigned(assign)))
            self.state.variables[assign.name] = HOLE  # those after it see the new value or the old one
        for assign, value in values:
            self.assign(assign.name, value, self.where(assign.start, assign.end))
        self.state.exported |= saved.keys()
        output = action()
        for name, old in saved.items():
            if old == "\0none":
                self.state.variables.pop(name, None)
            else:
                self.state.variables[name] = old
        self.state.path_changed, self.state.exported = changed, exported
        return output

    def dispatch(self, args: list[Arg], stdin: str | None, where: Where) -> str:
        """Run a command whose words are expanded."""
        if not self.step(where):
            return HOLE
        if self.steps[1] >= MAX_WRAPPERS:
            return self.opaque("commands within commands, nested too deeply", where)
        self.steps[1] += 1
        output = self._dispatch(args, stdin, where)
        self.steps[1] -= 1
        return output

    def _dispatch(self, args: list[Arg], stdin: str | None, where: Where) -> str:
        head, rest = args[0], args[1:]
        if not head.known:
            if self.state.script:  # "$CC" and its like: as unknown as the script would be, unread
                return programs.unknown(self, Call(head.text, rest, None, where, stdin), head.text)
            return self.executes_unknown("the program's name is computed and not known", where, head.text)
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
        call = Call(name.rpartition("/")[2], args, None, where, stdin)
        return self.followed(call, lambda: self.strictly(call, lambda: self._program(name, args, stdin, where)))

    def strictly(self, call: Call, action: Callable[[], str]) -> str:
        """Run a program; look also at the variables that it reads and at the project's own rules."""
        strict = [found for found in project_rules.of(self) if call.name in found.tables]
        heard = environment.heard(self, call.name)
        if not strict and not heard:
            return action()
        outer, self.record.tier = self.record.tier, SAFE
        output = action()
        known, self.record.tier = self.record.tier, highest([outer, self.record.tier])
        for variable, value in heard:
            environment.weigh(self, variable, value, call.where, known)
        for found in strict:
            project_rules.beside(self, call, found, known)
        return output

    def _program(self, name: str, args: list[Arg], stdin: str | None, where: Where) -> str:
        builtin = builtins.BUILTINS.get(name)
        if builtin is not None:
            self.record.programs[name] = None
            rule = rules.find(name)
            self._called(name, args, rule)
            return builtin(self, Call(name, args, rule, where, stdin))
        base, trusted = self._trust(name)
        rule = rules.find(base)
        self.record.programs[base if rule else name] = None
        call = Call(base, args, rule, where, stdin)
        self._called(base if rule and trusted else name, args, rule)
        if rule is None or (not trusted and not rule.local):
            output = self._script(name, args, stdin, where) if "/" in name else None
            if output is not None:
                return output
            output = programs.unknown(self, call, name)
            if rule is not None:
                programs.apply(self, call)
            elif (handle := self.state.functions.get("command_not_found_handle")) is not None and "/" not in name:
                self.call(handle, [name, *call.texts()], stdin)
            return output
        before = self.record.tier
        output = programs.apply(self, call)
        if trusted and rule.settings and programs.prints_settings(call, rule):
            return programs.SETTINGS
        if not trusted and before.rank < SEQUENTIAL.rank and self.record.tier.rank < CONDITIONAL.rank:
            programs.unknown(self, call, name)
        return output

    def _script(self, name: str, args: list[Arg], stdin: str | None, where: Where) -> str | None:
        """Execute a file that is named by its path; None where what it holds is not known."""
        path = self.absolute(name)
        return None if path is None else scripts.execute(self, path, args, where, stdin)

    def _called(self, name: str, args: list[Arg], rule: Rule | None) -> None:
        """Note the form of a call, for the fingerprint."""
        if len(self.record.calls) < MAX_CALLS:
            path = self._file(name) if "/" in name else None
            self.record.calls[form(path or name, args, rule, self._file)] = None

    def _file(self, text: str) -> str | None:
        path = self.absolute(text)
        return None if path is None else self.facts.resolve(path)

    def _trust(self, name: str) -> tuple[str, bool]:
        """Return the name to look up and whether it is the system's program."""
        directory, slash, base = name.rpartition("/")
        if slash:
            return base, directory in _STANDARD
        if self.state.path_changed:
            return name, False
        if any(self.facts.kind(f"{prefix}/{name}") != "missing" for prefix in self.state.prefixes):
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


def _number(arg: Arg) -> bool:
    """Whether a word is the number of a process of this text, which is one word whatever it is."""
    return arg.text == HOLE + marks.OWN and not arg.many


def _matched(arg: Arg) -> bool:
    """Whether a word is a pattern of names that are no options."""
    return arg.pattern and not arg.many and HOLE not in arg.text and arg.text[0] not in "*?[-(" and "(" not in arg.text


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
