"""Plan one run: analyse it, choose its tier and what it may write, and write down the policy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from cbx_sandbox import environment, refusals
from cbx_sandbox.box import operations
from cbx_sandbox.placement import text_of
from cbx_sandbox.policy import CommitMode, Placement, Policy
from cbx_sandbox.runner import choices, deciding, granting, placing, pooling
from cbx_sandbox.runner.deciding import Decision
from cbx_sandbox.runner.request import Defaults, HostReport, Request
from cbx_sandbox.shell.analysis import Analysis, analyse, analyse_argv
from cbx_sandbox.shell.effects import Facts, HostKind
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
                "host_effects": sorted(policy.host_effects),
                "limits": asdict(policy.limits),
                "placement": _placement(policy.placement),
                "identity": {"uid": policy.identity.uid, "gid": policy.identity.gid},
                "workdir": policy.workdir,
            },
            "mounts": [operation.describe() for operation in operations_],
        }


def _placement(wanted: Placement) -> dict[str, Any]:
    return {
        name: text_of(value) if isinstance(value, tuple) else value
        for name, value in asdict(wanted).items()
        if value is not None
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
    effects = choices.host_effects(request.options)
    refusals.refuse(
        analysis,
        agreed=request.options.agreed,
        allowed=request.options.allow_checks,
        root=request.submitter_is_root,
        granted=effects,
    )
    mark = fingerprint(analysis, facts.cwd)
    lesson = (lessons or {}).get(mark, Lesson())
    floors = (at_least, choices.floor(effects))
    found = deciding.decided(request, facts, defaults, host, analysis, lesson, floors=floors, observe=observe)
    visible = seen(request) if visible is None else visible
    policy = _policy(request, facts, defaults, host, found, visible, effects)
    choices.refuse_unenforceable(policy, host, strict=request.options.strict or defaults.strict)
    argv = request.argv if request.argv is not None else (_shell(), "-c", request.line or "")
    return Plan(
        request,
        found.analysis,
        policy,
        found.reasons,
        tuple(argv),
        found.expected,
        mark,
        found.project,
        found.observed,
        found.reads,
    )


def _policy(
    request: Request,
    facts: Facts,
    defaults: Defaults,
    host: HostReport,
    found: Decision,
    visible: Mapping[str, str],
    effects: frozenset[HostKind],
) -> Policy:
    """What is enforced of a decision, with what was asked for beside it."""
    options, tier, isolated = request.options, found.tier, found.tier is Tier.DANGEROUS_ISOLATED
    workdir = options.workdir or request.cwd
    network = choices.network_mode(options, found.analysis, tier, defaults)
    return Policy(
        tier=tier,
        identity=request.identity,
        workdir=workdir,
        network=network,
        grants=found.grants,
        environment=visible,
        limits=choices.limits_of(options, defaults.limits[tier]),
        commit=options.commit or (CommitMode.HOLD if isolated else CommitMode.AUTO),
        overlay_all=isolated and not options.within,
        # Where ids cannot be shifted root runs without capabilities, and the result names what is missing.
        shifted=(
            isolated
            and not options.within
            and request.identity.uid == 0
            and host.unshifted is None
            and not effects  # nobody of the host may change the host
        ),
        pooled=found.pooled,
        seen=pooling.shown(options, workdir, tier, facts) if found.pooled else (),
        # The host's processes are safe to look at only behind Landlock, which keeps their /proc/PID/root shut.
        host_proc=host.landlock > 0
        and (HostKind.PROCESS in effects or (found.analysis.effects.reads_processes and tier is Tier.SAFE_PARALLEL)),
        hide=granting.covered("hide", options.hide, facts),
        readonly=granting.covered("ro", options.readonly, facts),
        tmpfs=granting.covered("tmpfs", options.tmpfs, facts),
        explicit=choices.explicit(options),
        allow_missing=options.allow_missing,
        allow_privileged=options.allow_privileged,
        seccomp_log=options.seccomp_log,
        allow=choices.allowed_hosts(options, network, defaults),
        publish=choices.published_ports(request, network),
        placement=placing.placement(options, defaults, tier, host, strict=options.strict or defaults.strict),
        host_effects=effects,
    )


def analysed(request: Request, facts: Facts) -> Analysis:
    """Predict what a request does, as a shell line or as a program that is executed as it is."""
    return analyse(request.line, facts) if request.line is not None else analyse_argv(list(request.argv or ()), facts)


def seen(request: Request) -> dict[str, str]:
    """The environment that the command will see."""
    options = request.options
    # The manager's own socket serves only whom it can see: to it, a job is a process without a number.
    by_bus = {"SYSTEMCTL_FORCE_BUS": "1"} if HostKind.SERVICE in choices.host_effects(options) else {}
    return environment.for_job(
        request.environment,
        request.identity,
        set_={**by_bus, **options.set_environment},
        clear=options.clear_environment,
        workdir=options.workdir or request.cwd,
        tmpdir=operations.TMPDIR,
    )


def _shell() -> str:
    # The analysis reads bash: what it understood is what runs.
    return "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"
