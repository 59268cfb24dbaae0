"""Which directories a run may write, and how: predicted, asked for, permitted."""

from __future__ import annotations

from collections.abc import Sequence

from cbx_sandbox import lockset
from cbx_sandbox.errors import DeniedError, UsageError
from cbx_sandbox.policy import Grant, LockMode
from cbx_sandbox.runner.request import Request
from cbx_sandbox.shell.analysis import Analysis
from cbx_sandbox.shell.effects import Facts
from cbx_sandbox.shell.tiers import Reason, Tier


def writable_directories(paths: Sequence[str], facts: Facts, *, submitter_is_root: bool, name: str) -> tuple[str, ...]:
    """The directories that a transaction may be begun over, resolved. Raises UsageError, DeniedError."""
    found = []
    for path in paths:
        resolved = facts.resolve(path)
        if facts.kind(resolved) != "dir":
            raise UsageError(f"cannot begin a transaction over {path}: it is not a directory")
        if resolved == "/" or any(lockset.beneath(resolved, place) for place in lockset.PRIVATE):
            raise UsageError(
                f"cannot begin a transaction over {resolved}", hint="name the directories that its commands change"
            )
        if not (submitter_is_root or facts.writable(resolved)):
            raise DeniedError(f"cannot begin a transaction over {path}: {name} may not write there")
        found.append(resolved)
    return tuple(lockset.outermost(found))


def predicted_directories(
    request: Request, analysis: Analysis, directories: list[lockset.Directory], facts: Facts
) -> tuple[str, ...] | None:
    """The directories that the command is predicted to write and its submitter may; None if nothing was predicted."""
    if not directories:
        return None
    if request.submitter_is_root:
        return tuple(directory.path for directory in directories)
    return tuple(lockset.permitted(analysis.effects.paths, facts))


def withheld(
    request: Request, tier: Tier, directories: list[lockset.Directory], grants: tuple[Grant, ...]
) -> list[Reason]:
    """Say which predicted directories stay as they are, because the submitter may not write them."""
    if tier in {Tier.SAFE_PARALLEL, Tier.DANGEROUS_ISOLATED}:
        return []
    return [
        Reason("not-permitted", f"{request.identity.name} may not write {directory.path}: it stays read-only", tier)
        for directory in directories
        if not any(lockset.beneath(directory.path, grant.path) for grant in grants)
    ]


def grants_of(
    request: Request, tier: Tier, predicted: tuple[str, ...] | None, facts: Facts, *, fallback: bool
) -> tuple[Tier, tuple[Grant, ...]]:
    """The tier with what ``--rw`` wants, and what is locked and writable in it. Raises UsageError, DeniedError."""
    paths = [] if tier is Tier.SAFE_PARALLEL else list(predicted or ())
    for path in request.options.writable:
        resolved = facts.resolve(path)
        if facts.kind(resolved) != "dir":
            raise UsageError(f"cannot make {path} writable: it is not a directory", hint="name its directory")
        if any(lockset.beneath(resolved, place) for place in lockset.PRIVATE):
            raise UsageError(f"cannot make {path} writable: every job has its own {resolved}")
        if not (request.submitter_is_root or facts.writable(resolved)):
            # A lock on it would keep those out who may.
            raise DeniedError(
                f"cannot make {path} writable: {request.identity.name} may not write there",
                hint="name a directory of your own below it, or have its owner run the command",
            )
        paths.append(resolved)
    if request.options.writable and tier is Tier.SAFE_PARALLEL:
        tier = Tier.CONDITIONAL_PARALLEL
    if tier is Tier.SEQUENTIAL_REQUIRED and not paths and predicted is None and fallback:
        project = facts.project_root(facts.cwd)
        paths += [project] if request.submitter_is_root or facts.writable(project) else []
    if "/" in paths and tier is not Tier.DANGEROUS_ISOLATED:
        raise UsageError("cannot make / writable as a whole", hint="--tier dangerous puts an overlay over everything")
    overlay = tier.rank >= Tier.SEQUENTIAL_REQUIRED.rank
    mode = LockMode.U if overlay else LockMode.X
    return tier, tuple(Grant(path, mode, overlay) for path in lockset.outermost(paths))


def covered(option: str, paths: Sequence[str], facts: Facts) -> tuple[str, ...]:
    """Paths of ``--hide``, ``--ro`` or ``--tmpfs``, resolved. Raises UsageError."""
    resolved = tuple(facts.resolve(path) for path in paths)
    if "/" in resolved:
        # A mount over the root would change nothing, and a write rule for it would allow writing everywhere.
        raise UsageError(f"cannot use --{option} for /", hint="name directories below it")
    gone = [path for path in resolved if facts.kind(path) == "missing"]
    if option == "hide" and gone:
        raise UsageError(f"cannot hide {gone[0]}: there is no such path")
    return resolved
