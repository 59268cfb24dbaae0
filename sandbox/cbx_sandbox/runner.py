"""The one place that joins the parts: analyse, plan, and after the run decide what becomes of its changes."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from cbx_sandbox import environment, lockset, refusals, widening
from cbx_sandbox.box import operations
from cbx_sandbox.box import plan as box_plan
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.errors import DeniedError, UnavailableError, UsageError
from cbx_sandbox.linux import landlock
from cbx_sandbox.policy import (
    USUAL_PORTS,
    CommitMode,
    Grant,
    Identity,
    Limits,
    LockMode,
    NetworkMode,
    Policy,
    Published,
)
from cbx_sandbox.shell import learned
from cbx_sandbox.shell.analysis import Analysis, analyse, analyse_argv
from cbx_sandbox.shell.effects import Facts
from cbx_sandbox.shell.fingerprint import fingerprint
from cbx_sandbox.shell.learned import Lesson
from cbx_sandbox.shell.tiers import Reason, Tier


class Options(Struct, frozen=True):
    """What the caller asked for by name; None is "as configured". Sizes in bytes, times in seconds."""

    timeout: float | None = None
    kill_after: float | None = None
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    network: NetworkMode | None = None
    allow_hosts: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    workdir: str | None = None
    set_environment: Mapping[str, str] = field(default_factory=dict)
    clear_environment: bool = False
    writable: tuple[str, ...] = ()
    readonly: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    tier: Tier | None = None
    commit: CommitMode | None = None
    strict: bool = False
    allow_missing: frozenset[str] = frozenset()
    allow_privileged: bool = False
    seccomp_log: bool = False
    host_effects: frozenset[str] = frozenset()
    agreed: bool = False  # to what a check wants to be asked about
    allow_checks: frozenset[str] = frozenset()  # codes of checks that root overrides, or "all"
    viewing: bool = False  # looks around in a checkpoint's view: nothing can be written
    within: tuple[str, ...] = ()  # the directories of a transaction: it writes into their layers, and nowhere else


class Request(Struct, frozen=True):
    """A command to run: either a shell line or an argument vector, by whom, where, with which environment."""

    identity: Identity
    cwd: str
    environment: Mapping[str, str]
    argv: tuple[str, ...] | None = None
    line: str | None = None
    options: Options = field(default_factory=Options)
    submitter_is_root: bool = False

    @property
    def text(self) -> str:
        """The command as one line, for people."""
        import shlex  # noqa: PLC0415  # for people only: not on the way to a job

        return self.line if self.line is not None else shlex.join(self.argv or ())


class Defaults(Struct, frozen=True):
    """What is configured: limits for each tier, where predicted network use leads, what allowlists begin with."""

    limits: Mapping[Tier, Limits] = field(default_factory=lambda: dict.fromkeys(Tier, Limits()))
    predicted_network: NetworkMode = NetworkMode.HOST
    allow_hosts: tuple[str, ...] = ()
    host_sets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ports: Sequence[int] = USUAL_PORTS
    strict: bool = False
    hidden: tuple[str, ...] = ()
    observe_every: int = 0  # one in so many runs of a CONDITIONAL command is over an overlay; 0: none


class HostReport(Struct, frozen=True):
    """What this host can enforce: from the launcher, which tried it.

    ``missing`` maps a limit to the reason; ``unshifted`` says why ids cannot be shifted, None if they can.
    """

    missing: Mapping[str, str] = field(default_factory=dict)
    hybrid: bool = False
    landlock: int = 0
    unshifted: str | None = None


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
    project = facts.project_root(facts.cwd) if may_write else "/"
    more = widening.places(lesson, project, facts, submitter_is_root=request.submitter_is_root)
    floor = learned.floor(lesson, more) if more or analysis.tier is not Tier.SAFE_PARALLEL else None
    tier, reasons = _choose_tier(request, analysis, [at_least, floor])
    directories = lockset.directories(analysis.effects.paths, facts)
    tier, reasons = _raise_for_coarse(request, tier, reasons, directories)
    predicted = _predicted(request, analysis, directories, facts)
    # A command that was taken for SAFE gets an overlay over what it was seen to write, and over nothing else.
    fallback = not (more and analysis.tier is Tier.SAFE_PARALLEL and request.options.tier is None)
    tier, own = _grants(request, tier, predicted, facts, fallback=fallback)
    grants = widening.widened(tier, own, more)
    reasons = (*reasons, *_withheld(request, tier, directories, grants))
    taught = [path for path in more if widening.granted(path, grants)]
    if floor is not None and taught and floor not in reasons:
        reasons = (*reasons, floor)  # what it locks wants a reason, also where the tier is as it was
    analysis = learned.corrected(analysis, lesson, taught)
    options = request.options
    observed = observe and _to_observe(options, tier, grants, defaults.observe_every, lesson)
    if observed:
        grants = tuple(Grant(grant.path, LockMode.U, overlay=True) for grant in grants)
    if options.viewing:
        tier, grants, observed = Tier.SAFE_PARALLEL, (), False
    elif options.within:
        tier, reasons, grants = _within(options, tier, reasons, lockset.directories(analysis.effects.paths, facts))
        observed = False
    workdir = options.workdir or request.cwd
    network = _network(options, analysis, tier, defaults)
    policy = Policy(
        tier=tier,
        identity=request.identity,
        workdir=workdir,
        network=network,
        grants=grants,
        environment=seen(request) if visible is None else visible,
        limits=_limits(options, defaults.limits[tier]),
        commit=options.commit or (CommitMode.HOLD if tier is Tier.DANGEROUS_ISOLATED else CommitMode.AUTO),
        overlay_all=tier is Tier.DANGEROUS_ISOLATED and not options.within,
        # Where ids cannot be shifted root runs without capabilities, and the result names what is missing.
        shifted=(
            tier is Tier.DANGEROUS_ISOLATED
            and not options.within
            and request.identity.uid == 0
            and host.unshifted is None
        ),
        # The host's processes are safe to look at only behind Landlock, which keeps their /proc/PID/root shut.
        host_proc=analysis.effects.reads_processes and tier is Tier.SAFE_PARALLEL and host.landlock > 0,
        hide=_covered("hide", options.hide, facts),
        readonly=_covered("ro", options.readonly, facts),
        tmpfs=_covered("tmpfs", options.tmpfs, facts),
        explicit=_explicit(options),
        allow_missing=options.allow_missing,
        allow_privileged=options.allow_privileged,
        seccomp_log=options.seccomp_log,
        allow=_allowed(options, network, defaults),
        publish=_published(request, network),
    )
    _refuse_unenforceable(policy, host, strict=options.strict or defaults.strict)
    argv = request.argv if request.argv is not None else (_shell(), "-c", request.line or "")
    expected = {entry.path: entry.expected for entry in directories if entry.expected is not None}
    expected |= widening.unseen(tier, own, more, expected)
    return Plan(request, analysis, policy, reasons, tuple(argv), expected, mark, project, observed)


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


def _to_observe(options: Options, tier: Tier, grants: tuple[Grant, ...], every: int, lesson: Lesson) -> bool:
    """Whether this run is looked at: the first and then one in ``every``, where nobody asked how it is to run."""
    asked = options.tier is not None or options.commit is not None or bool(options.writable)
    return every > 0 and tier is Tier.CONDITIONAL_PARALLEL and bool(grants) and not asked and lesson.runs % every == 0


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


def _predicted(
    request: Request, analysis: Analysis, directories: list[lockset.Directory], facts: Facts
) -> tuple[str, ...] | None:
    """The directories that the command is predicted to write and its submitter may; None if nothing was predicted."""
    if not directories:
        return None
    if request.submitter_is_root:
        return tuple(directory.path for directory in directories)
    return tuple(lockset.permitted(analysis.effects.paths, facts))


def _withheld(
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


def _grants(
    request: Request, tier: Tier, predicted: tuple[str, ...] | None, facts: Facts, *, fallback: bool
) -> tuple[Tier, tuple[Grant, ...]]:
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


def _covered(option: str, paths: Sequence[str], facts: Facts) -> tuple[str, ...]:
    resolved = tuple(facts.resolve(path) for path in paths)
    if "/" in resolved:
        # A mount over the root would change nothing, and a write rule for it would allow writing everywhere.
        raise UsageError(f"cannot use --{option} for /", hint="name directories below it")
    gone = [path for path in resolved if facts.kind(path) == "missing"]
    if option == "hide" and gone:
        raise UsageError(f"cannot hide {gone[0]}: there is no such path")
    return resolved


def _network(options: Options, analysis: Analysis, tier: Tier, defaults: Defaults) -> NetworkMode:
    if options.network is not None:
        return options.network
    if options.allow_hosts:
        return NetworkMode.ALLOWLIST
    if tier is Tier.DANGEROUS_ISOLATED or not analysis.effects.network:
        return NetworkMode.NONE
    return defaults.predicted_network


def _allowed(options: Options, network: NetworkMode, defaults: Defaults) -> tuple[str, ...]:
    """The entries of the allowlist, written out. What is looked up of each is the relay's business."""
    if network is not NetworkMode.ALLOWLIST:
        if options.allow_hosts:
            hint = "--allow-host alone asks for --network allowlist"
            raise UsageError(f"--allow-host and --network {network.value} exclude each other", hint=hint)
        return ()
    from cbx_sandbox import allowlist  # noqa: PLC0415  # ipaddress is dear, and few jobs have a list

    sets = {**allowlist.SETS, **defaults.host_sets}
    entries = allowlist.parse((*defaults.allow_hosts, *options.allow_hosts), sets, defaults.ports)
    return tuple(str(entry) for entry in entries)


