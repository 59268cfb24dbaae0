"""A repository's own rules. Whoever wrote the repository wrote them, so they can only make things stricter.

They are worked out beside cbx's own rules and never instead of them: what they find is added to what is known. Only
what takes from a job is taken over: a higher tier, paths read, host effects (which are refused), shared things. What
would give it something is not: a write outside the project, the network, a look at the host's processes.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from cbx_sandbox.shell import rules
from cbx_sandbox.shell.effects import Access
from cbx_sandbox.shell.options import parse_options
from cbx_sandbox.shell.rules import HELP, reading
from cbx_sandbox.shell.state import Record
from cbx_sandbox.shell.tiers import CONDITIONAL, SAFE, SEQUENTIAL, SHORT, Reason, Tier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbx_sandbox.shell.infer import Call, Interpreter
    from cbx_sandbox.shell.rules import Option, Rule

FILE = ".cbx-rules.toml"
MAX_BYTES = 16 << 10  # read and parsed at every command of that project, by a daemon that serves others
MAX_WHY = 200  # characters of a reason

# What a project may say; the rest of a rule's keys would loosen something.
ALLOWED = frozenset("tier why operands options sub when writes host resources unknown style examples".split())
_CONDITIONS = frozenset("has lacks first min max".split())


class ProjectRules(Struct, frozen=True):
    """What a project says of its programs: the tables by name; ``ignored`` are keys that it has no say in."""

    tables: dict[str, dict[str, Any]]
    ignored: dict[str, tuple[str, ...]]
    problem: str = ""


@lru_cache(maxsize=32)
def read(text: str) -> ProjectRules:
    """Read the text of a project's file; one with a mistake says nothing but that."""
    from cbx_sandbox.shell.handlers import HANDLERS  # noqa: PLC0415 -- handlers run programs again
    from cbx_sandbox.shell.rules import checking  # noqa: PLC0415 -- most projects have no rules of their own

    if any(line.count(".") > 40 for line in text.splitlines() if line.lstrip().startswith("[")):
        return ProjectRules({}, {}, "nested too deeply")
    found = checking.problems(text, HANDLERS)
    if found:
        first = found[0]
        return ProjectRules({}, {}, f"line {first.line}: {first.where} {first.text}"[:MAX_WHY])
    tables: dict[str, dict[str, Any]] = {}
    ignored: dict[str, tuple[str, ...]] = {}
    for key, table in tomllib.loads(text).items():
        for name in key.split():
            tables[name] = table
            ignored[name] = tuple(dict.fromkeys(_ignored(table)))
    return ProjectRules(tables, ignored)


def too_long(text: str) -> str:
    """Say that a file is longer than what is read of a project, or nothing."""
    return f"longer than {MAX_BYTES >> 10} KiB: it is not used" if len(text.encode()) > MAX_BYTES else ""


def _ignored(table: dict[str, Any]) -> Iterator[str]:
    yield from (key for key in table if key not in ALLOWED)
    for when in table.get("when", ()):
        yield from (key for key in when if key not in ALLOWED | _CONDITIONS)
    for sub in table.get("sub", {}).values():
        yield from _ignored(sub)


def of(run: Interpreter) -> Iterator[ProjectRules]:
    """Yield the rules of the project that the command was given in, and of the one that it has gone to."""
    facts = run.facts
    for root in dict.fromkeys((facts.project_root(facts.cwd), run.project())):
        path = f"{root.rstrip('/')}/{FILE}"
        kind = facts.kind(path)
        if kind == "missing":
            continue
        text = facts.text(path, MAX_BYTES) if kind == "file" else None
        if text is None:
            what = f"longer than {MAX_BYTES >> 10} KiB or not readable" if kind == "file" else "no regular file"
            found = ProjectRules({}, {}, f"it is {what}")
        else:
            found = read(text)
        if found.problem:
            run.record.reason("project-rules", f"{FILE} is not used: {found.problem}", SAFE, (-1, -1))
        yield found


