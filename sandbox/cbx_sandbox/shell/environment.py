"""Variables that make programs run, load or write something: set in a command, or inherited by it.

Which they are, and who reads them, is in rules/environment.toml.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from cbx_sandbox.shell import rules
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.tiers import CONDITIONAL, DANGEROUS, SAFE, SEQUENTIAL, Tier
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.state import Where

_LESS_LOOKS = expression(r"(?:-?[aAcCdeEfFgGiIJKLmMnNqQrRsSuUVwWX]++ ?)*+")  # none of them writes or takes a text
KINDS = ("run", "input", "code", "options", "prompt", "function", "writes")
AT_ONCE, WHEN_READ = "at-once", "when-read"


class Variable(Struct, frozen=True):
    """What a variable does to the programs that read it; ``*`` is every program. ``late``: not before one is run."""

    kind: str
    programs: frozenset[str]
    late: bool

    def read_by(self, program: str) -> bool:
        """Whether a program reads it."""
        return "*" in self.programs or program in self.programs


@cache
def _table() -> tuple[dict[str, Variable], tuple[tuple[str, Variable], ...]]:
    """Return the variables by name, and those that stand for all names with a beginning."""
    whole: dict[str, Variable] = {}
    beginnings: list[tuple[str, Variable]] = []
    for moment, kinds in rules.environment().items():
        if moment not in {AT_ONCE, WHEN_READ}:
            continue
        for kind, entries in kinds.items():
            for names, programs in entries.items():
                variable = Variable(kind, frozenset(programs.split()), moment == WHEN_READ)
                for name in names.split():
                    if name.endswith("*"):
                        beginnings.append((name[:-1], variable))
                    else:
                        whole[name] = variable
    return whole, tuple(beginnings)


@cache
def _beginnings() -> tuple[str, ...]:
    return tuple(beginning for beginning, _ in _table()[1])


@lru_cache(maxsize=4096)
def known(name: str) -> Variable | None:
    """Return what is known about a variable."""
    whole, beginnings = _table()
    found = whole.get(name)
    if found is None and name.startswith(_beginnings()):
        found = next((variable for beginning, variable in beginnings if name.startswith(beginning)), None)
    return found


def read_by(program: str) -> dict[str, Variable]:
    """Return the variables that a program reads, without those that every program does; for people."""
    whole, beginnings = _table()
    entries: Iterable[tuple[str, Variable]] = [
        *whole.items(),
        *((f"{name}*", variable) for name, variable in beginnings),
    ]
    return {name: variable for name, variable in entries if program in variable.programs}


@cache
def standard_path() -> frozenset[str]:
    """Return the directories that a PATH may name and still find the system's programs."""
    return frozenset(str(rules.environment()["standard_path"]).split())


_COMMAND_TABLES = frozenset({"BASH_CMDS", "BASH_ALIASES"})  # what is put there the shell runs by that name


def assigned(run: Interpreter, name: str, value: str, where: Where) -> None:
    """Look at a variable that a command sets."""
    run.record.trail.assigns(name, value, where)
    if name.partition("[")[0] in _COMMAND_TABLES:
        run.record.reason("hash", "changes which programs names mean", DANGEROUS, where)
        run.state.path_changed = True
        return
    if name == "PATH":
        inherited = run.facts.env.get("PATH", HOLE)
        run.state.path_changed = not all(
            part in standard_path() or part == inherited or part in run.facts.path for part in value.split(":")
        )
        return
    variable = known(name)
    if variable is not None and not variable.late and value and not _usual(name, value):
        _act(run, name, variable, value, where)


def inherited(run: Interpreter) -> dict[str, str]:
    """Return those variables of the environment that make some program do something."""
    return dict(_telling(run.facts.env))


def _telling(variables: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in variables.items() if value and known(name) is not None)


def heard(run: Interpreter, program: str) -> list[tuple[str, str]]:
    """Return the variables that a program is about to read and that were not looked at when they were set."""
    found: list[tuple[str, str]] = []
    state = run.state.variables
    for name, value in run.inherited.items():
        variable = known(name)
        if name in state or variable is None or name == "HOME":  # where home is, the facts know
            continue
        if variable.read_by(program) and not _usual(name, value):
            found.append((name, value))
    for name, value in _telling(state):
        variable = known(name)
        if variable is not None and variable.late and variable.read_by(program) and not _usual(name, value):
            found.append((name, value))
    return found


def shell_begins(run: Interpreter) -> None:
    """Look at what the shell that reads the text reads before it."""
    for name, value in heard(run, "bash"):
        variable = known(name)
        if variable is not None and "bash" in variable.programs:
            weigh(run, name, value, (-1, -1), SAFE)


def _usual(name: str, value: str) -> bool:
    """Whether a value is one that everybody has: a login shell."""
    if name == "SHELL":
        directory, _, base = value.rpartition("/")
        rule = rules.find(base)
        return directory in standard_path() and rule is not None and rule.handler == "shell"
    return name == "LESS" and _LESS_LOOKS.fullmatch(value) is not None


def weigh(run: Interpreter, name: str, value: str, where: Where, tier: Tier) -> None:
    """Note what a variable makes of a program that reads it and that is in a tier without it."""
    variable = known(name)
    assert variable is not None
    # What runs the project's code may load more code: it can change no more than it could.
    if variable.kind not in {"code", "options"} or not variable.late or tier.rank < CONDITIONAL.rank:
        _act(run, name, variable, value, where)


def _act(run: Interpreter, name: str, variable: Variable, value: str, where: Where) -> None:
    kind = variable.kind
    if kind in {"run", "input"}:
        text = value.lstrip("|- ").replace("%s", "./cbx-name").replace("%%", "%") if kind == "input" else value
        if HOLE in text:
            run.record.reason("variable-runs", f"{name} names a program that is not known", SEQUENTIAL, where)
        else:
            run.nested(text, where)
    elif kind == "writes":
        # A number or a word turns it on for a descriptor; only a path is a file.
        if "/" in value or HOLE in value:
            run.writes(Arg(value, *where), where)
    elif kind == "prompt":
        if HOLE in value:
            run.record.reason("variable-runs", f"{name} may run what is not known", SEQUENTIAL, where)
        elif "$(" in value or "`" in value:
            run.nested(f'echo "{value}"', where)
    else:
        run.record.reason("variable-loads", f"{name} changes what programs load or do", SEQUENTIAL, where)
        if HOLE in value:
            return
        if kind == "function":
            run.nested(f"cbx_function {value}\ncbx_function", where)
        elif name.startswith("GIT_CONFIG_VALUE_"):
            run.nested(value.removeprefix("!"), where)