def _published(request: Request, network: NetworkMode) -> tuple[Published, ...]:
    texts = request.options.publish
    if not texts:
        return ()
    if network is NetworkMode.HOST:
        raise UsageError("--publish and --network host exclude each other", hint="its ports are the host's own there")
    from cbx_sandbox import allowlist  # noqa: PLC0415  # as above

    if len(texts) > allowlist.MAX_PUBLISHED:
        raise UsageError(f"cannot publish {len(texts)} ports: {allowlist.MAX_PUBLISHED} at most")
    published = tuple(allowlist.parse_published(text) for text in texts)
    for entry in published:
        if entry.host_port < _FIRST_FREE_PORT and not request.submitter_is_root:
            raise DeniedError(
                f"cannot publish on port {entry.host_port}: only root may", hint=f"from {_FIRST_FREE_PORT} on all may"
            )
    return published


_FIRST_FREE_PORT = 1024  # as net.ipv4.ip_unprivileged_port_start has it where nobody changed it


def _limits(options: Options, limits: Limits) -> Limits:
    changes: dict[str, Any] = {
        name: value
        for name in ("memory", "cpus", "pids", "kill_after")
        if (value := getattr(options, name)) is not None
    }
    if options.timeout is not None:
        changes["timeout"] = options.timeout or None  # 0 is no limit, as for timeout(1)
    return replace(limits, **changes)


