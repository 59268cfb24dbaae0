"""The files that a patch is about, by its own lines."""

from __future__ import annotations

import re

from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.words import HOLE

# A name ends at a tab, behind which a time stands; git quotes odd names, and those are not read.
_NAMED = expression(r"^(?:---|\+\+\+|\*\*\*|Index:|(?:rename|copy) (?:from|to)) ([^\t\n]+)", re.MULTILINE)
_BOTH = expression(r"^diff --git (\S+) (\S+)$", re.MULTILINE)
_HUNK = expression(r"^\*\*\* [0-9]+(?:,[0-9]+)? \*\*\*\*")
_BY_NAME = expression(r"^(?:rename|copy) (?:from|to) ([^\t\n]+)", re.MULTILINE)


def files(text: str, strip: int | None) -> tuple[str, ...] | None:
    """Return the files that a patch may change, ``strip`` directories taken off; None where that cannot be told.

    Without ``strip`` it is patch's own choice: the whole name where its directory is there, else the last part.
    """
    if HOLE in text:
        return None
    named = [
        name.rstrip()
        for line in text.splitlines()
        if not _HUNK.match(line)
        for name in _names(line)
        if name.rstrip() != "/dev/null"
    ]
    whole = set(_BY_NAME.findall(text))
    if not named or any(name.startswith('"') or ".." in name.split("/") for name in named):
        return None
    found: dict[str, None] = {}
    for name in named:
        if name in whole:
            found[name] = None
        elif strip is None:
            found |= {name: None, name.rpartition("/")[2]: None}
        else:
            parts = re.sub(r"/+", "/", name).split("/")
            if len(parts) > strip:
                found["/".join(parts[strip:])] = None
    return tuple(found) or None


def _names(line: str) -> list[str]:
    both = _BOTH.match(line)
    if both:
        return list(both.groups())
    found = _NAMED.match(line)
    return [found.group(1)] if found else []
