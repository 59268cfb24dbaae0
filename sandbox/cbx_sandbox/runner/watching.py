"""Which runs are looked at for the sake of learning: over an overlay what they change, and what they read."""

from __future__ import annotations

from cbx_sandbox.errors import UnavailableError
from cbx_sandbox.policy import Grant
from cbx_sandbox.runner.request import Defaults, Options, Watching
from cbx_sandbox.shell.learned import Lesson
from cbx_sandbox.shell.tiers import Tier


def changes(options: Options, tier: Tier, grants: tuple[Grant, ...], every: int, lesson: Lesson) -> bool:
    """Whether a CONDITIONAL run is put over an overlay, to see what it changes.

    Who asks for it, and else the first and then one in ``every``, where nobody asked how it is to run.
    """
    asked = options.tier is not None or options.commit is not None or bool(options.writable)
    due = options.observe or _its_turn(every, lesson)
    return due and tier is Tier.CONDITIONAL_PARALLEL and bool(grants) and not asked


def reads(options: Options, tier: Tier, grants: tuple[Grant, ...], defaults: Defaults, lesson: Lesson) -> bool:
    """Whether it is looked at what a run reads. Raises UnavailableError if that was asked for and is not to be."""
    if defaults.watch_reads is Watching.NEVER:
        if options.observe:
            raise UnavailableError(
                'cannot look at what it reads: [learning] reads is "never" on this host',
                hint='leave --observe out, or have the administrator set it to "sampled"',
            )
        return False
    if options.observe:
        return True
    overlaid = tier is Tier.DANGEROUS_ISOLATED or any(grant.overlay for grant in grants)
    due = defaults.watch_reads is Watching.ALWAYS or _its_turn(defaults.observe_every, lesson)
    return overlaid and due


def _its_turn(every: int, lesson: Lesson) -> bool:
    return every > 0 and lesson.runs % every == 0
