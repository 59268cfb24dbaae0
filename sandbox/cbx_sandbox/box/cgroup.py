"""The cgroup of one job: where it is born, what it may use, what it used, and how all of it ends at once.

On the unified hierarchy a job is ``<name>/jobs/<job>`` with two leaves: ``init`` holds the reaper, ``payload`` the
command. Limits, killing and freezing act on the payload only. On hybrid hosts the limits go through v1 (box/hybrid).
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Literal

from cbx_sandbox.box import hybrid
from cbx_sandbox.box.spec import LimitSpec
from cbx_sandbox.linux import cgroupfs
from cbx_sandbox.linux.mountinfo import Mount

SUPERVISOR = "supervisor"  # where the daemon and the launcher live, unless systemd gave them a group
IN_GROUPS: tuple[Literal["memory", "swap", "cpus", "pids", "io_bytes_per_second"], ...] = (
    "memory",
    "swap",
    "cpus",
    "pids",
    "io_bytes_per_second",
)
LEAVES = ("payload", "init")
LIMITS = ("memory", "swap", "cpus", "pids", "io")
_CONTROLLER_OF = {"memory": "memory", "swap": "memory", "cpus": "cpu", "pids": "pids", "io": "io"}


class Groups:
    """The groups of one supervisor on this host."""

    def __init__(self, table: list[Mount], name: str) -> None:
        self.layout = cgroupfs.detect(table)
        self.name = name
        self.devices = block_devices(table)
        self.unavailable: dict[str, str] = {}
        self.passed_on = ""  # what a job's group is told to pass on to its leaves
        if self.layout.unified is None:
            raise OSError("no cgroup v2 hierarchy is mounted: processes can be neither tracked nor killed as a whole")
        self.base = f"{self.layout.unified}/{name}"
        self.jobs = f"{self.base}/jobs"

    def enter(self) -> None:
        """Move this process into a leaf: what jobs' groups lie below may have no process of its own (cgroups(7))."""
        leaf = f"{self.base}/{SUPERVISOR}"
        os.makedirs(leaf, mode=0o755, exist_ok=True)
        cgroupfs.write(f"{leaf}/cgroup.procs", "0")

    def prepare(self) -> None:
        """Make the supervisor's own groups and find out which limits can be set here."""
        os.makedirs(self.jobs, mode=0o755, exist_ok=True)
        assert self.layout.unified is not None
        wanted = [name for name in cgroupfs.V2_CONTROLLERS if name in self.layout.controllers]
        for directory in (self.layout.unified, self.base, self.jobs):
            for controller in wanted:
                try:
                    cgroupfs.write(f"{directory}/cgroup.subtree_control", f"+{controller}")
                except OSError as error:
                    self.unavailable[controller] = f"cannot be passed on from {directory}: {error.strerror}"
        there = (cgroupfs.read(f"{self.jobs}/cgroup.subtree_control") or "").split()
        self.passed_on = " ".join(f"+{name}" for name in there if name in wanted)
        for limit in LIMITS:
            self._judge(limit)

    def _judge(self, limit: str) -> None:
        controller = _CONTROLLER_OF[limit]
        v1_name = "blkio" if controller == "io" else controller
        if controller in self.layout.controllers and controller not in self.unavailable:
            return
        if v1_name in self.layout.v1:
            self.unavailable.pop(controller, None)
            return
        why = self.unavailable.get(controller, f"no {controller} controller on this host's cgroup hierarchies")
        self.unavailable[limit] = why

    def remove(self) -> None:
        """Remove what is empty, as the last act of a process that may live in the supervisor's own group itself."""
        v1 = self.layout.v1_mounts
        cgroupfs.remove(self.jobs, patience=0)
        for mount in (self.layout.unified, *v1):
            group = f"{mount}/{self.name}/{SUPERVISOR}"
            if not os.path.isdir(group):
                continue
            # A group with a process in it cannot be removed, and the supervisor may need a moment to end.
            with contextlib.suppress(OSError):
                cgroupfs.write(f"{mount}/cgroup.procs", "0")
            cgroupfs.remove(group, patience=2.0)
        for directory in (self.base, *(f"{mount}/{self.name}" for mount in v1)):
            cgroupfs.remove(directory, patience=0)

    def missing(self) -> dict[str, str]:
        """Limits that cannot be set on this host, with the reason."""
        return {limit: self.unavailable[limit] for limit in LIMITS if limit in self.unavailable}

    def create(self, job: str, limits: LimitSpec) -> JobGroup:
        """Make the job's groups and set its limits. FileExistsError: that job was started already."""
        group = JobGroup(self, job)
        group.make()
        try:
            group.limit(limits)
        except BaseException:
            group.close()
            group.remove()
            raise
        return group


