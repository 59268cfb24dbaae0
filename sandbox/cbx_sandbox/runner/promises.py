"""Which promises the kernel kept in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cbx_sandbox.box import plan as box_plan
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.linux import landlock
from cbx_sandbox.policy import NetworkMode, Policy
from cbx_sandbox.runner.planning import Plan
from cbx_sandbox.runner.request import HostReport
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
    if policy.pooled:
        in_force.append("job-user")
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