def _explicit(options: Options) -> frozenset[str]:
    return frozenset(name for name in ("memory", "cpus", "pids") if getattr(options, name) is not None)


def _refuse_unenforceable(policy: Policy, host: HostReport, *, strict: bool) -> None:
    asked = set(host.missing) if strict else set(host.missing) & policy.explicit
    refused = sorted(asked - policy.allow_missing)
    if refused:
        raise UnavailableError(
            f"cannot enforce {', '.join(refused)} on this host",
            details="\n".join(f"{name}: {host.missing[name]}" for name in refused),
            hint=f"root may accept it with --allow-missing {','.join(refused)}; `cbx-sandbox doctor` shows the fix",
        )


class Fate(enum.StrEnum):
    """What becomes of a change set."""

    COMMIT = "commit"
    HOLD = "hold"
    ROLL_BACK = "roll back"


def decide(planned: Plan, outcome: Outcome, changed: Sequence[str]) -> tuple[Fate, str]:
    """What becomes of the overlay's changes, and why. ``changed`` are the live paths of the change set."""
    mode, succeeded = planned.policy.commit, outcome["exit_code"] == 0 and outcome["reason"] == "exited"
    if mode is CommitMode.NEVER:
        return Fate.ROLL_BACK, "--commit never"
    if not outcome["frozen"]:
        return Fate.HOLD, "something still holds files of the overlay open"
    if mode is CommitMode.HOLD:
        return Fate.HOLD, "held for review"
    if not succeeded:
        return Fate.ROLL_BACK, "the command did not succeed"
    if outside := _outside(planned, changed):
        return Fate.HOLD, f"{outside} was changed, which was not predicted"
    return Fate.COMMIT, "the command succeeded"