class JobGroup:
    """The groups of one job, seen from outside of it: by their paths, and once made by descriptors."""

    def __init__(self, groups: Groups, name: str) -> None:
        self.groups = groups
        self.path = f"{groups.jobs}/{name}"
        self.token: str | None = None
        self.v1 = hybrid.V1Group(groups.layout.v1, groups.name, name)
        self.missing = groups.missing()
        self.descriptors: list[int] = []
        self.init = self.payload = -1
        self.v1_procs: list[int] = []
        self.v1_directories: dict[str, int] = {}
        self.limits: LimitSpec | None = None  # those that are set
        self.more: list[str] = []  # groups that were made for this job alone (box/placing)

    def make(self) -> None:
        """Make them, without limits. FileExistsError: there is a job of that name."""
        os.mkdir(self.path, 0o755)
        try:
            if self.groups.passed_on:
                cgroupfs.write(f"{self.path}/cgroup.subtree_control", self.groups.passed_on)
            for leaf in LEAVES:
                os.mkdir(f"{self.path}/{leaf}", 0o755)
            self.v1.create()
            self.init = self._directory(f"{self.path}/init")
            self.payload = self._directory(f"{self.path}/payload")
            self.v1_procs = self.v1.open_procs()
            self.v1_directories = self.v1.open_directories()
            self.descriptors += [*self.v1_procs, *self.v1_directories.values()]
        except BaseException:
            self.close()
            self.remove()
            raise

    def take(self, job: str, limits: LimitSpec) -> None:
        """Give these groups, made ahead, to ``job``. FileExistsError: that job was started already."""
        token = f"{self.groups.jobs}/{job}"
        os.mkdir(token, 0o755)
        self.token = token
        if self.limits is None or any(self.limits[name] != limits[name] for name in IN_GROUPS):
            self.limit(limits)

    def limit(self, limits: LimitSpec) -> None:
        """Set the job's limits; ``missing`` then tells which could not be set."""
        self.limits = limits
        self.missing = self.groups.missing()
        self.missing |= self._limit(limits, self.groups.devices)
        self.missing |= self.v1.limit(limits, self.groups.devices)

    def _directory(self, path: str) -> int:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.descriptors.append(fd)
        return fd

    def _limit(self, limits: LimitSpec, devices: list[str]) -> dict[str, str]:
        leaf = f"{self.path}/payload"
        values: list[tuple[str, str, str | None]] = [
            ("memory", "memory.max", _number(limits["memory"])),
            ("memory", "memory.oom.group", "1" if limits["memory"] is not None else None),
            ("swap", "memory.swap.max", _number(limits["swap"])),
            ("cpus", "cpu.max", _cpu_max(limits["cpus"])),
            ("pids", "pids.max", _number(limits["pids"])),
        ]
        rate = limits["io_bytes_per_second"]
        if rate is not None:
            values += [("io", "io.max", f"{device} rbps={rate} wbps={rate}") for device in devices]
        missing = {}
        for limit, name, value in values:
            if value is not None and os.path.exists(f"{leaf}/{name}"):
                try:
                    cgroupfs.write(f"{leaf}/{name}", value)
                except OSError as error:
                    missing[limit] = f"{name} refused {value!r}: {error.strerror}"
        return missing

    def close(self) -> None:
        """Let go of the descriptors."""
        for fd in self.descriptors:
            os.close(fd)
        self.descriptors.clear()

    def kill(self) -> None:
        """End what still lives of the command."""
        with contextlib.suppress(FileNotFoundError):  # before Linux 5.14 there is no cgroup.kill
            cgroupfs.write(f"{self.path}/payload/cgroup.kill", "1")

    def remove(self, patience: float = 1.0) -> list[str]:
        """Remove all groups of the job; returns those that something still lives in after ``patience`` (s) for each."""
        paths = [f"{self.path}/{leaf}" for leaf in LEAVES] + [self.path] + ([self.token] if self.token else [])
        left = [path for path in (*paths, *self.more) if not cgroupfs.remove(path, patience)]
        return left + self.v1.remove(patience)


