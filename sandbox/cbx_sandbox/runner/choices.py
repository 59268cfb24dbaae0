"""What the options, the configuration and the host make of a run's network and limits."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from cbx_sandbox.errors import DeniedError, UnavailableError, UsageError
from cbx_sandbox.policy import Limits, NetworkMode, Policy, Published
from cbx_sandbox.runner.request import Defaults, HostReport, Options, Request
from cbx_sandbox.shell.analysis import Analysis
from cbx_sandbox.shell.effects import HostKind
from cbx_sandbox.shell.tiers import Reason, Tier

_FIRST_FREE_PORT = 1024  # as net.ipv4.ip_unprivileged_port_start has it where nobody changed it


def host_effects(options: Options) -> frozenset[HostKind]:
    """The layers that are lifted. Raises UsageError; whether somebody may ask for that is not decided here."""
    if not options.host_effects:
        return frozenset()
    known = {kind.value: kind for kind in HostKind}
    if unknown := sorted(options.host_effects - known.keys()):
        hint = f"there are {', '.join(sorted(known))}"
        raise UsageError(f"cannot use --host-effects {unknown[0]}: there is no such kind", hint=hint)
    if options.viewing:
        raise UsageError("cannot use --host-effects with --view: a look changes nothing")
    found = frozenset(known[name] for name in options.host_effects)
    if found & {HostKind.NETWORK, HostKind.KERNEL} and (
        options.network not in {None, NetworkMode.HOST} or options.allow_hosts or options.publish
    ):
        raise UsageError("cannot use --host-effects network or kernel with a network of the job's own")
    return found


def floor(effects: frozenset[HostKind]) -> Reason | None:
    """What may change the host is not SAFE: that tier makes no socket that has a name, and is tried again."""
    if not effects:
        return None
    text = f"--host-effects {','.join(sorted(effects))}"
    return Reason("host-effects", text, Tier.SEQUENTIAL_REQUIRED)


def network_mode(options: Options, analysis: Analysis, tier: Tier, defaults: Defaults) -> NetworkMode:
    """Which network the job has: as asked, else as its tier and what was predicted want."""
    if options.network is not None:
        return options.network
    if options.host_effects & {HostKind.NETWORK, HostKind.KERNEL}:
        return NetworkMode.HOST  # there is one whose state or settings are meant
    if options.allow_hosts:
        return NetworkMode.ALLOWLIST
    if tier is Tier.DANGEROUS_ISOLATED or not analysis.effects.network:
        return NetworkMode.NONE
    return defaults.predicted_network


def allowed_hosts(options: Options, network: NetworkMode, defaults: Defaults) -> tuple[str, ...]:
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


def published_ports(request: Request, network: NetworkMode) -> tuple[Published, ...]:
    """The ports of its own network that the host shall answer for. Raises UsageError, DeniedError."""
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


def limits_of(options: Options, limits: Limits) -> Limits:
    """The configured limits with those that were asked for."""
    changes: dict[str, Any] = {
        name: value
        for name in ("memory", "cpus", "pids", "kill_after")
        if (value := getattr(options, name)) is not None
    }
    if options.timeout is not None:
        changes["timeout"] = options.timeout or None  # 0 is no limit, as for timeout(1)
    return replace(limits, **changes)


def explicit(options: Options) -> frozenset[str]:
    """The limits that were asked for by name: where one cannot be enforced, the job is not run."""
    return frozenset(name for name in ("memory", "cpus", "pids") if getattr(options, name) is not None)


def refuse_unenforceable(policy: Policy, host: HostReport, *, strict: bool) -> None:
    """Raises UnavailableError where the host lacks a limit that was asked for, or, if ``strict``, any.

    Also for the host's processes without Landlock: that alone keeps /proc/PID/root of the user's own ones shut, which
    is the host's tree as they see it, writable.
    """
    if HostKind.PROCESS in policy.host_effects and not host.landlock:
        raise UnavailableError(
            "cannot use --host-effects process: this kernel has no Landlock, or it is not switched on",
            details="the job could write anywhere through /proc/PID/root of other processes of its user",
            hint="add landlock to the lsm= list on the kernel command line (CONFIG_LSM)",
        )
    asked = set(host.missing) if strict else set(host.missing) & policy.explicit
    refused = sorted(asked - policy.allow_missing)
    if refused:
        raise UnavailableError(
            f"cannot enforce {', '.join(refused)} on this host",
            details="\n".join(f"{name}: {host.missing[name]}" for name in refused),
            hint=f"root may accept it with --allow-missing {','.join(refused)}; `cbx-sandbox doctor` shows the fix",
        )
