"""Which file an import means: the directory of the script, or the working directory, comes before the library."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cbx_sandbox.shell.effects import Access, Certainty
from cbx_sandbox.shell.expressions import expression
from cbx_sandbox.shell.inner import sources
from cbx_sandbox.shell.inner.python import modules
from cbx_sandbox.shell.words import HOLE

if TYPE_CHECKING:
    from cbx_sandbox.shell.infer import Interpreter
    from cbx_sandbox.shell.state import Where

_LISTS = expression(
    r"\b(?:listdir|scandir|f?walk|i?r?glob|iterdir|copytree|make_archive|tarfile|zipfile|filecmp|compileall)\b"
)
_LIBRARY = sys.stdlib_module_names - modules.PRELOADED - modules.NOT_LOOKED_FOR


def places(run: Interpreter, directory: str | None, *, isolated: bool) -> list[str] | None:
    """Return the directories that are looked into before the library; None where one is not known."""
    if isolated:
        return []
    found: list[str | None] = [directory]
    path = run.lookup("PYTHONPATH") or ""
    if path and path != HOLE:
        found += [None if HOLE in part else run.absolute(part) for part in path.split(":") if part]
    known = [place for place in found if place is not None]
    return known if len(known) == len(found) else None


def searched(run: Interpreter, text: str, where: Where, directory: str | None, *, isolated: bool) -> None:
    """Note the directories whose names Python reads: where it looks for modules, and where a text lists files."""
    if "import" in text:
        for place in places(run, directory, isolated=isolated) or ():
            _looked_for(run, place, where)
    if _LISTS.search(text):
        run.looks(run.state.cwd, where, under=True)


def _looked_for(run: Interpreter, place: str, where: Where) -> None:
    """Note the names that Python looks for in a directory: of modules, and of packages."""
    run.looks(place, where)
    real = run.facts.resolve(place).rstrip("/")
    for name in ("*.py", "*.pyc", "*.so", "*/__init__.*"):
        run.record.path(Access.READ, f"{real}/{name}", Certainty.PATTERN, where)


def replaced(run: Interpreter, place: str) -> str | None:
    """Return the name of a module of the library that a file in a directory stands before, if there is one."""
    for path in run.facts.glob(f"{place.rstrip('/')}/*"):
        name = path.rpartition("/")[2]
        stem = name.partition(".")[0]
        if stem not in _LIBRARY:
            continue
        if name.endswith((".py", ".so", ".pyc")) or run.facts.kind(f"{path}/__init__.py") != "missing":
            return stem
    return None


def from_library(run: Interpreter, name: str) -> bool:
    """Whether ``-m name`` and all that it imports come, as things are, from Python's library."""
    found = places(run, run.state.cwd, isolated=False)
    if found is None:
        return False
    head = name.partition(".")[0]
    own = (f"{place.rstrip('/')}/{head}{end}" for place in found for end in (".py", "/__init__.py"))
    return all(replaced(run, place) is None for place in found) and all(
        run.facts.kind(path) == "missing" and path not in run.state.files for path in own
    )


def local(run: Interpreter, name: str, found: list[str]) -> tuple[str, str] | None:
    """Return path and text of the module that lies in one of the directories; None where it cannot be had."""
    for place in found:
        base = f"{place.rstrip('/')}/{name.replace('.', '/')}"
        for path in (f"{base}/__init__.py", f"{base}.py"):
            if run.facts.kind(path) != "missing" or path in run.state.files:
                text = sources.text(run, path)
                return None if text is None or HOLE in text else (path, text)
    return None
