"""Whether a run is a job user's, and what that one is shown."""

from __future__ import annotations

from cbx_sandbox.errors import UnavailableError, UsageError
from cbx_sandbox.policy import Grant, LockMode
from cbx_sandbox.runner import granting
from cbx_sandbox.runner.request import Defaults, HostReport, Options, Request
from cbx_sandbox.shell.effects import Facts
from cbx_sandbox.shell.tiers import Reason, Tier


def pooled(request: Request, defaults: Defaults, tier: Tier, host: HostReport) -> bool:
    """Whether it runs as a job user. Raises UnavailableError, UsageError."""
    options = request.options
    if options.itself or not (options.pooled or defaults.pooled):
        return False
    if options.viewing:
        if options.pooled:
            raise UsageError("--user pool and --view exclude each other", hint="who looks around writes nothing anyway")
        return False
    if host.unshifted is not None:
        raise UnavailableError("cannot run this as a job user on this host", details=host.unshifted)
    # Root's ids are shifted there, which is more: all of a range is lent to the job then.
    return not (tier is Tier.DANGEROUS_ISOLATED and request.identity.uid == 0 and not options.within)


def reviewed(
    request: Request, tier: Tier, grants: tuple[Grant, ...]
) -> tuple[Tier, tuple[Grant, ...], tuple[Reason, ...]]:
    """The tier and the grants of a job user, and why: in place it would make root's files, setuid ones among them."""
    if tier is not Tier.CONDITIONAL_PARALLEL or request.identity.uid != 0:
        return tier, grants, ()
    reason = Reason("job-user", "a job user does not write root's files in place", Tier.SEQUENTIAL_REQUIRED)
    return reason.tier, tuple(Grant(grant.path, LockMode.U, overlay=True) for grant in grants), (reason,)


def shown(options: Options, workdir: str, tier: Tier, facts: Facts) -> tuple[str, ...]:
    """What a job user is shown of its submitter's: the project that it works in, and what was named."""
    if tier is Tier.DANGEROUS_ISOLATED:
        return ()  # there all of it is
    readonly = [path for path in granting.covered("ro", options.readonly, facts) if facts.kind(path) == "dir"]
    return tuple(dict.fromkeys([facts.project_root(facts.resolve(workdir)), *readonly]))
