"""A rule as data and as sentences."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from cbx_sandbox.shell import environment, rules
from cbx_sandbox.shell.rules.lines import Lines
from cbx_sandbox.shell.tiers import SHORT
from cbx_supervisor.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbx_sandbox.shell.rules import Option, Rule, When
    from cbx_sandbox.shell.rules.catalogue import Definition

_ROLES = {
    "flag": "changes nothing of this",
    "help": "asks for help alone: nothing is done",
    "value": "takes a value that says nothing of this",
    "read": "reads the file that it names",
    "write": "writes the file that it names",
    "under": "writes beneath the directory that it names",
    "prefix": "writes files whose names begin with what it is given",
    "append": "appends to the file that it names",
    "create": "creates the file that it names",
    "delete": "deletes the file that it names",
    "dir": "works in the directory that it names",
    "run": "executes the shell text that it is given",
    "exec": "executes the program that it names",
    "scratch": "keeps temporary files where it says",
    "host": "connects to the host that it names",
    "rest": "is followed by a command, which is run",
    "attached": "may have a value attached",
    "attached-write": "writes the file that is attached",
    "attached-run": "executes the shell text that is attached",
}
_OPERANDS = {
    "read": "is read",
    "write": "is written",
    "append": "is appended to",
    "create": "is created",
    "delete": "is deleted",
    "text": "is no file",
    "look": "is asked about, not what is in it",
    "tree": "is read with all that is in it",
    "list": "is read, of a directory the names in it",
    "rewrite": "is read and written anew",
    "under": "is changed with all that is in it",
    "prefix": "begins the names of the files that are written",
    "into": "is written, or what is put into it if it is a directory",
    "tree-delete": "is deleted with all that is in it",
    "host": "is a host that it connects to",
    "run": "is executed as shell text",
    "exec": "is executed as a program",
}
_SIDE_BY_SIDE = 70  # columns that names and what is said of them take beside each other
_PLACES = {"project": "the project", "cwd": "the working directory", "git": "git's own directory"}
_KINDS = {
    "run": "runs what it holds",
    "input": "runs what it holds",
    "code": "changes what is loaded",
    "options": "adds options",
    "prompt": "runs the substitutions in it",
    "function": "defines a function",
    "writes": "names a file that is written",
}


def family(source: str) -> str:
    """Return the family that a file of rules is about: its name without directory and ending."""
    return source.rpartition("/")[2].removesuffix(".toml")


def definition(part: Definition) -> dict[str, Any]:
    """Return where a rule comes from as plain JSON values."""
    return {"source": part.source, "line": part.line, "extends": part.extends}


def summary(name: str, rule: Rule) -> dict[str, Any]:
    """Return what a list shows of a rule."""
    parts = rules.definitions(name)
    return {
        "name": name,
        "family": family(parts[0].source),
        "tier": rule.tier.value,
        "worst": rule.worst().value,
        "source": parts[-1].source,
        "line": parts[-1].line,
        "why": rule.why,
    }


def describe(rule: Rule) -> dict[str, Any]:
    """Return a rule as plain JSON values."""
    return {
        "name": rule.name,
        "tier": rule.tier.value,
        "worst": rule.worst().value,
        "why": rule.why,
        "operands": list(rule.operands),
        "options": {
            name: {"role": option.role, "tier": option.tier.value if option.tier else None}
            for name, option in rule.options.items()
        },
        "when": [_condition(when) | {"then": when.changes} for when in rule.whens],
        "writes": None if rule.writes is None else list(rule.writes),
        "caches": list(rule.caches),
        "resources": list(rule.resources),
        "network": rule.network,
        "host": rule.host,
        "reads_processes": rule.processes,
        "benign_exits": sorted(rule.benign),
        "unknown": rule.unknown.value if rule.unknown else None,
        "cost": rule.cost,
        "handler": rule.handler,
        "subcommands": {name: describe(sub) for name, sub in rule.subs.items()},
        "examples": dict(rule.examples),
    }


def whole(program: str, rule: Rule) -> dict[str, Any]:
    """Return all that is known of a program: its rule, where that comes from, and the variables that it reads."""
    parts = rules.definitions(program)
    return describe(rule) | {
        "family": family(parts[0].source),
        "definitions": [definition(part) for part in parts],
        "environment": {name: variable.kind for name, variable in environment.read_by(program).items()},
        "changed": changes(program, rule),
    }


def changes(program: str, rule: Rule) -> list[str]:
    """Return what the administrator's files make of a rule of cbx's own, a line each."""
    if len(rules.definitions(program)) < 2 or not rules.added():
        return []
    added = rules.added()
    rules.forget()
    before = rules.find(program)
    rules.use(added)
    return [] if before is None else list(_differences(describe(before), describe(rule)))


def _differences(before: dict[str, Any], after: dict[str, Any], name: str = "") -> Iterable[str]:
    for key, old in before.items():
        new = after[key]
        if key in {"options", "subcommands"}:
            for word in [*old, *(word for word in new if word not in old)]:
                here = f"{name}{key.removesuffix('s')} {word}"
                if word not in new or word not in old:
                    yield f"{here}: {'added' if word in new else 'gone'}"
                elif key == "options" and old[word] != new[word]:
                    yield f"{here}: {_spelled(old[word])} is now {_spelled(new[word])}"
                elif key == "subcommands":
                    yield from _differences(old[word], new[word], f"{here}, ")
        elif key != "examples" and old != new:
            yield f"{name}{key}: {_spelled(old)} is now {_spelled(new)}"


def _spelled(value: Any) -> str:
    if isinstance(value, dict) and "role" in value:
        return "!".join(part for part in (value["role"], value["tier"]) if part)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return str(value) or "nothing"


# -- sentences ----------------------------------------------------------------------------------------------------


def render(program: str, rule: Rule, width: int | None = None) -> str:
    """Lay out a rule for people; ``program`` is the word that has definitions, the rule may be a subcommand's.

    No line is wider than ``width``, if that is told, but for words that are.
    """
    parts = [*_wrapped(f"{rule.name}: {_tier(rule)}", width), ""]
    parts += [line for sentence in sentences(rule) for line in _wrapped(sentence, width, "  ")]
    for header, rows in (
        ("options", _options(rule)),
        ("conditions, the first that holds", [(_when(when), _then(when)) for when in rule.whens]),
        ("subcommands", _subcommands(rule)),
        ("variables that it reads", _variables(program)),
        ("examples", [(command, SHORT[tier].value) for command, tier in rule.examples]),
        ("where it comes from", _sources(program, rule)),
    ):
        if rows:
            parts += ["", *_wrapped(f"{header}:", width), *_entries(rows, width)]
    changed = changes(program, rule) if rule.name == program else []
    if changed:
        parts += ["", *_wrapped("what the administrator's rules changed:", width)]
        parts += [line for entry in changed for line in _wrapped(output.cell(entry), width, "  ")]
    return "\n".join(part for index, part in enumerate(parts) if part or parts[index - 1])


def _wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    if width is None:
        return [indent + text]
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _entries(rows: list[tuple[str, str]], width: int | None) -> list[str]:
    """Lay out names and what is said of them: side by side where the names are short, else one under the other."""
    room = 34 if width is None or width >= _SIDE_BY_SIDE else 0
    made = []
    for names, said in rows:
        first, *rest = _wrapped(output.cell(names), min(width or 102, 102), "  ")
        what = _wrapped(output.cell(said), width, " " * (room + 4)) or [""]
        if not rest and len(first) <= room + 2:
            made += [f"{first:<{room + 2}}  {what[0].lstrip()}", *what[1:]]
        else:
            made += [first, *rest, *what]
    return made


def _tier(rule: Rule) -> str:
    worst = rule.worst()
    return f"{rule.tier}{'' if worst is rule.tier else f', up to {worst}'}{f': {rule.why}' if rule.why else ''}"


def sentences(rule: Rule) -> list[str]:
    """Say what a rule says beside its tables."""
    said: list[str] = []
    if rule.handler:
        said.append(
            f"Its command line is read by code of its own ({rule.handler}): more can come of it than stands here."
        )
    for index, role in enumerate(rule.operands):
        which = "Each operand" if len(rule.operands) == 1 and role.endswith("*") else f"Operand {index + 1}"
        which = f"{which} and those that follow" if role.endswith("*") and len(rule.operands) > 1 else which
        said.append(f"{which} {_OPERANDS[role.removesuffix('*')]}.")
    if rule.writes:
        said.append(f"It writes in {_listed(_PLACES.get(place, place) for place in rule.writes)}.")
    elif rule.writes is None and rule.tier.rank and not rule.operands and not rule.host:
        said.append("What it writes is not said: the project.")
    if rule.caches:
        said.append(f"It keeps caches, which it locks itself, in {_listed(rule.caches)}.")
    if rule.resources:
        said.append(f"It shares {_listed(rule.resources)} with other commands.")
    if rule.network:
        said.append(
            "Its first operand is the host that it connects to."
            if rule.network == "operand"
            else "It uses the network."
        )
    if rule.host:
        said.append(f"It acts on the host itself ({rule.host}), which cannot be rolled back: it is refused.")
    if rule.processes:
        said.append("It looks at the host's processes.")
    if rule.benign:
        said.append(f"Exit status {_listed(map(str, sorted(rule.benign)))} is no failure.")
    if rule.unknown:
        said.append(f"An argument that is not known makes it {rule.unknown}.")
    return said


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _options(rule: Rule) -> list[tuple[str, str]]:
    grouped: dict[Option, list[str]] = {}
    for name, option in rule.options.items():
        grouped.setdefault(option, []).append(name)
    rows = []
    for option, names in grouped.items():
        does = _ROLES[option.role]
        if option.tier is not None:
            does = f"makes it {option.tier}" + ("" if option.role in {"flag", "value"} else f", {does}")
        rows.append((" ".join(names), does))
    return sorted(rows, key=lambda row: ("nothing of this" in row[1], row[0].lstrip("-").lower()))


def _condition(when: When) -> dict[str, Any]:
    return {
        key: value
        for key, value in (
            ("has", list(when.has)),
            ("lacks", list(when.lacks)),
            ("first", list(when.first)),
            ("min", when.least),
            ("max", when.most if when.most < 1 << 30 else None),
        )
        if value not in ([], None) and (key, value) != ("min", 0)
    }


def _when(when: When) -> str:
    said = [f"with {' '.join(when.has)}" if when.has else "", f"without {' '.join(when.lacks)}" if when.lacks else ""]
    if when.first:
        said.append(f"the first operand is {' or '.join(when.first)}")
    if when.most < 1 << 30:
        said.append(f"{when.least} to {when.most} operands" if when.least else f"at most {when.most} operands")
        said[-1] = said[-1].replace("at most 0", "no")
    elif when.least:
        said.append(f"at least {when.least} operands")
    return ", ".join(part for part in said if part)


def _then(when: When) -> str:
    return ", ".join(f"{key}: {_spelled(value)}" for key, value in when.changes.items())


def _subcommands(rule: Rule) -> list[tuple[str, str]]:
    grouped: dict[int, tuple[list[str], Rule]] = {}
    for name, sub in rule.subs.items():
        grouped.setdefault(id(sub), ([], sub))[0].append(name)
    return [(" ".join(names), _tier(sub)) for names, sub in grouped.values()]


def _variables(program: str) -> list[tuple[str, str]]:
    grouped: dict[str, list[str]] = {}
    for name, variable in environment.read_by(program).items():
        grouped.setdefault(_KINDS[variable.kind], []).append(name)
    return [(" ".join(names), does) for does, names in grouped.items()]


def _sources(program: str, rule: Rule) -> list[tuple[str, str]]:
    said = []
    for index, part in enumerate(rules.definitions(program)):
        how = "begins it" if index == 0 else "extends it" if part.extends else "replaces it"
        path = _path(part.table, rule.name.split()[1:]) if rule.name != program else ()
        if path is not None:
            said.append((f"{part.source}:{part.line - 1 + Lines(part.text).of((part.key, *path))}", how))
    return said


def _path(table: dict[str, Any], words: list[str]) -> tuple[str, ...] | None:
    """Return the path of tables of a subcommand, None where a file says nothing of it."""
    path: tuple[str, ...] = ()
    for word in words:
        spelled = next((key for key in table.get("sub", {}) if word in key.split()), None)
        if spelled is None:
            return None
        path, table = (*path, "sub", spelled), table["sub"][spelled]
    return path
