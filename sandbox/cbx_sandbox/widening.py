"""From a lesson to locks: where earlier runs wrote unforeseen joins the lock set, and nothing is loosened by it.

A learned directory is only ever put below an overlay, and what is changed in it is held for review unless the analysis
itself predicted it: what reaches live paths unseen is what would have reached them without the lesson.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cbx_sandbox import lockset
from cbx_sandbox.policy import Grant, LockMode
from cbx_sandbox.shell import learned
from cbx_sandbox.shell.effects import Facts
from cbx_sandbox.shell.learned import Lesson
from cbx_sandbox.shell.tiers import Tier


def places(lesson: Lesson, project: str, facts: Facts, *, submitter_is_root: bool) -> list[str]:
    """The directories in which earlier runs wrote unforeseen, as far as they may be locked here."""
    if not lesson.directories:
        return []
    paths = [learned.placed(path, project, facts.home) for path in lesson.directories]
    return lockset.lessons(paths, facts, submitter_is_root=submitter_is_root)


def granted(path: str, grants: Sequence[Grant]) -> bool:
    """True if ``path`` lies in one of the ``grants``."""
    return any(lockset.beneath(path, grant.path) for grant in grants)


def widened(tier: Tier, own: tuple[Grant, ...], more: Sequence[str]) -> tuple[Grant, ...]:
    """The lock set with the learned directories, in the tiers that write to overlays; else as it is."""
    if not more or tier.rank < Tier.SEQUENTIAL_REQUIRED.rank:
        return own
    paths = lockset.outermost([*(grant.path for grant in own), *more])
    return tuple(Grant(path, LockMode.U, overlay=True) for path in paths)


def unseen(
    tier: Tier, own: Sequence[Grant], more: Sequence[str], expected: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Learned directory: the only paths in it that may be committed without a review, as if it had not been learned."""
    if tier is Tier.DANGEROUS_ISOLATED:
        return {}  # it has its overlays everywhere in any case
    found = {}
    for path in more:
        if not granted(path, own):
            inside = [grant.path for grant in own if lockset.beneath(grant.path, path)]
            found[path] = tuple(name for place in inside for name in expected.get(place, (place,)))
    return found
