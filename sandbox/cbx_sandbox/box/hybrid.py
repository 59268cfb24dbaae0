"""Limits through cgroup v1, where a hybrid host still binds memory, cpu, pids or block I/O to it.

One group a job and controller, ``<mount>/<name>/<job>``, holding the payload only. Processes are tracked, frozen and
killed through the unified hierarchy; these groups only limit and count.
"""

from __future__ import annotations

import os

from cgroupspy.controllers import BlkIOController, CpuController, MemoryController
from cgroupspy.nodes import Node

from cbx_sandbox.box.spec import LimitSpec
from cbx_sandbox.linux import cgroupfs

_SOCKETS = "memory.kmem.tcp.limit_in_bytes"
_SOCKETS_SHARE = 4  # of the memory limit, what sockets may hold


class V1Group:
    """The v1 groups of one job."""

    def __init__(self, mounts: dict[str, str], name: str, job: str) -> None:
        self.paths = {controller: f"{mount}/{name}/{job}" for controller, mount in mounts.items()}

    def create(self) -> None:
        """Make the groups, without limits."""
        for path in self.paths.values():
            os.makedirs(path, mode=0o755, exist_ok=True)

    def limit(self, limits: LimitSpec, devices: list[str]) -> dict[str, str]:
        """Set ``limits``; return why each limit that could not be set could not."""
        missing: dict[str, str] = {}
        for controller, path in self.paths.items():
            node = Node(path)
            if controller == "memory":
                missing |= _limit_memory(MemoryController(node), path, limits)
            elif controller == "cpu" and limits["cpus"] is not None:
                cpu = CpuController(node)
                quota, cpu.cfs_period_us = cgroupfs.bandwidth(limits["cpus"])
                cpu.cfs_quota_us = quota
            elif controller == "pids" and limits["pids"] is not None:
                cgroupfs.write(f"{path}/pids.max", str(limits["pids"]))
            elif controller == "blkio" and limits["io_bytes_per_second"] is not None:
                _limit_io(BlkIOController(node), limits["io_bytes_per_second"], devices)
        return missing

    def open_procs(self) -> list[int]:
        """Descriptors through which the payload joins each group itself."""
        return [os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for path in self.paths.values()]

    def open_directories(self) -> dict[str, int]:
        """Descriptors of the groups, for reading their counters after the host's tree is covered."""
        return {name: os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for name, path in self.paths.items()}

    def remove(self, patience: float = 1.0) -> list[str]:
        """Remove the groups; returns those that stay because something still lives in them."""
        return [path for path in self.paths.values() if not cgroupfs.remove(path, patience)]


def _limit_memory(memory: MemoryController, path: str, limits: LimitSpec) -> dict[str, str]:
    if limits["memory"] is None:
        return {}
    memory.limit_in_bytes = limits["memory"]
    # What TCP and UDP hold is in no limit here unless it has one of its own, beside the other: all else is the host's.
    if os.path.exists(f"{path}/{_SOCKETS}"):
        cgroupfs.write(f"{path}/{_SOCKETS}", str(limits["memory"] // _SOCKETS_SHARE))
    if limits["swap"] is None:
        return {}
    if os.path.exists(f"{path}/memory.memsw.limit_in_bytes"):
        memory.memsw_limit_in_bytes = limits["memory"] + limits["swap"]
    elif _has_swap():
        return {"swap": "this kernel does not count swap on cgroup v1 (swapaccount=1 on its command line does)"}
    return {}


def _has_swap() -> bool:
    with open("/proc/swaps", encoding="utf-8") as file:
        return len(file.readlines()) > 1


def _limit_io(blkio: BlkIOController, rate: int, devices: list[str]) -> None:
    directory = blkio.node.full_path.decode()
    for name in ("read", "write"):
        for device in devices:
            cgroupfs.write(f"{directory}/blkio.throttle.{name}_bps_device", f"{device} {rate}")


def usage(groups: dict[str, cgroupfs.Files]) -> dict[str, int]:
    """Peaks of memory and processes, throttled time (s/10^9), I/O bytes, OOM kills, refused forks, from v1 groups."""
    found: dict[str, int] = {}
    if (group := groups.get("memory")) is not None:
        found["memory_peak_bytes"] = int(group.read("memory.max_usage_in_bytes") or 0)
        found["oom_kills"] = cgroupfs.flat(group.read("memory.oom_control")).get("oom_kill", 0)
    if (group := groups.get("cpu")) is not None:
        found["throttled_ns"] = cgroupfs.flat(group.read("cpu.stat")).get("throttled_time", 0)
    if (group := groups.get("pids")) is not None:
        found["pids_peak"] = int(group.read("pids.peak") or 0)
        found["pids_refused"] = cgroupfs.flat(group.read("pids.events")).get("max", 0)
    if (group := groups.get("blkio")) is not None:
        for line in (group.read("blkio.throttle.io_service_bytes") or "").splitlines():
            fields = line.split()
            if len(fields) == 3 and fields[1] in {"Read", "Write"}:
                key = f"io_{fields[1].lower()}_bytes"
                found[key] = found.get(key, 0) + int(fields[2])
    return found
