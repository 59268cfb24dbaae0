"""Where a job's processes run and what their groups weigh: done for those jobs only of which something is asked.

CPUs and memory nodes are a cpuset's, on whichever hierarchy has that controller: a job can narrow it and not widen it.
On cgroup v1 the group is made for the job, and its payload joins it. Where there is no cpuset, the payload sets its own
affinity and memory policy, and a filter keeps both as they are (``fixed`` in the order).
"""

from __future__ import annotations

import os
from typing import Any

from cbx_sandbox import placement
from cbx_sandbox.box import cgroup
from cbx_sandbox.box.spec import PlacementSpec
from cbx_sandbox.linux import cgroupfs, namespaces, priorities

CPUSET, SECCOMP = "cpuset", "seccomp"
FILLED = "trusted.cbx.filled"  # the attribute of a cpuset that cbx gave its CPUs and memory
CPU_WEIGHT, IO_WEIGHT = "cpu-weight", "io-weight"  # as they are called where they are missing


def report(groups: cgroup.Groups) -> dict[str, Any]:
    """What can be asked for here: CPUs, nodes, what holds a job to them, and why some weights count for nothing."""
    missing = {}
    if "cpu" not in groups.layout.controllers | groups.layout.v1.keys():
        missing[CPU_WEIGHT] = "no cpu controller on this host's cgroup hierarchies"
    if why := io_weights_ignored(groups, idle=False):
        missing[IO_WEIGHT] = why
    by, cpus, nodes = SECCOMP, None, None
    for directory, suffix in _cpusets(groups):
        by = CPUSET
        cpus = cgroupfs.read(f"{directory}/cpuset.{suffix[0]}")
        nodes = cgroupfs.read(f"{directory}/cpuset.{suffix[1]}")
    own = os.sched_getaffinity(0)
    there = placement.numbers(cpus) if cpus and cpus.strip() else tuple(sorted(own))
    return {
        "by": by,
        "cpus": [cpu for cpu in there if cpu in own],
        "nodes": list(placement.numbers(nodes) if nodes and nodes.strip() else _nodes()),
        "missing": missing,
    }


def _cpusets(groups: cgroup.Groups) -> list[tuple[str, tuple[str, str]]]:
    """The group above those of the jobs, and what its effective lists are called."""
    if groups.layout.cpuset is not None:
        return [(groups.layout.cpuset, ("effective_cpus", "effective_mems"))]
    if f"+{CPUSET}" in groups.passed_on.split():
        return [(groups.jobs, ("cpus.effective", "mems.effective"))]
    return []


def _nodes(path: str = "/sys/devices/system/node/has_memory") -> tuple[int, ...]:
    try:
        with open(path, encoding="ascii") as file:
            return placement.numbers(file.read())
    except (OSError, ValueError):
        return (0,)  # a kernel without NUMA has one


def place(group: cgroup.JobGroup, wanted: PlacementSpec) -> int | None:
    """Place a job's groups. Returns the group that its payload still has to join, as a descriptor. Raises OSError.

    ``group.missing`` then tells which of the weights count for nothing.
    """
    _weigh_cpu(group, wanted)
    if wanted["io_weight"] is not None:
        _weigh_io(group, wanted["io_weight"])
    cpus, nodes = wanted["cpus"], wanted["nodes"]
    if cpus is None and nodes is None:
        return None
    layout = group.groups.layout
    if layout.cpuset is not None:
        return _own_cpuset(group, layout.cpuset, cpus, nodes)
    if _cpusets(group.groups):
        for name, numbers in (("cpus", cpus), ("mems", nodes)):
            if numbers is not None:
                cgroupfs.write(f"{group.path}/payload/cpuset.{name}", placement.text_of(tuple(numbers)))
    return None


def _own_cpuset(group: cgroup.JobGroup, mount: str, cpus: list[int] | None, nodes: list[int] | None) -> int:
    """A new cpuset has neither CPUs nor memory (cpuset(7)): what is not asked for is as above it."""
    above = mount
    for part in group.groups.name.split("/"):  # a service's lies below that of its slice
        directory = f"{above}/{part}"
        os.makedirs(directory, mode=0o755, exist_ok=True)
        _fill(directory, above)
        above = directory
    path = f"{above}/{os.path.basename(group.path)}"
    group.more.append(path)
    os.makedirs(path, mode=0o755, exist_ok=True)
    for name, numbers in (("cpus", cpus), ("mems", nodes)):
        value = _list(above, name) if numbers is None else placement.text_of(tuple(numbers))
        cgroupfs.write(f"{path}/cpuset.{name}", value)
    return os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)