def _outside(planned: Plan, changed: Sequence[str]) -> str | None:
    for directory, expected in planned.expected.items():
        for path in changed:
            inside = lockset.beneath(path, directory) and path != directory
            if inside and not any(lockset.beneath(path, name) or lockset.beneath(name, path) for name in expected):
                return path
    return None


def guarantees(
    planned: Plan,
    host: HostReport,
    missing: Mapping[str, str],
    outcome: Outcome,
    *,
    shown: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Which promises were kept by the kernel in this run, and which were not, with the reason.

    ``shown`` are the mounts that a DANGEROUS job saw without an overlay; None if that is not known any more.
    """
    policy = planned.policy
    in_force = [
        "read-only-host", "own-pid-namespace", "own-ipc", "private-run", "minimal-dev", "no-new-privs", "no-core-dumps",
        "descriptors-closed", "terminal-injection-refused", "process-cleanup", "own-keyring",
    ]  # fmt: skip
    lacking = {**host.missing, **missing}
    names = {"memory": "memory-limit", "swap": "swap-limit", "cpus": "cpu-limit", "pids": "process-limit"}
    names["io"] = "io-limit"
    values: dict[str, object] = {
        "memory": policy.limits.memory, "swap": policy.limits.swap, "cpus": policy.limits.cpus,
        "pids": policy.limits.pids, "io": policy.limits.io_bytes_per_second,
    }  # fmt: skip
    absent = [{"name": names[limit], "why": why} for limit, why in lacking.items() if limit in names]
    in_force += [name for limit, name in names.items() if limit not in lacking and values[limit] is not None]
    if host.hybrid and "io" not in lacking:
        absent.append({"name": "buffered-write-limit", "why": "cgroup v1 limits direct I/O only"})
    for name, abi in _by_landlock(policy):
        if host.landlock >= abi:
            in_force.append(name)
        else:
            why = f"needs Landlock ABI {abi}, this kernel has {host.landlock}"
            absent.append({"name": name, "why": why if host.landlock else "Landlock is not enabled in this kernel"})
    if policy.seccomp_log:
        absent.append({"name": "seccomp", "why": "--seccomp-log: calls that no profile has were allowed and logged"})
    else:
        in_force.append("seccomp")
    if policy.network is not NetworkMode.HOST:
        in_force.append("no-network" if policy.network is NetworkMode.NONE else "network-allowlist")
    if (deputies := _deputies(policy, host, shown)) is None:
        in_force.append("no-deputies")
    else:
        absent.append({"name": "no-deputies", "why": deputies})
    if policy.overlay_all:
        in_force.append("whole-host-overlay")
        absent.append({"name": "stable-lower", "why": "files outside the lock set may change while the job runs"})
    if policy.shifted:
        in_force.append("shifted-ids")
    elif policy.overlay_all and policy.identity.uid == 0:
        absent.append({"name": "shifted-ids", "why": host.unshifted or ""})
    if outcome["unkillable"]:
        in_force.remove("process-cleanup")
        absent.append({"name": "process-cleanup", "why": "a process did not die (uninterruptible sleep)"})
    return {"in_force": sorted(in_force), "missing": absent}


def _by_landlock(policy: Policy) -> list[tuple[str, int]]:
    """What Landlock keeps in a run like this, and the ABI that it needs for that."""
    found = [("landlock-writes", 1), ("landlock-scopes", landlock.ABI_SCOPES)]
    return found if box_plan.uses_tcp(policy) else [*found, ("landlock-no-tcp", landlock.ABI_TCP)]


def _deputies(policy: Policy, host: HostReport, shown: Sequence[str] | None) -> str | None:
    """Why a daemon of the host could be asked to act for the job; None if it could not."""
    if policy.network is NetworkMode.HOST:
        return "with the host's network, its daemons can act for the job"
    if not host.landlock:
        return "without Landlock a job can write into the host's FIFOs"
    if policy.tier is Tier.SAFE_PARALLEL:
        return None  # it makes no socket that has a name
    if not policy.overlay_all:
        # Sockets below an overlay are other sockets; below a read-only mount they are the host's.
        return "host daemons with a socket outside /run can be asked to act"
    if shown is None:
        return "which mounts had no overlay is not known any more"
    return f"sockets below {', '.join(shown)} are the host's: no overlay is over it" if shown else None
