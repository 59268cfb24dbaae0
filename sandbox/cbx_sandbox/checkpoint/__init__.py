"""What a job changed, held in private layers: listed, checked against the live tree, committed or discarded.

fresh → claim → place → create → begin → (the job runs) → diff → commit or discard. All of it blocks: call it from a
worker thread.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbx_sandbox.checkpoint.changes import Change, Kind, Meta
    from cbx_sandbox.checkpoint.commit import CommitResult, OnConflict, commit
    from cbx_sandbox.checkpoint.conflicts import Conflict
    from cbx_sandbox.checkpoint.diff import count_beneath, diff
    from cbx_sandbox.checkpoint.history import State
    from cbx_sandbox.checkpoint.homes import claim, fresh
    from cbx_sandbox.checkpoint.layers import LayerSpec, create, place
    from cbx_sandbox.checkpoint.session import Session, begin, discard, sync
    from cbx_sandbox.linux.credentials import Submitter

__all__ = [
    "Change",
    "CommitResult",
    "Conflict",
    "Kind",
    "LayerSpec",
    "Meta",
    "OnConflict",
    "Session",
    "State",
    "Submitter",
    "begin",
    "claim",
    "commit",
    "count_beneath",
    "create",
    "diff",
    "discard",
    "fresh",
    "place",
    "sync",
]

# Imported when they are first asked for: who only wants to know where layers lie needs none of it.
_PLACES = {
    "Change": "cbx_sandbox.checkpoint.changes",
    "Kind": "cbx_sandbox.checkpoint.changes",
    "Meta": "cbx_sandbox.checkpoint.changes",
    "CommitResult": "cbx_sandbox.checkpoint.commit",
    "OnConflict": "cbx_sandbox.checkpoint.commit",
    "commit": "cbx_sandbox.checkpoint.commit",
    "Conflict": "cbx_sandbox.checkpoint.conflicts",
    "count_beneath": "cbx_sandbox.checkpoint.diff",
    "diff": "cbx_sandbox.checkpoint.diff",
    "State": "cbx_sandbox.checkpoint.history",
    "claim": "cbx_sandbox.checkpoint.homes",
    "fresh": "cbx_sandbox.checkpoint.homes",
    "LayerSpec": "cbx_sandbox.checkpoint.layers",
    "create": "cbx_sandbox.checkpoint.layers",
    "place": "cbx_sandbox.checkpoint.layers",
    "Session": "cbx_sandbox.checkpoint.session",
    "begin": "cbx_sandbox.checkpoint.session",
    "discard": "cbx_sandbox.checkpoint.session",
    "sync": "cbx_sandbox.checkpoint.session",
    "Submitter": "cbx_sandbox.linux.credentials",
}


def __getattr__(name: str) -> object:
    """Return a public name from its module."""
    if name not in _PLACES:
        raise AttributeError(name)
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value
