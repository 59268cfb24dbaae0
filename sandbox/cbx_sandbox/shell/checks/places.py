"""What it means that a path is read or changed."""

from __future__ import annotations

from cbx_sandbox.shell.checks import catalogue
from cbx_sandbox.shell.checks.model import Finding, Verdict
from cbx_sandbox.shell.effects import Access


def read(path: str, *, whole: bool) -> tuple[str, Finding | None]:
    """Return the mark of what is read from a path, and what reading it is called; ``whole`` is all that is beneath."""
    for table in catalogue.path_tables("read"):
        if (whole or not table.whole) and table.expression.search(path):
            return table.mark, table.found
    return "", None


def written(path: str, access: Access) -> Finding | None:
    """Return what changing a path is called."""
    for table in catalogue.path_tables("write"):
        if not table.expression.search(path):
            continue
        if (access is Access.APPEND and not table.append) or (access is Access.CREATE and not table.create):
            continue
        return table.found
    return None


def traversal(text: str, path: str, *, writes: bool) -> Finding | None:
    """Return what it is called that a word climbs out of where the command works, into the system."""
    if "../../.." not in text:
        return None
    climbs, into = catalogue.traversal()
    if not climbs.search(text) or not into.search(path):
        return None
    verdict = Verdict.CONFIRM if writes else Verdict.ISOLATE
    return Finding("path-traversal", verdict, "climbs out of where it works, into the system")
