"""The examples that rule files carry: each is a command and the tier that it has to have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from cbx_sandbox.shell.tiers import SHORT, Tier

if TYPE_CHECKING:
    from collections.abc import Iterator


class Example(Struct, frozen=True):
    """A command, its tier, and the path of tables at which a file says so."""

    command: str
    tier: Tier
    path: tuple[str, ...]


def of(tables: dict[str, Any]) -> Iterator[Example]:
    """Yield the examples of the programs in a file, those of subcommands too."""
    for key, table in tables.items():
        yield from _within(table, (key,))


def _within(table: dict[str, Any], path: tuple[str, ...]) -> Iterator[Example]:
    for command, tier in table.get("examples", {}).items():
        yield Example(command, SHORT[tier], (*path, "examples", command))
    for name, sub in table.get("sub", {}).items():
        yield from _within(sub, (*path, "sub", name))
