"""What the tests of this folder use of the package, under one name."""

from cbx_sandbox.checkpoint.changes import Kind
from cbx_sandbox.checkpoint.commit import OnConflict, commit
from cbx_sandbox.checkpoint.diff import count_beneath, diff
from cbx_sandbox.checkpoint.history import State
from cbx_sandbox.checkpoint.homes import claim, fresh
from cbx_sandbox.checkpoint.layers import LayerSpec, create, place
from cbx_sandbox.checkpoint.session import Session, begin, discard, sync
from cbx_sandbox.linux.credentials import Submitter

__all__ = [
    "Kind", "LayerSpec", "OnConflict", "Session", "State", "Submitter", "begin", "claim", "commit", "count_beneath",
    "create", "diff", "discard", "fresh", "place", "sync",
]  # fmt: skip
