"""Which promises the kernel kept in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cbx_sandbox.box import plan as box_plan
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.linux import landlock
from cbx_sandbox.policy import NOWHERE, NetworkMode, Placement, Policy
from cbx_sandbox.runner.placing import weights
from cbx_sandbox.runner.planning import Plan
from cbx_sandbox.runner.request import HostReport, Places
from cbx_sandbox.shell.effects import HostKind
from cbx_sandbox.shell.tiers import Tier


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
    policy, found = planned.policy, _Found()
    lifted, why = _lifted(policy.host_effects) if policy.host_effects else ([], "")
    for name in _ALWAYS:
        if name == "process-cleanup" and outcome["unkillable"]:
            found.lacks(name, "a process did not die (uninterruptible sleep)")
        elif name in lifted:
            found.lacks(name, why)
        else:
            found.keeps(name)
    if policy.host_effects:
        found.lacks("reversible", why)
    _limits(found, policy, host, {**host.missing, **missing})
    if policy.placement != NOWHERE and host.places is not None:
        _place(found, policy.placement, host.places, {**host.places.missing, **missing})
    _confinement(found, policy, host)
    if (deputies := _deputies(policy, host, shown)) is None:
        found.keeps("no-deputies")
    else:
        found.lacks("no-deputies", deputies)
    if policy.overlay_all:
        found.keeps("whole-host-overlay")
        found.lacks("stable-lower", "files outside the lock set may change while the job runs")
    return {"in_force": sorted(found.in_force), "missing": found.missing}


_ALWAYS = (
    "read-only-host", "own-pid-namespace", "own-ipc", "private-run", "minimal-dev", "no-new-privs", "no-core-dumps",
    "descriptors-closed", "terminal-injection-refused", "process-cleanup", "own-keyring",
)  # fmt: skip
_LIMITS = {
    "memory": "memory-limit", "swap": "swap-limit", "cpus": "cpu-limit", "pids": "process-limit", "io": "io-limit",
}  # fmt: skip


class _Found:
    def __init__(self) -> None:
        self.in_force: list[str] = []
        self.missing: list[dict[str, str]] = []

    def keeps(self, name: str) -> None:
        self.in_force.append(name)

    def lacks(self, name: str, why: str) -> None:
        self.missing.append({"name": name, "why": why})


def _limits(found: _Found, policy: Policy, host: HostReport, lacking: Mapping[str, str]) -> None:
    """What the job's cgroup holds it to."""
    limits = policy.limits
    values: dict[str, object] = {
        "memory": limits.memory, "swap": limits.swap, "cpus": limits.cpus, "pids": limits.pids,
        "io": limits.io_bytes_per_second,
    }  # fmt: skip
    for limit, name in _LIMITS.items():
        if limit in lacking:
            found.lacks(name, lacking[limit])
        elif values[limit] is not None:
            found.keeps(name)
    if host.hybrid and "io" not in lacking:
        found.lacks("buffered-write-limit", "cgroup v1 limits direct I/O only")


def _place(found: _Found, wanted: Placement, places: Places, ignored: Mapping[str, str]) -> None:
    """What holds a job to its place, and the weights that counted for nothing."""
    for name, value in {"cpus-allowed": wanted.cpus, "memory-nodes": wanted.nodes}.items():
        if value is not None:
            found.keeps(f"{name}-by-{places.by}")
    if wanted.nice is not None:
        found.keeps("nice")
    for name in weights(wanted):
        if name in ignored:
            found.lacks(name, ignored[name])
        else:
            found.keeps(name)


def _confinement(found: _Found, policy: Policy, host: HostReport) -> None:
    """Which layers were there: Landlock, seccomp, a network namespace, other users."""
    for name, abi in _by_landlock(policy):
        if host.landlock >= abi:
            found.keeps(name)
        else:
            why = f"needs Landlock ABI {abi}, this kernel has {host.landlock}"
            found.lacks(name, why if host.landlock else "Landlock is not enabled in this kernel")
    if policy.seccomp_log:
        found.lacks("seccomp", "--seccomp-log: calls that no profile has were allowed and logged")
    else:
        found.keeps("seccomp")
    if policy.network is not NetworkMode.HOST:
        found.keeps("no-network" if policy.network is NetworkMode.NONE else "network-allowlist")
    if policy.pooled:
        found.keeps("job-user")
    if policy.shifted:
        found.keeps("shifted-ids")
    elif policy.overlay_all and policy.identity.uid == 0:
        found.lacks("shifted-ids", host.unshifted or "--host-effects")


def _lifted(effects: frozenset[HostKind]) -> tuple[list[str], str]:
    """Which promises are not kept for a job that may change the host itself, and why."""
    lifted = ["own-pid-namespace"] if HostKind.PROCESS in effects else []
    lifted += ["own-ipc"] if HostKind.KERNEL in effects else []
    lifted += ["private-run"] if effects & {HostKind.SERVICE, HostKind.DAEMON} else []
    return lifted, f"--host-effects {','.join(sorted(effects))}: what was done to the host stays"


def _by_landlock(policy: Policy) -> list[tuple[str, int]]:
    """What Landlock keeps in a run like this, and the ABI that it needs for that."""
    found = [("landlock-writes", 1)]
    # With signals let out the scope that is left, abstract sockets, is less than the promise says.
    found += [] if HostKind.PROCESS in policy.host_effects else [("landlock-scopes", landlock.ABI_SCOPES)]
    return found if box_plan.uses_tcp(policy) else [*found, ("landlock-no-tcp", landlock.ABI_TCP)]


def _deputies(policy: Policy, host: HostReport, shown: Sequence[str] | None) -> str | None:
    """Why a daemon of the host could be asked to act for the job; None if it could not."""
    if policy.host_effects:
        return f"--host-effects {','.join(sorted(policy.host_effects))}: that was asked for"
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
