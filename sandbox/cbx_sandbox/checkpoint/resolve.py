"""Whose version stays where the job and somebody else changed one path: decided for each conflict.

Nothing in the live tree is touched here. A merge changes the layer for the time of the commit; the commit then compares
every path with the live tree once more, and what has become a conflict in between is one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import Iterator, Sequence

from cbx_sandbox.checkpoint.changes import Change, absolute, beneath
from cbx_sandbox.checkpoint.conflicts import TARGET, Conflict, check, theirs
from cbx_sandbox.checkpoint.diff import diff
from cbx_sandbox.checkpoint.merging import Merged, merge, put
from cbx_sandbox.checkpoint.select import EVERYTHING, Selection, choose
from cbx_sandbox.checkpoint.session import Session


class OnConflict(enum.StrEnum):
    """Whose version stays where both changed a path."""

    ABORT = "abort"
    OURS = "ours"  # the job's
    THEIRS = "theirs"  # what is in the live tree
    MERGE = "merge"  # both, line by line, if they changed different ones


@dataclasses.dataclass(frozen=True, slots=True)
class Resolution:
    """What holds for all conflicts, and for those at certain absolute paths and beneath them; the longest path wins."""

    default: OnConflict = OnConflict.ABORT
    paths: tuple[tuple[bytes, OnConflict], ...] = ()

    def of(self, path: bytes) -> OnConflict:
        """What holds at ``path``, which is absolute."""
        matching = [(len(rule), choice) for rule, choice in self.paths if beneath(path, rule.rstrip(b"/"))]
        return max(matching, key=lambda found: found[0])[1] if matching else self.default


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """One conflict and what is done about it; ABORT with ``why`` if what was asked for cannot be done."""

    conflict: Conflict
    choice: OnConflict
    why: str = ""


@dataclasses.dataclass(slots=True)
class Resolved:
    """What a commit is to do. ``forced`` are the changes that win over what is in the live tree."""

    changes: list[Change]
    skipped: list[Change]
    decisions: list[Decision]
    forced: frozenset[tuple[int, bytes]] = frozenset()
    kept: bool = False  # the merged texts stay in the layer

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """All that were found."""
        return tuple(decision.conflict for decision in self.decisions)

    @property
    def aborted(self) -> bool:
        """True if a conflict is left that nobody decided."""
        return any(decision.choice is OnConflict.ABORT for decision in self.decisions)


@contextlib.contextmanager
def resolved(
    session: Session, changes: Sequence[Change], resolution: Resolution, selection: Selection = EVERYTHING
) -> Iterator[Resolved]:
    """Find the conflicts of ``changes`` (of what diff just returned, those of ``selection``) and decide them.

    Merged texts lie in the layer inside the block, and stay there only if ``kept`` is set.
    """
    wanted = list(changes)
    conflicts = check(session, wanted)
    if not conflicts:
        yield Resolved(wanted, [], [])
        return
    decisions, merged = _decide(session, wanted, conflicts, resolution)
    found = Resolved(wanted, [], decisions)
    with contextlib.ExitStack() as stack:
        if not found.aborted:
            for one in merged.values():
                stack.callback(put(session, one))
            found = _again(session, found, resolution, selection, merged)
        yield found
        if found.kept:
            stack.pop_all()


def _decide(
    session: Session, changes: Sequence[Change], conflicts: Sequence[Conflict], resolution: Resolution
) -> tuple[list[Decision], dict[tuple[int, bytes], Merged]]:
    by_path = {(change.layer, change.path): change for change in changes}
    merged: dict[tuple[int, bytes], Merged] = {}
    decisions = []
    for conflict in conflicts:
        choice = _choice(session, conflict, resolution)
        why = ""
        if conflict.reason == TARGET and choice in {OnConflict.OURS, OnConflict.MERGE}:
            choice, why = OnConflict.ABORT, "there is nothing left that it could be done to"
        if choice is OnConflict.MERGE:
            at = conflict.layer, conflict.change
            one = merge(session, by_path[at]) if at in by_path else None
            if one is None or one.why_not:
                choice, why = OnConflict.ABORT, one.why_not if one is not None else "it is no change of its own"
            else:
                merged[at] = one
        decisions.append(Decision(conflict, choice, why))
    lost = {change.layer for change in changes}
    lost &= {conflict.layer for conflict in conflicts if conflict.reason == TARGET}
    if lost == {change.layer for change in changes}:
        # Every directory of the checkpoint is another one now: there is nothing to choose from.
        decisions = [Decision(decision.conflict, OnConflict.ABORT, decision.why) for decision in decisions]
    return decisions, merged


def _choice(session: Session, conflict: Conflict, resolution: Resolution) -> OnConflict:
    target = session.layers[conflict.layer].target
    at, of = resolution.of(absolute(conflict.path, target)), resolution.of(absolute(conflict.change, target))
    return at if at is not resolution.default else of


def _again(
    session: Session,
    before: Resolved,
    resolution: Resolution,
    selection: Selection,
    merged: dict[tuple[int, bytes], Merged],
) -> Resolved:
    """The changes against what is in the live tree now, since that is what the job's version is to replace."""
    changes = before.changes
    if any(decision.choice is not OnConflict.THEIRS for decision in before.decisions):
        changes, _ = choose(diff(session), session.targets, selection)
    by_path = {(change.layer, change.path): change for change in changes}
    decisions = []
    for conflict in check(session, changes):
        at = conflict.layer, conflict.change
        choice, why = _choice(session, conflict, resolution), ""
        if choice is OnConflict.MERGE:
            side = merged[at].live if at in merged else None
            old = by_path[at].old if at in by_path else None
            if side is None or old is None or (old.inode, old.ctime_ns) != (side.inode, side.ctime_ns):
                choice, why = OnConflict.ABORT, "somebody is changing it right now"
        decisions.append(Decision(conflict, choice, why))
    lost = [d.conflict for d in decisions if d.choice is OnConflict.THEIRS]
    kept, skipped = theirs(changes, lost)
    forced = {
        (d.conflict.layer, d.conflict.change) for d in decisions if d.choice in {OnConflict.OURS, OnConflict.MERGE}
    }
    # What the second look no longer finds is told all the same: it was decided on.
    told = {(d.conflict.layer, d.conflict.change) for d in decisions}
    gone = [d for d in before.decisions if (d.conflict.layer, d.conflict.change) not in told]
    return Resolved(kept, skipped, [*decisions, *gone], frozenset(forced))
