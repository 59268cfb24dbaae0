"""make: the makefile is read, and the recipes of the targets are looked at as the shell gets them."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from cbx_sandbox.shell import programs
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.handlers import project_files
from cbx_sandbox.shell.inner import makefile, scripts, sources
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.words import HOLE, Arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.inner.makefile import Makefile
    from cbx_sandbox.shell.options import Parsed
    from cbx_sandbox.shell.rules import Rule

MAX_TARGETS = 200
_VARIABLE = expression(r"([A-Za-z_][\w.-]*)(?::{0,3}|\?|\+)=(.*)$", re.DOTALL)
_SHELLS = expression(r"(?:/bin/|/usr/bin/|/usr/bin/env )?(?:ba|da|z)?sh$")


def _make(run: Interpreter, call: Call, rule: Rule) -> str:
    parsed = parse_options(rule, call.args)
    if not programs.only_help(call, rule) and not parsed.has("-v", "--version"):
        cwd = run.state.cwd
        for given in parsed.options:
            if given.name in {"-C", "--directory"} and given.value is not None:
                run.state.cwd = run.absolute(given.value.text) if given.value.known else None
        whole = _read_makefile(run, call, parsed)
        run.state.cwd = cwd
        if whole:  # what it writes is what its recipes write
            rule = replace(rule, writes=())
    return project_files.as_its_rule_says(run, call, rule)


def _read_makefile(run: Interpreter, call: Call, parsed: Parsed) -> bool:
    """Execute the recipes; return whether these are all that is executed."""
    texts = [given.value for given in parsed.options if given.name in {"-E", "--eval"}]
    found = _makefile(run, call, parsed)
    words = [arg.text for arg in parsed.operands]
    directory = run.state.cwd
    key = f"{found[0]} {' '.join(words)}" if found is not None else ""
    if directory is None or key in run.state.running:
        return False
    table = makefile.Makefile(
        lambda name: _known(run, name),
        lambda name: _included(run, directory, name),
        lambda pattern: _matching(run, directory, pattern),
    )
    goals: list[str] = []
    whole = found is not None and not texts
    for word in words:
        assigned = _VARIABLE.match(word)
        if assigned:
            table.fixed[assigned.group(1)] = assigned.group(2)
        else:
            goals.append(word)
    with scripts.within(run, key):
        if "SHELL" in table.fixed and not _SHELLS.match(table.fixed["SHELL"].strip()):
            run.execute_text(table.fixed["SHELL"], call.where)
        try:
            for value in texts:
                table.read(value.text if value is not None else HOLE)
            if found is not None:
                table.read(found[1])
            whole = _make_targets(run, call, table, goals, directory) and whole
        except makefile.Unreadable as why:
            table.beyond = str(why)
        for text in table.executes:
            project_files.line(run, call, text, directory)
        if table.beyond or (parsed.open and found is not None):
            project_files.beyond(run, call, table.beyond or "what it is told")
            return False
    return whole


def _makefile(run: Interpreter, call: Call, parsed: Parsed) -> tuple[str, str] | None:
    """Return path and text of the makefile; one that is named and cannot be read is more than the rule knows."""
    named = parsed.value("-f", "--file", "--makefile")
    if named is None:
        found = project_files.found(run, ("GNUmakefile", "makefile", "Makefile"), up=False)
    elif named.text in {"-", "/dev/stdin"}:
        found = None if call.stdin is None or HOLE in call.stdin else (named.text, call.stdin)
    else:
        found = project_files.found(run, (named.text,), up=False) if named.known else None
    if found is not None and found[0].startswith("/"):
        run.reads(Arg(found[0], *call.where), call.where)
    if found is None and named is not None:
        project_files.beyond(run, call, named.text)
    return found


def _known(run: Interpreter, name: str) -> str:
    """Return a variable of the environment; one that nobody has set is empty for make."""
    value = run.lookup(name) or ""
    return "" if value == HOLE and name not in run.state.variables else value


def _included(run: Interpreter, directory: str, name: str) -> str | None:
    text = sources.text(run, posixpath.normpath(posixpath.join(directory, name)), sure=False)
    return None if text is None or HOLE in text else text


def _matching(run: Interpreter, directory: str, pattern: str) -> tuple[str, ...]:
    base = directory.rstrip("/") + "/"
    if not any(char in pattern for char in "*?["):
        return (pattern,) if run.facts.kind(posixpath.join(base, pattern)) != "missing" else ()
    return tuple(path.removeprefix(base) for path in run.facts.glob(posixpath.join(base, pattern)))


def _make_targets(run: Interpreter, call: Call, table: Makefile, goals: list[str], directory: str) -> bool:
    """Execute what the goals need; return whether nothing of it is made by a rule of make's own."""
    for name in ("PATH", *sorted(table.exported - {"*"})):
        if name in table.variables and name.isidentifier():
            run.assign(name, table.value(name), call.where)
    first = table.goal()
    whole = True
    for name in _in_order(table, [*table.remade, *(goals or ([first] if first else []))]):
        made = table.find(name)
        if made is None or not made[0].recipe:
            whole = whole and not _built_in(run, directory, name)
        if made is not None:
            _make_target(run, call, table, name, made, directory)
    return whole


_MADE_FROM = frozenset("c cc cpp C p f F m r s S sh y l web w ch o mod def tex texi txi txinfo texinfo".split())
_MADE_OF_OWN = frozenset("o a s dvi info".split())  # endings of what make knows how to make
_GENERATED = {"c": "ylw", "r": "l", "p": "w", "tex": "w"}  # sources that can come from others


def _built_in(run: Interpreter, directory: str, name: str) -> bool:
    """Whether make may know itself how a file is made that has no recipe."""
    stem, _, ending = name.rpartition(".")
    if HOLE in name or ending in _MADE_OF_OWN:
        return True
    froms = [f"{name}.{one}" for one in sorted(_MADE_FROM)] + [f"{stem}.{one}" for one in _GENERATED.get(ending, "")]
    return any(run.facts.kind(posixpath.join(directory, one)) != "missing" for one in froms)


def _in_order(table: Makefile, goals: list[str]) -> list[str]:
    """Return the goals and what they need, the needed before what needs it."""
    order: dict[str, None] = {}
    seen: set[str] = set()
    stack = [(goal, False) for goal in reversed(goals)]
    while stack:
        name, ready = stack.pop()
        if ready:
            order[name] = None
        elif name not in seen:
            if len(seen) >= MAX_TARGETS:
                table.beyond = "more targets than are looked at"
                break
            seen.add(name)
            made = table.find(name)
            stack.append((name, True))
            stack += [(need, False) for need in reversed(made[0].needs if made else [])]
    return list(order)


def _make_target(
    run: Interpreter, call: Call, table: Makefile, name: str, made: tuple[makefile.Target, str], directory: str
) -> None:
    """Execute a recipe; where variables have several values, with one after the other."""
    choices = max((len(values) for values in table.variables.values()), default=1)
    for choice in range(choices):
        table.choice = choice
        if not _SHELLS.match(table.value("SHELL").strip()):
            raise makefile.Unreadable("a shell of its own")
        for line in table.commands(name, *made):
            project_files.line(run, call, line, directory)
    table.choice = 0


HANDLERS: dict[str, Callable[[Interpreter, Call, Rule], str]] = {"make": _make}
