"""Regular expressions that are compiled when they are first used: of a hundred, one command needs a few."""

from __future__ import annotations

import re
from typing import Any, cast

_METHODS = ("findall", "finditer", "fullmatch", "match", "search", "split", "sub")


def expression(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Return what behaves as ``re.compile(pattern, flags)`` does; a pattern that is none is found at its first use."""
    return cast("re.Pattern[str]", Lazy(pattern, flags))


class Lazy:
    """A pattern that has not been compiled, until one of its methods is asked for."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._source = pattern
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        """Compile, and keep the methods where they are found without asking here again."""
        compiled = re.compile(self._source, self._flags)
        for method in _METHODS:
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)
