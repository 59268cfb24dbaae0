"""The states of a checkpoint and its name. No I/O."""

from __future__ import annotations

import enum

from cbx_sandbox.errors import UsageError


class State(enum.StrEnum):
    """Where a checkpoint is in its life."""

    HELD = "held"  # waits for somebody to decide
    COMMITTED = "committed"
    ROLLED_BACK = "rolled-back"
    UNDONE = "undone"  # was committed, and taken back later
    EMPTY = "empty"  # the job changed nothing
    CONFLICT = "conflict"  # held, because a commit met changes underneath

    @property
    def open(self) -> bool:
        """True while it can still be committed or rolled back."""
        return self in {State.HELD, State.CONFLICT}


_NEXT: dict[State, frozenset[State]] = {
    State.HELD: frozenset({State.COMMITTED, State.ROLLED_BACK, State.CONFLICT}),
    State.CONFLICT: frozenset({State.COMMITTED, State.ROLLED_BACK, State.CONFLICT}),
    State.COMMITTED: frozenset({State.UNDONE}),
    State.UNDONE: frozenset({State.COMMITTED}),
    State.ROLLED_BACK: frozenset(),
    State.EMPTY: frozenset(),
}


def follow(state: State, wanted: State, checkpoint: int) -> State:
    """The state after ``state`` when ``wanted`` is asked for; rolling back twice is no error. Raises UsageError."""
    if wanted in _NEXT[state] or (state is wanted and wanted is State.ROLLED_BACK):
        return wanted
    verb = {State.COMMITTED: "commit", State.ROLLED_BACK: "roll back", State.UNDONE: "undo"}.get(
        wanted, f"mark as {wanted}"
    )
    raise UsageError(f"cannot {verb} checkpoint {checkpoint}: it is {state}")


def parse_name(text: str) -> int:
    """The number of a checkpoint as people write it: ``3`` or ``c3``. Raises UsageError."""
    digits = text.removeprefix("c")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18 or int(digits) == 0:
        raise UsageError(f"cannot tell which checkpoint is meant by {text!r}", hint="a number, such as 3")
    return int(digits)
