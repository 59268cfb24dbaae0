"""Make a job's changes in the live tree: checked as a whole first, each step with the submitter's own rights."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from cbx_sandbox.checkpoint.changes import Change, Summary
from cbx_sandbox.checkpoint.conflicts import Conflict
from cbx_sandbox.checkpoint.history import State
from cbx_sandbox.checkpoint.session import Session
from cbx_sandbox.linux.credentials import Submitter


class OnConflict(enum.StrEnum):
    """Whose version stays where both changed a path."""

    ABORT = "abort"
    OURS = "ours"  # the job's
    THEIRS = "theirs"  # what is in the live tree


@dataclasses.dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit came to: COMMITTED, EMPTY, or CONFLICT with nothing changed."""

    state: State
    summary: Summary
    conflicts: tuple[Conflict, ...] = ()
    skipped: tuple[Change, ...] = ()  # left out because ``theirs`` was asked for
    notes: tuple[str, ...] = ()  # what a reader should know: links that were broken, times that could not be set


def commit(
    session: Session,
    changes: Sequence[Change] | None = None,
    rights: Submitter | None = None,
    *,
    allow_privileged: bool = False,
    on_conflict: OnConflict = OnConflict.ABORT,
) -> CommitResult:
    """Apply ``changes`` (as :func:`diff` just returned them; None: look again) with the rights of ``rights``.

    ``rights`` defaults to the job's submitter. All or nothing as long as this process lives: a step that fails takes
    back those before it. Raises DeniedError for what the submitter may not do or what needs ``allow_privileged``. The
    layers are gone after COMMITTED and EMPTY, and as they were otherwise.
    """
    raise NotImplementedError
