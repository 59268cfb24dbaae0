"""What a probe found out about one guarantee, and what to do where it is missing."""

from __future__ import annotations

import dataclasses
import sys

OK, MISSING, UNKNOWN = "ok", "missing", "unknown"

_CONTROLLERS = "boot with systemd.unified_cgroup_hierarchy=1, or pass the controller on with Delegate=yes"
FIXES = {
    "landlock-writes": "add landlock to the lsm= list on the kernel command line (CONFIG_LSM)",
    "overlay": "put CBX_STATE_DIR on ext4, xfs or btrfs, not on overlayfs or NFS",
    "shifted-ids": "Linux 5.19 or later with / on ext4, xfs or btrfs; containers whose root is an overlay cannot",
    "memory-limit": _CONTROLLERS,
    "swap-limit": "swapaccount=1 on the kernel command line, or cgroup v2",
    "cpu-limit": _CONTROLLERS,
    "process-limit": _CONTROLLERS,
    "io-limit": _CONTROLLERS,
    "cpus-allowed": "a kernel with cpusets or seccomp filters",
    "io-weight": "echo bfq > /sys/block/DISK/queue/scheduler, for each disk below a file system",
    "seccomp": "a kernel with CONFIG_SECCOMP_FILTER",
    "landlock-scopes": "Linux 6.12 or later",
    "landlock-no-tcp": "Linux 6.7 or later",
    "read-only-host": "Linux 5.12 or later (mount_setattr)",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One guarantee: ``state`` is ok, missing or unknown; ``detail`` what was tried, ``fix`` what to do."""

    name: str
    state: str
    detail: str
    fix: str = ""


def judged(name: str, *, holds: bool, held: str, broken: str) -> Finding:
    """The finding of a probe: ``held`` or ``broken`` says what was seen."""
    return Finding(name, OK if holds else MISSING, held if holds else broken, "" if holds else FIXES.get(name, ""))


def python(code: str) -> list[str]:
    """The argument vector of a small job."""
    return [sys.executable, "-I", "-S", "-c", code]
