"""A project whose files are a table, and what the analysis says of a command in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.effects import Access

if TYPE_CHECKING:
    from cbx_sandbox.shell.analysis import Analysis

ROOT = "/work/project"
SHORT = {
    "SAFE_PARALLEL": "safe",
    "CONDITIONAL_PARALLEL": "conditional",
    "SEQUENTIAL_REQUIRED": "sequential",
    "DANGEROUS_ISOLATED": "dangerous",
}


def project(texts: dict[str, str] | None = None, **more: object) -> StaticFacts:
    """Return facts of a project that holds these files; names without a slash in front lie in its root."""
    held = {name if name.startswith("/") else f"{ROOT}/{name}": text for name, text in (texts or {}).items()}
    return StaticFacts(
        env={"PATH": "/usr/bin:/bin", "HOME": "/home/user"},
        files={ROOT: "dir", **dict.fromkeys(held, "file")},
        texts=held,
        **more,  # type: ignore[arg-type]  # handed through
    )


def look(command: str, texts: dict[str, str] | None = None) -> Analysis:
    """Analyse a command in a project with these files."""
    return analyse(command, project(texts))


def tier(command: str, texts: dict[str, str] | None = None) -> str:
    """Return the tier of a command in one word."""
    return SHORT[look(command, texts).tier]


def changed(analysis: Analysis) -> dict[str, str]:
    """Return the paths that are changed, each with how exactly it is known."""
    return {effect.path: str(effect.certainty) for effect in analysis.effects.paths if effect.access is not Access.READ}


def read(analysis: Analysis) -> set[str]:
    """Return the paths that are read."""
    return {effect.path for effect in analysis.effects.paths if effect.access is Access.READ}
