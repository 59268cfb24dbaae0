"""Changes for people and programs. Names are quoted: they may hold anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cbx_sandbox.checkpoint.changes import Change
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.linux.credentials import Submitter


def as_list(changes: Sequence[Change], targets: Sequence[str]) -> str:
    """One line a change: letter, path, what about it."""
    raise NotImplementedError


def name_status(changes: Sequence[Change], targets: Sequence[str]) -> str:
    """Letter, tab, path."""
    raise NotImplementedError


def as_tree(changes: Sequence[Change], targets: Sequence[str]) -> str:
    """The changed paths as a tree."""
    raise NotImplementedError


def as_text(session: Session, changes: Sequence[Change], reader: Submitter) -> str:
    """A unified diff of text files, bounded in size, read with the rights of ``reader``."""
    raise NotImplementedError


def stat(changes: Sequence[Change], targets: Sequence[str]) -> str:
    """Sizes for each path, and a line of totals."""
    raise NotImplementedError


def as_json(changes: Sequence[Change], targets: Sequence[str]) -> list[dict[str, Any]]:
    """One object a change, of plain values."""
    raise NotImplementedError
