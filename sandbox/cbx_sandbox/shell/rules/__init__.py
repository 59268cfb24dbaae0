"""What programs do, as data: one TOML file per family, read a program at a time when it is first met.

A top-level table names one or more programs. Its keys:

    tier       safe | conditional | sequential | dangerous        (sequential where it is not given)
    why        a line for the reason
    operands   what the words that are no options are: "read*", "read* write", "text read*", "delete*", …
    options    "-o --output" = "write"; see ``Option``
    sub        tables for subcommands, with the same keys; names may be patterns ("describe-*")
    when       a list of tables; the first whose condition holds replaces keys: has = "-c --stdout", lacks = …,
               max = 0 / min = 2 (number of operands), first = "list show" (the first operand)
    writes     directories written besides: "project", "cwd", "git", "~/.npm", "/var/lib/x"
    caches     the same, where the tool locks the cache itself
    network    true, or "operand" where the first operand is the host
    host       process | service | kernel | network | daemon: acts on the host itself
    processes  true: reads the host's processes
    resources  names of shared things
    benign     exit statuses that mean no failure
    cost       a class of ``estimate``
    style      gnu | word (-name is one option) | keys (key=value) | none
    wrap       how many operands stand before the command that it runs
    handler    the code that knows more than the rule can say
    local      true: the project's own copy (./gradlew, .venv/bin/x, node_modules/.bin/x) is meant as well
    unknown    what an argument that is not known makes of it: the tier, where it is more than sequential
    examples   { "the command" = "tier" }, which are tests
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from cbx_sandbox.shell.tiers import SHORT, Tier

_HEADER = re.compile(r'(?m)^\[\[?(?:"([^"]+)"|([A-Za-z0-9_-]+))')
_TIER_FLAGS = frozenset({"conditional", "sequential", "dangerous"})
_ARITY = dict.fromkeys("value read write append create delete dir run exec scratch host".split(), 1)
_ARITY |= {"flag": 0, "help": 0, "rest": 0, "attached": -1, "attached-write": -1, "attached-run": -1}
_RISKY_ROLES = frozenset(
    {"write", "append", "create", "delete", "run", "exec", "attached-write", "attached-run", "rest"}
)


@dataclass(frozen=True, slots=True)
class Option:
    """What an option does: arity 0, 1 or -1 (only attached), the role of its argument, and a tier that it asks for.

    ``flag`` ``value`` ``read`` ``write`` ``append`` ``create`` ``dir`` (changes directory) ``run`` (shell text)
    ``exec`` (a program) ``scratch`` (temporary files) ``attached`` (argument only as ``-ox`` or ``--o=x``) ``rest`` (a
    command follows); alone or before it with ``!``, a tier: ``dangerous``, ``value!sequential``.
    """

    arity: int
    role: str
    tier: Tier | None = None

    @property
    def risky(self) -> bool:
        """Whether the option makes more of a read-only program."""
        return self.tier is not None or self.role in _RISKY_ROLES


@dataclass(frozen=True, slots=True)
class When:
    """A condition on the command line and the keys that it replaces."""

    has: tuple[str, ...]
    lacks: tuple[str, ...]
    first: tuple[str, ...]
    least: int
    most: int
    changes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """One program, or one of its subcommands."""

    name: str
    tier: Tier = Tier.SEQUENTIAL_REQUIRED
    why: str = ""
    operands: tuple[str, ...] = ()
    options: dict[str, Option] = field(default_factory=dict)
    subs: dict[str, Rule] = field(default_factory=dict)
    whens: tuple[When, ...] = ()
    writes: tuple[str, ...] | None = None
    caches: tuple[str, ...] = ()
    network: str = ""
    host: str = ""
    processes: bool = False
    resources: tuple[str, ...] = ()
    benign: frozenset[int] = frozenset()
    cost: str = ""
    style: str = "gnu"
    wrap: int = -1
    handler: str = ""
    local: bool = False
    unknown: Tier | None = None
    examples: tuple[tuple[str, str], ...] = ()
    risky: bool = False

    def sub(self, word: str) -> Rule | None:
        """Find the rule of a subcommand."""
        found = self.subs.get(word)
        if found is None:
            for pattern, rule in self.subs.items():
                if any(c in pattern for c in "*?[") and fnmatchcase(word, pattern):
                    return rule
        return found

    def worst(self) -> Tier:
        """Return the strictest tier that the rule or a subcommand can have."""
        tiers = [self.tier, self.unknown or self.tier, *(sub.worst() for sub in self.subs.values())]
        tiers += [option.tier for option in self.options.values() if option.tier is not None]
        return max(tiers, key=lambda tier: tier.rank)


HELP = Option(0, "help")


@lru_cache(maxsize=4096)
def find(name: str) -> Rule | None:
    """Return the rule of a program."""
    index = _index()
    key = index.get(name)
    if key is None and "." in name:
        key = index.get(name.partition(".")[0] + ".*")
    if key is None:
        return None
    return replace(_compiled(key), name=name)


def names() -> tuple[str, ...]:
    """Return every program that has a rule."""
    return tuple(_index())


_added: list[str] = []


def extend(text: str) -> None:
    """Add the rules of a drop-in file; they replace those of the same programs.

    Raises ``ValueError`` (``tomllib.TOMLDecodeError`` is one) or ``KeyError`` where the text is no rule file; then
    nothing is added.
    """
    for key, table in tomllib.loads(text).items():
        _rule(key.split()[0], table, None)
    _added.append(text)
    for remembered in (_chunks, _index, _compiled, find):
        remembered.cache_clear()


def forget() -> None:
    """Drop every rule that was added."""
    _added.clear()
    for remembered in (_chunks, _index, _compiled, find):
        remembered.cache_clear()


@cache
def _chunks() -> dict[str, str]:
    chunks: dict[str, str] = {}
    for resource in sorted(files(__name__).iterdir(), key=lambda entry: entry.name):
        if resource.name.endswith(".toml") and resource.name != "environment.toml":
            chunks.update(_split(resource.read_text("utf-8")))
    for text in _added:
        for key, chunk in _split(text).items():
            chunks.pop(key, None)  # what comes last wins
            chunks[key] = chunk
    return chunks


def _split(text: str) -> dict[str, str]:
    """Cut a file into the texts of its programs, so that each is parsed when it is first needed."""
    chunks: dict[str, list[str]] = {}
    headers = list(_HEADER.finditer(text))
    for header, following in zip(headers, [*headers[1:], None], strict=True):
        end = following.start() if following else len(text)
        chunks.setdefault(header.group(1) or header.group(2), []).append(text[header.start() : end])
    return {key: "".join(parts) for key, parts in chunks.items()}


@cache
def _index() -> dict[str, str]:
    return {name: key for key in _chunks() for name in key.split()}


@cache
def _compiled(key: str) -> Rule:
    table = tomllib.loads(_chunks()[key])[key]
    return _rule(key.split(maxsplit=1)[0], table, None)


@cache
def environment() -> dict[str, Any]:
    """Return what is known about variables that make programs run something."""
    return tomllib.loads(files(__name__).joinpath("environment.toml").read_text("utf-8"))


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _option(spec: str) -> Option:
    role, _, tier = spec.partition("!")
    if role in _TIER_FLAGS:
        return Option(0, "flag", SHORT[role])
    return Option(_ARITY[role], role, SHORT[tier] if tier else None)


def _options(table: dict[str, str]) -> dict[str, Option]:
    found: dict[str, Option] = {}
    for spellings, spec in table.items():
        option = _option(spec)
        for spelling in spellings.split():
            found[spelling] = option
    return found


_SIMPLE = {
    "why": str,
    "cost": str,
    "style": str,
    "wrap": int,
    "handler": str,
    "local": bool,
    "processes": bool,
    "host": str,
}
_LISTS = ("operands", "caches", "resources")


def fields(table: dict[str, Any]) -> dict[str, Any]:
    """Turn the keys of a table into the fields of a rule."""
    out: dict[str, Any] = {key: kind(table[key]) for key, kind in _SIMPLE.items() if key in table}
    out.update({key: _words(table[key]) for key in _LISTS if key in table})
    if "tier" in table:
        out["tier"] = SHORT[table["tier"]]
    if "unknown" in table:
        out["unknown"] = SHORT[table["unknown"]]
    if "writes" in table:
        out["writes"] = _words(table["writes"])
    if "network" in table:
        out["network"] = "yes" if table["network"] is True else str(table["network"] or "")
    if "benign" in table:
        out["benign"] = frozenset(table["benign"])
    return out


def _rule(name: str, table: dict[str, Any], parent: Rule | None) -> Rule:
    values = fields(table)
    options = dict(parent.options) if parent else {}
    options.update(_options(table.get("options", {})))
    if parent is not None:
        for key in ("cost", "style", "network", "resources", "local", "caches", "processes"):
            values.setdefault(key, getattr(parent, key))
    whens = tuple(_when(entry) for entry in table.get("when", ()))
    for when in whens:  # so that a longer option does not pass for them
        for spelling in (*when.has, *when.lacks):
            options.setdefault(spelling, Option(0, "flag"))
    rule = Rule(
        name=name,
        options=options,
        whens=whens,
        examples=tuple(table.get("examples", {}).items()),
        **values,
    )
    subs: dict[str, Rule] = {}
    for spellings, entry in table.get("sub", {}).items():
        sub = _rule(f"{name} {spellings.split()[0]}", entry, rule)
        for spelling in spellings.split():
            subs[spelling] = sub
    risky = bool(subs) or any(option.risky for option in options.values())
    risky = risky or any(SHORT[when.changes.get("tier", "safe")].rank > rule.tier.rank for when in rule.whens)
    return replace(rule, subs=subs, risky=risky)


def _when(table: dict[str, Any]) -> When:
    conditions = {"has", "lacks", "first", "min", "max"}
    return When(
        has=_words(table.get("has", "")),
        lacks=_words(table.get("lacks", "")),
        first=_words(table.get("first", "")),
        least=int(table.get("min", 0)),
        most=int(table.get("max", 1 << 30)),
        changes={key: value for key, value in table.items() if key not in conditions},
    )
