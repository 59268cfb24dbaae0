"""What `run` would do with a command, found out without a supervisor and without running anything."""

from __future__ import annotations

import grp
import os
import pwd
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from cbx_sandbox import runner
from cbx_sandbox.box import plan as box_plan
from cbx_sandbox.errors import CbxError
from cbx_sandbox.facts import HostFacts
from cbx_sandbox.linux import landlock
from cbx_sandbox.placement import niceness, numbers, weight
from cbx_sandbox.policy import POOL, CommitMode, Identity, NetworkMode, Placement
from cbx_sandbox.shell.analysis import Analysis
from cbx_sandbox.shell.effects import HostKind
from cbx_sandbox.shell.estimate import NORMAL_USER_PRIORITY, priority
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor import paths as places
from cbx_supervisor import settings_sources
from cbx_supervisor.cli import analyses, marking, output, remembered
from cbx_supervisor.cli.paint import Paint
from cbx_supervisor.client import plans
from cbx_supervisor.execution.defaults import defaults
from cbx_supervisor.execution.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cbx_sandbox.box.operations import Operation
    from cbx_sandbox.box.plan import HostView
    from cbx_supervisor.client.options import Values
    from cbx_supervisor.paths import Paths
    from cbx_supervisor.settings import Settings


T = TypeVar("T")


