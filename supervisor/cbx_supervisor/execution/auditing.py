"""What of a job belongs into the audit trail: what was decided, refusals, and everything that loosened a rule."""

from __future__ import annotations

from cbx_sandbox import runner
from cbx_sandbox.errors import CbxError
from cbx_sandbox.shell.checks import Verdict
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.execution import outcome
from cbx_supervisor.execution.progress import Progress

MOST_PATHS = 20  # of one entry


def noted(job: Progress, error: CbxError | None) -> tuple[str, dict[str, object]] | None:
    """The action and its detail, or None: the job did nothing that has to be kept."""
    submission = job.submission
    detail: dict[str, object] = {"command": outcome.text_of(submission.request)}
    if submission.sudo_uid is not None:
        detail["sudo_uid"] = submission.sudo_uid
    if error is not None and outcome.state_of(error) == "denied":
        return "refused", {**detail, "reason": error.brief}
    used = _loosened(job)
    return ("loosened", {**detail, **used}) if used else None


def decision(job: Progress, planned: runner.Plan) -> dict[str, object]:
    """What was decided about a job that is started."""
    policy, who = planned.policy, job.submission
    decided: dict[str, object] = {
        "command": outcome.text_of(who.request),
        "why": sorted({reason.code for reason in planned.reasons}),
        "network": policy.network.value,
        "writes": [outcome.printable(grant.path) for grant in policy.grants[:MOST_PATHS]],
    }
    more = {"sudo_uid": who.sudo_uid, "loosened": _loosened(job) or None}
    return decided | {name: value for name, value in more.items() if value is not None}


def _loosened(job: Progress) -> dict[str, object]:
    """The rules that the caller had loosened for this job."""
    options, submission = job.submission.request.options, job.submission
    loosened = {
        "allow_missing": sorted(options.allow_missing),
        "allow_privileged": options.allow_privileged,
        "seccomp_log": options.seccomp_log,
        "host_effects": sorted(options.host_effects),
        "allow_checks": sorted(options.allow_checks),
        "agreed": _agreed(job) if options.agreed else None,
        "tier": options.tier.value if options.tier and _laxer(job, options.tier) else None,
        "user": submission.request.identity.uid if submission.request.identity.uid != submission.uid else None,
    }
    return {name: value for name, value in loosened.items() if value}


def _agreed(job: Progress) -> list[str]:
    """What the caller said yes to."""
    checks = () if job.planned is None else job.planned.analysis.checks
    return sorted({check.code for check in checks if check.verdict is Verdict.CONFIRM})


def _laxer(job: Progress, tier: Tier) -> bool:
    """Whether somebody asked for less than the analysis did; also where it is not known what that asked for."""
    return job.planned is None or tier.rank < job.planned.analysis.tier.rank
