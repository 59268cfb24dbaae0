"""The text of a file as it will be when it is executed, and the program that its first line names."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from cbx_sandbox.shell import marks
from cbx_sandbox.shell.effects import Access, Certainty
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from cbx_sandbox.shell.effects import PathEffect
    from cbx_sandbox.shell.paths import Paths

MAX_BYTES = 256 << 10
MAX_FILES = 40  # files that are read for one text

_FIRST_LINE = expression(r"#![ \t]*(\S+)(?:[ \t]+(.*?))?[ \t]*$")


def text(run: Paths, path: str, *, sure: bool = True, nul: bool = False, limit: int = MAX_BYTES) -> str | None:
    """Return what a file will hold, with a HOLE where this text writes what is not known; None where it cannot be had.

    What this text may have changed before is as good as not to be had, unless a guess will do: with ``sure`` off.
    A file with a NUL in it is no text to be executed; ``nul`` says that it may be a list of names.
    """
    written = run.state.files.get(path)
    if written is not None:
        return written
    if run.state.remote or (sure and changed(run, path)):
        return None
    real = run.facts.resolve(path)
    if run.facts.kind(real) == "dir" or len(run.record.sources) >= MAX_FILES:
        return None
    found = run.facts.text(real, limit)
    if (
        found is None
        or ("\0" in found and not nul)
        or any(mark in found for mark in (HOLE, marks.PART, marks.DEEP, *marks.ALL))
    ):
        return None
    run.record.sources[path] = None
    return found


def changed(run: Paths, path: str) -> bool:
    """Whether something before may have changed a file, and not as this text knows."""
    if path in run.state.files:
        return False
    paths = {path, run.facts.resolve(path)}
    return any(_covers(effect, paths) for effect in run.record.paths.values() if effect.access is not Access.READ)


def _covers(effect: PathEffect, paths: set[str]) -> bool:
    if effect.certainty is Certainty.LITERAL:
        return effect.path in paths
    base = effect.path
    if effect.certainty is Certainty.PATTERN:
        base = posixpath.dirname(re.split(r"[*?\[]", base, maxsplit=1)[0]) or "/"
    inside = base.rstrip("/") + "/"
    return any(path == base or path.startswith(inside) for path in paths)


def interpreter(text: str) -> list[str] | None:
    """Return the words of the first line after ``#!``; none where there is no such line, None where it is odd."""
    if not text.startswith("#!"):
        return []
    found = _FIRST_LINE.match(text.partition("\n")[0])
    if found is None:
        return None
    program, argument = found.groups()
    if program.rpartition("/")[2] == "env":
        words = (argument or "").split()
        if words[:1] == ["-S"]:
            words = words[1:]
        return words if words and not any(word.startswith("-") or "=" in word for word in words[:1]) else None
    return [program, argument] if argument else [program]
