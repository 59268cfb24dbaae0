"""The tables of the checks, each file read when it is first needed."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from cbx_sandbox.shell import bundled, marks
from cbx_sandbox.shell.checks.model import Finding, finding
from cbx_sandbox.shell.matching import Patterns

if TYPE_CHECKING:
    from collections.abc import Mapping

MARKS = {"secret": marks.SECRET, "private": marks.PRIVATE, "decoded": marks.DECODED}


@cache
def tables(name: str) -> Mapping[str, Any]:
    """Return what a file says."""
    return tomllib.loads(_text(name))


def _text(name: str) -> str:
    return bundled.text(__name__.rpartition(".")[0], f"{name}.toml")


@cache
def patterns(name: str, key: str) -> Patterns:
    """Return the patterns over commands that stand under a key."""
    return Patterns(_text(name), key)


@cache
def words(key: str) -> frozenset[str]:
    """Return a list of programs or options that following text needs."""
    return frozenset(str(tables("flow")[key]).split())


class PathTable(Struct, frozen=True):
    """What it means to read or change the paths that fit."""

    expression: re.Pattern[str]
    found: Finding | None
    mark: str = ""
    whole: bool = False
    append: bool = True
    create: bool = True


@cache
def path_tables(key: str) -> tuple[PathTable, ...]:
    """Return the tables over paths: "read" or "write"."""
    return tuple(
        PathTable(
            re.compile("|".join(table["paths"])),
            finding(table) if "code" in table else None,
            MARKS.get(table.get("mark", ""), ""),
            table.get("whole", False),
            table.get("append", True),
            table.get("create", True),
        )
        for table in tables("paths")[key]
    )


@cache
def traversal() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what climbs, and where that has to lead."""
    table = tables("paths")["traversal"]
    return re.compile(table["climbs"]), re.compile(table["into"])
