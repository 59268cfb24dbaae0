"""A rule as a value: a program, its options and its subcommands."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct, field

from cbx_sandbox.shell.tiers import Tier

_RISKY_ROLES = frozenset(
    {"write", "under", "prefix", "append", "create", "delete", "run", "exec", "attached-write", "attached-run", "rest"}
)


class Option(Struct, frozen=True):
    """What an option does: arity 0, 1 or -1 (only attached), the role of its argument, and a tier that it asks for.

    ``flag`` ``value`` ``read`` ``write`` ``under`` (writes in a directory) ``prefix`` (writes what begins so)
    ``append`` ``create`` ``dir`` (changes directory) ``run`` (shell text) ``exec`` (a program) ``scratch`` (temporary
    files) ``attached`` (argument only as ``-ox`` or ``--o=x``) ``rest`` (a command follows); alone or before it with
    ``!``, a tier: ``dangerous``, ``value!sequential``.
    """

    arity: int
    role: str
    tier: Tier | None = None

    @property
    def risky(self) -> bool:
        """Whether the option makes more of a read-only program."""
        return self.tier is not None or self.role in _RISKY_ROLES


class When(Struct, frozen=True):
    """A condition on the command line and the keys that it replaces."""

    has: tuple[str, ...]
    lacks: tuple[str, ...]
    first: tuple[str, ...]
    least: int
    most: int
    changes: dict[str, Any]


class Rule(Struct, frozen=True):
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
    settings: tuple[str, ...] = ()  # first words with which it prints settings for a shell to evaluate
    local: bool = False
    default: str = ""  # the operand that stands in where none is given
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
