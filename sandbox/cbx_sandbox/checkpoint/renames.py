"""What moved inside the job: a path that is gone and one that appeared are one change if they are the same inode."""

from __future__ import annotations

import dataclasses

from cbx_sandbox.checkpoint.changes import Change, Kind


def settle(changes: list[Change]) -> list[Change]:
    """Join moves with what they left behind: overlayfs leaves a whiteout, or something new, where a directory was."""
    sources = {change.source for change in changes if change.kind is Kind.RENAMED}
    if not sources:
        return changes
    return [settled for change in changes if (settled := _settled(change, sources)) is not None]


def _settled(change: Change, sources: set[bytes | None]) -> Change | None:
    if change.kind is Kind.RENAMED:
        return dataclasses.replace(change, over=None, vacated=True) if change.path in sources else change
    if change.live not in sources:
        return change
    if change.kind is Kind.DELETED:
        return None
    return dataclasses.replace(change, kind=Kind.ADDED, old=None, vacated=True)