def _fill(directory: str, above: str) -> None:
    """Give a level of cbx's all that the one above it has, also what has come since; one that others filled is theirs.

    A CPU that goes offline is taken from every cpuset of cgroup v1, and comes back to the root alone (cpuset(7)).
    """
    names = ("cpus", "mems")
    empty = [name for name in names if not _list(directory, name)]
    if len(empty) == len(names):
        os.setxattr(directory, FILLED, b"1")
    for name in names if FILLED in os.listxattr(directory) else empty:
        if (all_of_them := _list(above, name)) != _list(directory, name):
            cgroupfs.write(f"{directory}/cpuset.{name}", all_of_them)


def _list(directory: str, name: str) -> str:
    return (cgroupfs.read(f"{directory}/cpuset.{name}") or "").strip()


def _weigh_cpu(group: cgroup.JobGroup, wanted: PlacementSpec) -> None:
    """Nice counts within a group alone: for a job to be nice to others its group has to be."""
    weight, nice = wanted["cpu_weight"], wanted["nice"]
    if weight is None and nice is None:
        return
    v1 = group.v1.paths.get("cpu")
    if v1 is None and "cpu" not in group.groups.layout.controllers:
        group.missing[CPU_WEIGHT] = "no cpu controller on this host's cgroup hierarchies"
        return
    directory = v1 or group.path  # beside the other jobs
    if weight == placement.IDLE:
        name, value = "cpu.idle", "1"
    elif v1 is not None:
        shares = placement.SHARES[(nice or 0) - placement.LEAST_NICE] if weight is None else weight * 1024 // 100
        name, value = "cpu.shares", str(shares)
    else:
        name, value = ("cpu.weight.nice", str(nice)) if weight is None else ("cpu.weight", str(weight))
    try:
        cgroupfs.write(f"{directory}/{name}", value)
    except OSError as error:
        group.missing[CPU_WEIGHT] = f"{name} refused {value}: {error.strerror}"


def _weigh_io(group: cgroup.JobGroup, weight: int) -> None:
    v1 = group.v1.paths.get("blkio")
    heavy = max(1, weight)
    values = [("blkio.bfq.weight" if v1 else "io.bfq.weight", str(placement.bfq(heavy)))]
    if v1 is None:
        values.append(("io.weight", f"default {heavy}"))
    for name, value in values:
        if os.path.exists(f"{v1 or group.path}/{name}"):
            cgroupfs.write(f"{v1 or group.path}/{name}", value)
    if why := io_weights_ignored(group.groups, idle=weight == placement.IDLE):
        group.missing[IO_WEIGHT] = why


def io_weights_ignored(groups: cgroup.Groups, *, idle: bool, sys: str = "/sys") -> str:
    """Why weights of I/O count for nothing on this host's disks, or some of them; nothing if all go by them.

    BFQ goes by weights and priorities, the controller of io.cost.qos by weights, mq-deadline by classes of priority:
    it tells ``idle`` from the rest.
    """
    costs = cgroupfs.read(f"{groups.layout.unified}/io.cost.qos") or ""
    weighed = {line.split()[0] for line in costs.splitlines() if "enable=1" in line.split()}
    deaf = []
    for device in groups.devices:
        chosen = _scheduler(f"{sys}/dev/block/{device}/queue/scheduler")
        if not (chosen == "bfq" or device in weighed or (idle and chosen == "mq-deadline")):
            deaf.append(f"{_name(sys, device)} ({chosen or 'no scheduler'})")
    if not groups.devices:
        return "no disk is known below this host's file systems"
    return f"not by the I/O scheduler of {', '.join(deaf)}: bfq goes by weights" if deaf else ""


def _scheduler(path: str) -> str:
    text = cgroupfs.read(path) or ""
    chosen = text.partition("[")[2].partition("]")[0]
    return "" if chosen == "none" else chosen


def _name(sys: str, device: str) -> str:
    return os.path.basename(os.path.realpath(f"{sys}/dev/block/{device}"))


def settle(wanted: PlacementSpec, cpuset: int | None) -> None:
    """In the payload, while it is still root: join its cpuset, and take the priorities that its children inherit."""
    if cpuset is not None:
        os.write(cpuset, b"0")
        # Once more the root of its own view of the groups: the last one was before this group was there.
        namespaces.unshare(namespaces.CLONE_NEWCGROUP)
    if wanted["cpus"] is not None and "cpus" in wanted["fixed"]:
        os.sched_setaffinity(0, wanted["cpus"])
    if wanted["nodes"] is not None and "nodes" in wanted["fixed"]:
        priorities.bind_memory(tuple(wanted["nodes"]))
    if wanted["nice"] is not None:
        os.setpriority(os.PRIO_PROCESS, 0, wanted["nice"])
    if (weight := wanted["io_weight"]) is not None:
        class_ = priorities.IDLE if weight == placement.IDLE else priorities.BEST_EFFORT
        priorities.io_priority(class_, 7 if weight == placement.IDLE else placement.level(weight))
