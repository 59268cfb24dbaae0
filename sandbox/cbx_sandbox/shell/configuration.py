"""Configuration that programs read without being told to, by the lines of configuration.toml."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from cbx_sandbox.shell import bundled
from cbx_sandbox.shell.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Mapping

# Every line of the file is "programs" = "places": a parser of TOML takes longer.
_LINE = expression(r'(?m)^"([^"]+)" = "([^"]+)"$')


def places(program: str) -> tuple[str, ...]:
    """Return what a program reads by itself; a slash ends a directory that is read with all that is in it."""
    return _places().get(program, ())


@cache
def _places() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for programs, paths in _LINE.findall(text()):
        for program in programs.split():
            found[program] = (*found.get(program, ()), *paths.split())
    return found


def text() -> str:
    """Return the text of the file."""
    return bundled.text(__name__.rpartition(".")[0], "configuration.toml")