def beside(run: Interpreter, call: Call, found: ProjectRules, known: Tier) -> None:
    """Add what a project says of a program to what is known; ``known`` is the tier that it has without that."""
    table = found.tables[call.name]
    inner = type(run)(run.facts, Record(run.record.offsets), run.state.copy(), nesting=run.nesting + 1)
    inner.steps, inner.anchor, inner.calls = run.steps, call.where, run.calls
    _settle(inner, call, _rule(call.name, table))
    _adopt(run, call, inner.record, known)
    asked = [tier for tier in _asked(table, call.texts()) if tier.rank < known.rank]
    if asked:
        least = min(asked, key=lambda tier: tier.rank)
        text = f"{FILE} asks for {least} for {call.name}: ignored, it can only be stricter"
        run.record.reason("project-rule-ignored", text, SAFE, call.where)
    if found.ignored[call.name]:
        text = f"{FILE} has no say in this for {call.name}: {', '.join(found.ignored[call.name])}"
        run.record.reason("project-rule-ignored", text, SAFE, call.where)


def _settle(run: Interpreter, call: Call, rule: Rule) -> None:
    from cbx_sandbox.shell import programs  # noqa: PLC0415 -- programs are run by the interpreter, which asks here

    parsed = parse_options(rule, call.args, stop=bool(rule.subs))
    if rule.subs and parsed.operands:
        programs.subcommand(run, call, rule, parsed)
    else:
        programs.settle(run, call, rule, parsed)


def _adopt(run: Interpreter, call: Call, found: Record, known: Tier) -> None:
    record = run.record
    for reason in found.reasons:
        tier = reason.tier
        if tier is CONDITIONAL and known is SAFE:
            tier = SEQUENTIAL  # what only read before may not write live files because the project says so
        text = f"{reason.text[:MAX_WHY]} ({FILE})"
        if tier is not SAFE:
            record.adopt(Reason(f"project-{reason.code}"[:MAX_WHY], text, tier, reason.span))
    outside = False
    for (access, path), effect in found.paths.items():
        if access is Access.READ or run.inside_project(path):
            record.paths.setdefault((access, path), effect)
        else:
            outside = True
    record.host += [effect for effect in found.host if effect not in record.host]
    record.checks += found.checks
    record.resources |= found.resources
    record.system += [effect for effect in found.system if effect not in record.system]
    record.opaque = record.opaque or found.opaque
    if outside:
        text = f"{FILE} cannot let {call.name} write outside the project"
        record.reason("project-rule-ignored", text, SAFE, call.where)


def _rule(name: str, table: dict[str, Any]) -> Rule:
    return reading.rule(name, _beside(table, rules.find(name)))


def _beside(table: dict[str, Any], known: Rule | None) -> dict[str, Any]:
    """Return a table whose options are taken apart as those of the known rule, but only do what the table says."""
    made = {key: value for key, value in table.items() if key in ALLOWED}
    made.setdefault("tier", "safe")
    made["why"] = str(table.get("why", "the project's own rule"))[:MAX_WHY]
    options = {} if known is None else {spelling: _neutral(option) for spelling, option in known.options.items()}
    made["options"] = {**options, **table.get("options", {})}
    if known is not None:
        made.setdefault("style", known.style)
    made["when"] = [
        {key: value for key, value in when.items() if key in ALLOWED | _CONDITIONS} for when in table.get("when", ())
    ]
    made["sub"] = {
        word: _beside(sub, None if known is None else known.sub(word))
        for spellings, sub in table.get("sub", {}).items()
        for word in spellings.split()
    }
    return made


def _neutral(option: Option) -> str:
    if option == HELP or option.role == "rest":
        return option.role
    return {1: "value", 0: "flag"}.get(option.arity, "attached")


def _asked(table: dict[str, Any], words: list[str]) -> Iterator[Tier]:
    """Yield the tiers that a table names for a command line."""
    subs = [sub for spellings, sub in table.get("sub", {}).items() if set(spellings.split()) & set(words)]
    for sub in subs:
        yield from _asked(sub, words)
    if "tier" in table and not subs:
        yield SHORT[table["tier"]]
