"""Plan one run: analyse it, choose its tier and what it may write, and write down the policy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from cbx_sandbox import environment, lockset, refusals, widening
from cbx_sandbox.box import operations
from cbx_sandbox.errors import DeniedError, UsageError
from cbx_sandbox.policy import CommitMode, Grant, LockMode, Policy
from cbx_sandbox.runner import choices, granting, pooling, watching
from cbx_sandbox.runner.request import Defaults, HostReport, Options, Request
from cbx_sandbox.shell import learned
from cbx_sandbox.shell.analysis import Analysis, analyse, analyse_argv
from cbx_sandbox.shell.effects import Facts
from cbx_sandbox.shell.fingerprint import fingerprint
from cbx_sandbox.shell.learned import Lesson
from cbx_sandbox.shell.tiers import Reason, Tier


class Plan(Struct, frozen=True):
    """One run, decided: the policy, and what the analysis said."""

    request: Request
    analysis: Analysis
    policy: Policy
    reasons: tuple[Reason, ...]
    argv: tuple[str, ...]
    expected: Mapping[str, tuple[str, ...]]  # directory: the only paths in it that may be committed unseen
    fingerprint: str = ""
    project: str = "/"  # that the working directory belongs to
    observed: bool = False  # CONDITIONAL, but over an overlay: to see what it writes
    reads: bool = False  # it is looked at what it reads

    def describe(self, operations_: Sequence[operations.Operation] = ()) -> dict[str, Any]:
        """The plan as JSON, for ``explain`` and ``--dry-run``."""
        policy, effects = self.policy, self.analysis.effects
        return {
            "command": self.request.text,
            "fingerprint": self.fingerprint,
            "tier": policy.tier.value,
            "reasons": [_reason(reason) for reason in self.reasons],
            "effects": {
                "paths": [
                    {"access": e.access.value, "path": e.path, "certainty": e.certainty.value} for e in effects.paths
                ],
                "host": [{"kind": e.kind.value, "text": e.text} for e in effects.host],
                "network": [{"host": e.host, "port": e.port} for e in effects.network],
                "reads_processes": effects.reads_processes,
                "resources": list(effects.resources),
                "system": [
                    {"kind": e.thing.value, "name": e.name or None, "changes": e.changes} for e in effects.system
                ],
            },
            "estimate": self.analysis.estimate.describe(),
            "locks": [{"path": grant.path, "mode": grant.mode.value} for grant in policy.grants],
            "policy": {
                "network": policy.network.value,
                "allow": list(policy.allow),
                "publish": [f"{entry.host}:{entry.host_port}:{entry.port}" for entry in policy.publish],
                "commit": policy.commit.value,
                "overlay_all": policy.overlay_all,
                "shifted": policy.shifted,
                "job_user": policy.pooled,
                "limits": asdict(policy.limits),
                "identity": {"uid": policy.identity.uid, "gid": policy.identity.gid},
                "workdir": policy.workdir,
            },
            "mounts": [operation.describe() for operation in operations_],
        }


def _reason(reason: Reason) -> dict[str, Any]:
    span = None if reason.span is None else [reason.span.start, reason.span.end]
    return {"code": reason.code, "text": reason.text, "tier": reason.tier.value, "span": span}


def plan(
    request: Request,
    facts: Facts,
    defaults: Defaults,
    host: HostReport,
    *,
    at_least: Reason | None = None,
    analysis: Analysis | None = None,
    visible: Mapping[str, str] | None = None,
    lessons: Mapping[str, Lesson] | None = None,
    observe: bool = True,
) -> Plan:
    """Decide how ``request`` runs. ``at_least`` raises the tier for a reason found after an earlier plan.

    ``analysis`` and ``visible`` are what ``analysed`` and ``seen`` said of it, where that was asked before. ``lessons``
    are those of the submitter, by fingerprint: they add locks and raise the tier, and loosen nothing. ``observe``
    allows an overlay for a CONDITIONAL job whose turn it is to be looked at.

    Raises DeniedError (policy says no), UnavailableError (a limit asked for cannot be enforced), UsageError.
    """
    analysis = analysis or analysed(request, facts)
    refusals.refuse(
        analysis,
        agreed=request.options.agreed,
        allowed=request.options.allow_checks,
        root=request.submitter_is_root,
    )
    mark = fingerprint(analysis, facts.cwd)
    lesson = (lessons or {}).get(mark, Lesson())
    may_write = analysis.tier is not Tier.SAFE_PARALLEL or request.options.tier is not None or lesson.directories
    project = facts.project_root(facts.cwd) if may_write or lesson.reads or request.options.observe else "/"
    more = widening.places(lesson, project, facts, submitter_is_root=request.submitter_is_root)
    floor = learned.floor(lesson, more) if more or analysis.tier is not Tier.SAFE_PARALLEL else None
    tier, reasons = _choose_tier(request, analysis, [at_least, floor])
    directories = lockset.directories(analysis.effects.paths, facts)
    tier, reasons = _raise_for_coarse(request, tier, reasons, directories)
    predicted = granting.predicted_directories(request, analysis, directories, facts)
    # A command that was taken for SAFE gets an overlay over what it was seen to write, and over nothing else.
    fallback = not (more and analysis.tier is Tier.SAFE_PARALLEL and request.options.tier is None)
    tier, own = granting.grants_of(request, tier, predicted, facts, fallback=fallback)
    grants = widening.widened(tier, own, more)
    reasons = (*reasons, *granting.withheld(request, tier, directories, grants))
    taught = [path for path in more if widening.granted(path, grants)]
    if floor is not None and taught and floor not in reasons:
        reasons = (*reasons, floor)  # what it locks wants a reason, also where the tier is as it was
    analysis = learned.corrected(analysis, lesson, taught, learned.read_places(lesson, project, facts.home))
    options = request.options
    observed = observe and watching.changes(options, tier, grants, defaults.observe_every, lesson)
    if observed:
        grants = tuple(Grant(grant.path, LockMode.U, overlay=True) for grant in grants)
    if options.viewing:
        tier, grants, observed = Tier.SAFE_PARALLEL, (), False
    elif options.within:
        tier, reasons, grants = _within(options, tier, reasons, lockset.directories(analysis.effects.paths, facts))
        observed = False
    workdir = options.workdir or request.cwd
    if as_job_user := pooling.pooled(request, defaults, tier, host):
        tier, grants, more_reasons = pooling.reviewed(request, tier, grants)
        reasons, observed = (*reasons, *more_reasons), observed and not more_reasons
    reads = watching.reads(options, tier, grants, defaults, lesson)
    network = choices.network_mode(options, analysis, tier, defaults)
    policy = Policy(
        tier=tier,
        identity=request.identity,
        workdir=workdir,
        network=network,
        grants=grants,
        environment=seen(request) if visible is None else visible,
        limits=choices.limits_of(options, defaults.limits[tier]),
        commit=options.commit or (CommitMode.HOLD if tier is Tier.DANGEROUS_ISOLATED else CommitMode.AUTO),
        overlay_all=tier is Tier.DANGEROUS_ISOLATED and not options.within,
        # Where ids cannot be shifted root runs without capabilities, and the result names what is missing.
        shifted=(
            tier is Tier.DANGEROUS_ISOLATED
            and not options.within
            and request.identity.uid == 0
            and host.unshifted is None
        ),
        pooled=as_job_user,
        seen=pooling.shown(options, workdir, tier, facts) if as_job_user else (),
        # The host's processes are safe to look at only behind Landlock, which keeps their /proc/PID/root shut.
        host_proc=analysis.effects.reads_processes and tier is Tier.SAFE_PARALLEL and host.landlock > 0,
        hide=granting.covered("hide", options.hide, facts),
        readonly=granting.covered("ro", options.readonly, facts),
        tmpfs=granting.covered("tmpfs", options.tmpfs, facts),
        explicit=choices.explicit(options),
        allow_missing=options.allow_missing,
        allow_privileged=options.allow_privileged,
        seccomp_log=options.seccomp_log,
        allow=choices.allowed_hosts(options, network, defaults),
        publish=choices.published_ports(request, network),
    )
    choices.refuse_unenforceable(policy, host, strict=options.strict or defaults.strict)
    argv = request.argv if request.argv is not None else (_shell(), "-c", request.line or "")
    expected = {entry.path: entry.expected for entry in directories if entry.expected is not None}
    expected |= widening.unseen(tier, own, more, expected)
    return Plan(request, analysis, policy, reasons, tuple(argv), expected, mark, project, observed, reads)


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


def analysed(request: Request, facts: Facts) -> Analysis:
    """Predict what a request does, as a shell line or as a program that is executed as it is."""
    return analyse(request.line, facts) if request.line is not None else analyse_argv(list(request.argv or ()), facts)


def seen(request: Request) -> dict[str, str]:
    """The environment that the command will see."""
    options = request.options
    return environment.for_job(
        request.environment,
        request.identity,
        set_=options.set_environment,
        clear=options.clear_environment,
        workdir=options.workdir or request.cwd,
        tmpdir=operations.TMPDIR,
    )


def _shell() -> str:
    # The analysis reads bash: what it understood is what runs.
    return "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"


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
