"""In which tier a run is, why, and what it may write: from what was understood of it and what earlier runs taught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from cbx_sandbox import lockset, widening
from cbx_sandbox.errors import DeniedError, UsageError
from cbx_sandbox.policy import Grant, LockMode
from cbx_sandbox.runner import granting, pooling, watching
from cbx_sandbox.runner.request import Defaults, HostReport, Options, Request
from cbx_sandbox.shell import learned
from cbx_sandbox.shell.analysis import Analysis
from cbx_sandbox.shell.effects import Facts
from cbx_sandbox.shell.learned import Lesson
from cbx_sandbox.shell.tiers import Reason, Tier


class Decision(Struct, frozen=True):
    """The tier and the lock set of a run. ``analysis`` is as corrected by what was learned; the rest as of ``Plan``."""

    analysis: Analysis
    tier: Tier
    reasons: tuple[Reason, ...]
    grants: tuple[Grant, ...]
    expected: Mapping[str, tuple[str, ...]]
    project: str
    pooled: bool
    observed: bool
    reads: bool


def decided(
    request: Request,
    facts: Facts,
    defaults: Defaults,
    host: HostReport,
    analysis: Analysis,
    lesson: Lesson,
    *,
    floors: Sequence[Reason | None],
    observe: bool,
) -> Decision:
    """Decide; ``floors`` raise the tier. Raises DeniedError, UsageError."""
    options = request.options
    may_write = analysis.tier is not Tier.SAFE_PARALLEL or options.tier is not None or lesson.directories
    project = facts.project_root(facts.cwd) if may_write or lesson.reads or options.observe else "/"
    more = widening.places(lesson, project, facts, submitter_is_root=request.submitter_is_root)
    floor = learned.floor(lesson, more) if more or analysis.tier is not Tier.SAFE_PARALLEL else None
    tier, reasons = _choose_tier(request, analysis, [*floors, floor])
    directories = lockset.directories(analysis.effects.paths, facts)
    tier, reasons = _raise_for_coarse(request, tier, reasons, directories)
    predicted = granting.predicted_directories(request, analysis, directories, facts)
    # A command that was taken for SAFE gets an overlay over what it was seen to write, and over nothing else.
    fallback = not (more and analysis.tier is Tier.SAFE_PARALLEL and options.tier is None)
    tier, own = granting.grants_of(request, tier, predicted, facts, fallback=fallback)
    grants = widening.widened(tier, own, more)
    reasons = (*reasons, *granting.withheld(request, tier, directories, grants))
    taught = [path for path in more if widening.granted(path, grants)]
    if floor is not None and taught and floor not in reasons:
        reasons = (*reasons, floor)  # what it locks wants a reason, also where the tier is as it was
    analysis = learned.corrected(analysis, lesson, taught, learned.read_places(lesson, project, facts.home))
    observed = observe and watching.changes(options, tier, grants, defaults.observe_every, lesson)
    if observed:
        grants = tuple(Grant(grant.path, LockMode.U, overlay=True) for grant in grants)
    if options.viewing:
        tier, grants, observed = Tier.SAFE_PARALLEL, (), False
    elif options.within:
        tier, reasons, grants = _within(options, tier, reasons, lockset.directories(analysis.effects.paths, facts))
        observed = False
    if as_job_user := pooling.pooled(request, defaults, tier, host):
        tier, grants, more_reasons = pooling.reviewed(request, tier, grants)
        reasons, observed = (*reasons, *more_reasons), observed and not more_reasons
    reads = watching.reads(options, tier, grants, defaults, lesson)
    expected = {entry.path: entry.expected for entry in directories if entry.expected is not None}
    expected |= widening.unseen(tier, own, more, expected)
    return Decision(analysis, tier, reasons, grants, expected, project, as_job_user, observed, reads)


def _within(
    options: Options, tier: Tier, reasons: tuple[Reason, ...], directories: Sequence[lockset.Directory]
) -> tuple[Tier, tuple[Reason, ...], tuple[Grant, ...]]:
    """A command of a transaction: whatever it is taken for, it sees its layers and writes into nothing else."""
    if options.writable or options.commit is not None or options.tier is not None:
        raise UsageError(
            "cannot use --rw, --commit or --tier in a transaction",
            hint="its directories are those that it began with, and `tx commit` commits all of it",
        )
    outside = [d.path for d in directories if not any(lockset.beneath(d.path, place) for place in options.within)]
    if tier.rank < Tier.SEQUENTIAL_REQUIRED.rank:
        tier = Tier.SEQUENTIAL_REQUIRED
    reasons = (*reasons, Reason("transaction", "works in the layers of a transaction", Tier.SEQUENTIAL_REQUIRED))
    reasons += tuple(
        Reason("outside-transaction", f"{path} is not in the transaction: it stays read-only", tier) for path in outside
    )
    return tier, reasons, tuple(Grant(path, LockMode.U, overlay=True) for path in options.within)


def _choose_tier(
    request: Request, analysis: Analysis, floors: Sequence[Reason | None]
) -> tuple[Tier, tuple[Reason, ...]]:
    tier, reasons = analysis.tier, analysis.reasons
    for floor in floors:
        if floor is not None and floor.tier.rank > tier.rank:
            tier, reasons = floor.tier, (*reasons, floor)
    asked = request.options.tier
    if asked is None or asked is tier:
        return tier, reasons
    if asked.rank < tier.rank and not request.submitter_is_root:
        raise DeniedError(
            f"cannot run this as {asked.value}: it was found to be {tier.value}",
            hint="only root may choose a laxer tier; leave --tier out or choose a stricter one",
        )
    return asked, (*reasons, Reason("asked", f"--tier {asked.value}", asked))


def _raise_for_coarse(
    request: Request, tier: Tier, reasons: tuple[Reason, ...], directories: list[lockset.Directory]
) -> tuple[Tier, tuple[Reason, ...]]:
    """One file in a directory of many is written through an overlay; the root directory only in isolation."""
    if tier is Tier.SAFE_PARALLEL or request.options.tier is not None:
        return tier, reasons
    for directory in directories:
        wanted = tier
        if directory.path == "/":
            wanted = Tier.DANGEROUS_ISOLATED
        elif directory.coarse and tier is Tier.CONDITIONAL_PARALLEL:
            wanted = Tier.SEQUENTIAL_REQUIRED
        if wanted.rank > tier.rank:
            text = f"writes into {directory.path}, which holds the files of many"
            tier, reasons = wanted, (*reasons, Reason("coarse", text, wanted))
    return tier, reasons