class Explanation:
    """The analysis of a command, and its plan or the reason for which there is none."""

    def __init__(self, values: Values, command: Sequence[str]) -> None:
        request = request_of(values, command)
        facts = HostFacts(
            request.options.workdir or request.cwd,
            runner.seen(request),
            home=request.identity.home,
            uid=request.identity.uid,
        )
        self.analysis: Analysis = runner.analysed(request, facts)
        self.plan: runner.Plan | None = None
        self.refusal: CbxError | None = None
        self.operations: Sequence[Operation] = ()
        self.taught: dict[str, Any] = {}
        try:
            _enter(request.options.workdir, facts)
            paths, settings = _settings()
            # Asked only where something hangs on it.
            abi = landlock.abi() if HostKind.PROCESS in request.options.host_effects else 0
            report = runner.HostReport(landlock=abi, places=runner.Places(by="cpuset"))
            self.plan = runner.plan(request, facts, defaults(settings), report, analysis=self.analysis, observe=False)
            self._remember(remembered.plan(values, command))
            self.operations = _operations(self.plan, Host(paths, settings.sandbox.hide).view())
        except CbxError as why:
            self.refusal = why
        self._rank(values)

    def _rank(self, values: Values) -> None:
        """Let the priority be that of the tier that was planned, and of what the submitter says of it."""
        planned = self.analysis.tier if self.plan is None else self.plan.policy.tier
        tier = Tier(self.taught["tier"]) if self.taught else planned
        user = NORMAL_USER_PRIORITY
        if "priority" in values:
            from cbx_supervisor.scheduling.order import Importance  # noqa: PLC0415 -- dear, and seldom asked for

            user = Importance(values["priority"][-1]).score
        score = priority(tier, self.analysis.estimate, user)
        self.analysis = replace(self.analysis, priority=score)

    def describe(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        described = analyses.describe(self.analysis)
        if self.plan is not None:
            planned = self.plan.describe(self.operations)
            described |= {key: planned[key] for key in ("tier", "reasons", "locks", "policy", "mounts", "fingerprint")}
            described |= self.taught
        refusal = self.refusal
        described["refused"] = refusal and {
            "status": refusal.exit_status,
            "brief": refusal.brief,
            "details": refusal.details,
            "hint": refusal.hint,
        }
        return described

    def render(self, *, width: int = marking.WIDTH, paint: Paint | None = None) -> str:
        """Lay it out for people."""
        plan = self.plan
        if plan is None:
            text = analyses.render(self.analysis, width=width, paint=paint)
            return text + "\n\nrefused: " + output.lines(str(self.refusal))
        tier = Tier(self.taught["tier"]) if self.taught else plan.policy.tier
        reasons = [*plan.reasons, *remembered.reasons(self.taught)]
        text = analyses.render(self.analysis, tier, reasons, width=width, paint=paint)
        return f"{text}\n\n{plans.details(self.describe())}"

    def _remember(self, known: dict[str, Any] | None) -> None:
        """Take over what the supervisor knows better: the estimate, and the locks where earlier runs taught some."""
        if known is None:
            return
        expected = remembered.estimate(known)
        self.analysis = replace(self.analysis, estimate=expected)
        if remembered.reasons(known):
            self.taught = {key: known[key] for key in ("tier", "reasons", "locks", "mounts")}


def _enter(workdir: str | None, facts: HostFacts) -> None:
    """Raise CbxError where the box could not go into the directory that the command is to work in."""
    if workdir is not None and facts.kind(facts.resolve(workdir)) != "dir":
        raise CbxError(f"cannot work in {workdir}: it is not a directory")


def _settings() -> tuple[Paths, Settings]:
    paths = places.from_environment(os.environ, uid=os.getuid())
    return paths, settings_sources.load(paths.config, os.environ)


def _operations(plan: runner.Plan, view: HostView) -> list[Operation]:
    """Return the steps that would build the box; the layers' directories exist only in a real run."""
    targets = box_plan.overlay_targets(plan.policy, view)
    new = [box_plan.OverlayPlace(target, "(a new layer)", redirect=True) for target in targets]
    locked = [box_plan.LockedDirectory(grant.path, 0, 0) for grant in plan.policy.grants if grant.direct]
    return box_plan.operations(plan.policy, view, new, locked)


def request_of(values: Values, command: Sequence[str]) -> runner.Request:
    """Return what `run` would ask for on the caller's behalf."""

    def first(key: str) -> str | None:
        return values[key][-1] if key in values else None

    def number(key: str) -> float | None:
        return float(values[key][-1]) if key in values else None

    def whole(key: str, convert: Callable[[str], T]) -> T | None:
        return convert(values[key][-1]) if key in values else None

    def paths(key: str) -> tuple[str, ...]:
        return tuple(os.path.join(cwd, path) for path in values.get(key, ()))

    def names(key: str) -> frozenset[str]:
        return frozenset(name for text in values.get(key, ()) for name in text.split(","))

    cwd = os.getcwd()
    network, tier, commit, memory, pids = (first(key) for key in ("network", "tier", "commit", "memory", "pids"))
    workdir = first("workdir")
    given = dict(entry.partition("=")[::2] for entry in values.get("setenv", ()) if "=" in entry)
    return runner.Request(
        identity=_identity(),
        cwd=cwd,
        environment=dict(os.environ),
        argv=tuple(command) or None,
        line=first("line"),
        submitter_is_root=os.getuid() == 0,
        options=runner.Options(
            timeout=number("timeout"),
            kill_after=number("kill_after"),
            memory=int(memory) if memory else None,
            cpus=number("cpus"),
            pids=int(pids) if pids else None,
            network=NetworkMode(network) if network else None,
            allow_hosts=tuple(values.get("allow_host", ())),
            publish=tuple(values.get("publish", ())),
            workdir=os.path.join(cwd, workdir) if workdir else None,
            set_environment=given,
            clear_environment="clear_env" in values,
            writable=paths("rw"),
            readonly=paths("ro"),
            hide=paths("hide"),
            tmpfs=paths("tmpfs"),
            tier=Tier(tier) if tier else None,
            commit=CommitMode(commit) if commit else None,
            strict="strict" in values,
            allow_missing=names("allow_missing"),
            allow_privileged="allow_privileged" in values,
            seccomp_log="seccomp_log" in values,
            pooled=values.get("user") == [POOL],
            host_effects=names("host_effects"),
            agreed="yes" in values,
            allow_checks=names("allow_checks"),
            observe="observe" in values,
            placement=Placement(
                cpus=whole("cpus_allowed", numbers),
                nodes=whole("mems_allowed", numbers),
                nice=whole("nice", niceness),
                cpu_weight=whole("cpu_weight", weight),
                io_weight=whole("io_weight", weight),
            ),
        ),
    )


def _identity() -> Identity:
    uid = os.getuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Identity(uid, os.getgid(), tuple(os.getgroups()), str(uid), "/")
    groups = tuple(sorted({group.gr_gid for group in grp.getgrall() if entry.pw_name in group.gr_mem} | {entry.pw_gid}))
    return Identity(uid, entry.pw_gid, groups, entry.pw_name, entry.pw_dir, entry.pw_shell or "/bin/sh")
