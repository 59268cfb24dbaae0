"""What the layers hold, as a list of changes."""

from __future__ import annotations

from cbx_sandbox.checkpoint.changes import Change
from cbx_sandbox.checkpoint.session import Session


def diff(session: Session, *, leaves: bool = False) -> list[Change]:
    """List the changes, parents first; ``leaves`` also lists what is beneath deleted directories."""
    raise NotImplementedError


def count_beneath(session: Session, change: Change) -> int:
    """How many entries go with a directory that was deleted or replaced."""
    raise NotImplementedError
