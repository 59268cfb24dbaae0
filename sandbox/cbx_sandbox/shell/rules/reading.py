"""From a TOML table to a rule."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from cbx_sandbox.shell.rules.model import Option, Rule, When
from cbx_sandbox.shell.tiers import SHORT

_TIER_FLAGS = frozenset({"conditional", "sequential", "dangerous"})
ARITY = dict.fromkeys("value read write under prefix append create delete dir run exec scratch host".split(), 1)
ARITY |= {"flag": 0, "help": 0, "rest": 0, "attached": -1, "attached-write": -1, "attached-run": -1}


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _option(spec: str) -> Option:
    role, _, tier = spec.partition("!")
    if role in _TIER_FLAGS:
        return Option(0, "flag", SHORT[role])
    return Option(ARITY[role], role, SHORT[tier] if tier else None)


def _options(table: dict[str, str]) -> dict[str, Option]:
    found: dict[str, Option] = {}
    for spellings, spec in table.items():
        option = _option(spec)
        for spelling in spellings.split():
            found[spelling] = option
    return found


_SIMPLE = {
    "default": str,
    "why": str,
    "cost": str,
    "style": str,
    "wrap": int,
    "handler": str,
    "local": bool,
    "processes": bool,
    "host": str,
}
_LISTS = ("operands", "caches", "resources", "settings")
# What a condition can replace.
REPLACED = frozenset({*_SIMPLE, *_LISTS, "tier", "unknown", "writes", "network", "benign"})


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


def rule(name: str, table: dict[str, Any], *, parent: Rule | None = None, base: Rule | None = None) -> Rule:
    """Read the table of a program or of a subcommand of ``parent``; what it does not say is as in ``base``."""
    values = fields(table)
    options = dict(base.options if base else parent.options if parent else {})
    options.update(_options(table.get("options", {})))
    if parent is not None and base is None:
        for key in ("cost", "style", "network", "resources", "local", "caches", "processes"):
            values.setdefault(key, getattr(parent, key))
    whens = tuple(_when(entry) for entry in table.get("when", ())) + (base.whens if base else ())
    for when in whens:  # so that a longer option does not pass for them
        for spelling in (*when.has, *when.lacks):
            options.setdefault(spelling, Option(0, "flag"))
    values |= {"name": name, "options": options, "whens": whens, "examples": tuple(table.get("examples", {}).items())}
    made = replace(base, **values) if base else Rule(**values)
    subs = _subs(made, table.get("sub", {}), base)
    risky = bool(subs) or any(option.risky for option in options.values())
    risky = risky or any(SHORT[when.changes.get("tier", "safe")].rank > made.tier.rank for when in whens)
    return replace(made, subs=subs, risky=risky)


def _subs(parent: Rule, table: dict[str, Any], base: Rule | None) -> dict[str, Rule]:
    subs: dict[str, Rule] = {}
    if base is not None:
        for spelling, sub in base.subs.items():
            # What a subcommand had from the program changes with the program; what it says itself stays.
            kept = {key: option for key, option in sub.options.items() if base.options.get(key) != option}
            subs[spelling] = replace(sub, options={**sub.options, **parent.options, **kept})
    for spellings, entry in table.items():
        words = spellings.split()
        shared = rule(f"{parent.name} {words[0]}", entry, parent=parent) if base is None else None
        for spelling in words:
            subs[spelling] = shared or rule(f"{parent.name} {spelling}", entry, parent=parent, base=subs.get(spelling))
    return subs


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