class Meter:
    """A job's payload group as init sees it: through descriptors, after the host's tree is out of sight."""

    def __init__(self, payload: int, v1_directories: dict[str, int]) -> None:
        self.payload = payload
        self.files = cgroupfs.Files(payload)
        self.v1 = {name: cgroupfs.Files(fd) for name, fd in v1_directories.items()}
        self._before: dict[str, int] = {}

    def begin(self) -> None:
        """Count from now on: a payload that waited for its job has used some CPU time of its own before."""
        self._before = self._cpu()

    def _cpu(self) -> dict[str, int]:
        return cgroupfs.flat(self.files.read("cpu.stat"))

    def populated(self) -> bool:
        """True while a process of the payload lives."""
        return cgroupfs.flat(self.files.read("cgroup.events")).get("populated", 0) == 1

    def processes(self) -> list[int]:
        """The processes of the payload, by the numbers of this process's PID namespace."""
        return [int(pid) for pid in (self.files.read("cgroup.procs") or "").split() if pid != "0"]

    def kill(self) -> bool:
        """End every process of the payload in one step. False before Linux 5.14, which has no cgroup.kill."""
        try:
            cgroupfs.write("cgroup.kill", "1", self.payload)
        except FileNotFoundError:
            return False
        return True

    def freeze(self, *, on: bool) -> None:
        """Stop or resume every process of the payload."""
        cgroupfs.write("cgroup.freeze", "1" if on else "0", self.payload)

    def oom_kills(self) -> int:
        """How many processes the kernel killed for memory."""
        kills = cgroupfs.flat(self.files.read("memory.events")).get("oom_kill", 0)
        if (group := self.v1.get("memory")) is not None:
            kills += cgroupfs.flat(group.read("memory.oom_control")).get("oom_kill", 0)
        return kills

    def watch_oom(self) -> int | None:
        """An eventfd that tells of a v1 group out of memory: there no kernel kills the group as a whole."""
        group = self.v1.get("memory")
        if group is None:
            return None
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        control = os.open("memory.oom_control", os.O_RDONLY | os.O_CLOEXEC, dir_fd=group.directory)
        try:
            cgroupfs.write("cgroup.event_control", f"{event} {control}", group.directory)
        finally:
            os.close(control)
        return event

    def usage(self) -> dict[str, object]:
        """What the payload used: seconds, bytes, counts; pressure where the kernel tracks it."""
        cpu = {name: value - self._before.get(name, 0) for name, value in self._cpu().items()}
        io = cgroupfs.nested_totals(self.files.read("io.stat"))
        pids = cgroupfs.flat(self.files.read("pids.events"))
        v1 = hybrid.usage(self.v1)
        throttled_us = cpu.get("throttled_usec", 0) + v1.get("throttled_ns", 0) / 1000
        kills = cgroupfs.flat(self.files.read("memory.events")).get("oom_kill", 0)
        return {
            "cpu_seconds": cpu.get("usage_usec", 0) / 1e6,
            "user_seconds": cpu.get("user_usec", 0) / 1e6,
            "system_seconds": cpu.get("system_usec", 0) / 1e6,
            "throttled_seconds": throttled_us / 1e6,
            "memory_peak_bytes": int(self.files.read("memory.peak") or v1.get("memory_peak_bytes", 0)),
            "oom_kills": kills + v1.get("oom_kills", 0),
            "io_read_bytes": io.get("rbytes", v1.get("io_read_bytes", 0)),
            "io_write_bytes": io.get("wbytes", v1.get("io_write_bytes", 0)),
            "pids_peak": int(self.files.read("pids.peak") or v1.get("pids_peak", 0)),
            "pids_refused": pids.get("max", v1.get("pids_refused", 0)),
            "pressure": self._pressure(),
        }

    def _pressure(self) -> dict[str, float] | None:
        found = {}
        for resource in ("cpu", "memory", "io"):
            text = self.files.read(f"{resource}.pressure")
            for line in (text or "").splitlines():
                if line.startswith("some "):
                    found[resource] = int(line.rpartition("total=")[2]) / 1e6
        return found or None


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _cpu_max(cpus: float | None) -> str | None:
    return None if cpus is None else " ".join(map(str, cgroupfs.bandwidth(cpus)))


def block_devices(table: list[Mount]) -> list[str]:
    """``major:minor`` of the whole disks below the host's file systems: limits are set on disks, not on partitions."""
    found = set()
    for mount in table:
        if not mount.source.startswith("/dev/"):
            continue
        try:
            status = os.stat(mount.source)
        except OSError:
            continue
        if stat.S_ISBLK(status.st_mode):
            found.add(_whole_disk(f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"))
    return sorted(found)


def _whole_disk(number: str) -> str:
    directory = os.path.realpath(f"/sys/dev/block/{number}")
    if os.path.exists(f"{directory}/partition"):
        with open(f"{os.path.dirname(directory)}/dev", encoding="ascii") as file:
            return file.read().strip()
    return number
