"""What a job changed, held in private layers: listed, checked against the live tree, committed or discarded.

fresh → claim → place → create → begin → (the job runs) → diff → commit or discard. All of it blocks: call it from a
worker thread.
"""

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
