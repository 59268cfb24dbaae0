"""What the tests of this folder use of the package, under one name."""

from cbx_sandbox.checkpoint.bases import keep as keep_bases
from cbx_sandbox.checkpoint.changes import Kind
from cbx_sandbox.checkpoint.commit import commit, preview
from cbx_sandbox.checkpoint.diff import count_beneath, diff
from cbx_sandbox.checkpoint.history import State
from cbx_sandbox.checkpoint.homes import claim, fresh
from cbx_sandbox.checkpoint.layers import LayerSpec, create, place
from cbx_sandbox.checkpoint.resolve import OnConflict
from cbx_sandbox.checkpoint.select import Selection
from cbx_sandbox.checkpoint.session import Session, begin, discard, sync
from cbx_sandbox.errors import DeniedError
from cbx_sandbox.linux.credentials import Submitter

__all__ = [
    "DeniedError", "Kind", "LayerSpec", "OnConflict", "Selection", "Session", "State", "Submitter", "begin", "claim",
    "commit", "count_beneath", "create", "diff", "discard", "fresh", "keep_bases", "place", "preview", "sync",
]  # fmt: skip
