"""Whether the live tree is still what the job saw, for each path."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Conflict:
    """A path that somebody else changed since the checkpoint began."""

    layer: int
    path: bytes
    reason: str
