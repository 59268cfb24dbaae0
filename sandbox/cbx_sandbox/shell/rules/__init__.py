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
    extend     true: what is not said here is as in the rule that an earlier file has for the program; options,
               subcommands and conditions are added to its own
    examples   { "the command" = "tier" }, which are tests
"""

from __future__ import annotations

import tomllib
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from cbx_sandbox.shell import bundled
from cbx_sandbox.shell.rules import reading
from cbx_sandbox.shell.rules.catalogue import Catalogue, RuleFile
from cbx_sandbox.shell.rules.model import HELP, Option, Rule, When
from cbx_sandbox.shell.rules.reading import fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbx_sandbox.shell.rules.catalogue import Definition

__all__ = ["HELP", "Option", "Rule", "RuleFile", "When", "fields", "find"]

ENVIRONMENT = "environment.toml"
# A file each, in the order in which they count.
FAMILIES = ("archives", "build", "containers", "files", "git", "network", "packages", "programs", "system", "text")

_added: tuple[RuleFile, ...] = ()


# Counts how often other files came into force. What is remembered is remembered of one of them: a thread that was still
# at work with earlier ones remembers nothing for who asks later.
_edition = 0


def find(name: str) -> Rule | None:
    """Return the rule of a program."""
    return _find(name, _edition)


@lru_cache(maxsize=4096)
def _find(name: str, edition: int) -> Rule | None:
    return _catalogue(edition).find(name)


def names() -> tuple[str, ...]:
    """Return every program that has a rule; some are patterns."""
    return _catalogue(_edition).names()


def definitions(name: str) -> tuple[Definition, ...]:
    """Return where the rule of a program comes from: what counts last, after what it extends or replaces."""
    return _catalogue(_edition).definitions(name)


def added() -> tuple[RuleFile, ...]:
    """Return the files in force besides cbx's own."""
    return _added


@cache
def own() -> tuple[RuleFile, ...]:
    """Return cbx's own files."""
    return tuple(RuleFile(f"{family}.toml", bundled.text(__name__, f"{family}.toml")) for family in FAMILIES)


def extend(text: str, source: str = "a drop-in") -> None:
    """Add the rules of a drop-in file; they replace or extend those of the same programs.

    Raises ``ValueError`` (``tomllib.TOMLDecodeError`` is one) or ``KeyError`` where the text is no rule file; then
    nothing is added.
    """
    for key, table in tomllib.loads(text).items():
        reading.rule(key.split()[0], table)
    use((*_added, RuleFile(source, text)))


def use(added_files: Sequence[RuleFile]) -> None:
    """Have these files in force besides cbx's own, later over earlier; each has to be a rule file."""
    global _added, _edition  # noqa: PLW0603  # one set of rules is in force for everybody
    _added = tuple(added_files)
    _edition += 1


def forget() -> None:
    """Have cbx's own rules alone in force."""
    use(())


@lru_cache(maxsize=2)
def _catalogue(edition: int) -> Catalogue:  # noqa: ARG001  # the key
    return Catalogue((*own(), *_added))


@cache
def environment() -> dict[str, Any]:
    """Return what is known about variables that make programs run something."""
    return tomllib.loads(bundled.text(__name__, ENVIRONMENT))
