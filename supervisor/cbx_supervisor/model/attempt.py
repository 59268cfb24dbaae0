"""One try to run a job: most have one."""

from __future__ import annotations

import msgspec


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How one try ended, and why there is another. Times are ISO 8601; None: not yet, or not at all."""

    attempt: int
    tier: str | None
    started: str
    ended: str | None
    state: str | None
    reason: str | None
    status: int | None
    message: str = ""
    again: str | None = None  # why it is tried once more
    again_at: str | None = None
