"""The kernel's own file systems: devices, processes, settings."""

from __future__ import annotations

import os

from cbx_sandbox.box.operations.base import Operation, mount_tmpfs
from cbx_sandbox.box.operations.covers import Hide, ReadOnly
from cbx_sandbox.box.stage import DEVICE_NUMBERS, RO_FLAGS, Stage, device
from cbx_sandbox.linux import mounts

NO_GROUP = 0x3FFFFFFE  # members of this group would see hidden processes: nobody is

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# They lead nowhere, whoever opens them: /dev/tty is what it is for its session only.
HARMLESS_DEVICES = {os.makedev(*number): name for name, number in DEVICE_NUMBERS.items() if name != "tty"}
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
# Parts of a fresh /proc and /sys that tell about or reach the host beyond the job's own processes.
# Some of it only root can read, whose jobs have root's uid below DANGEROUS: page frames, kernel memory, power meters.
_PROC_MASKS = (
    "kcore", "keys", "timer_list", "sched_debug", "kallsyms", "kmsg", "sysrq-trigger", "acpi", "scsi", "interrupts",
    "kpagecgroup", "kpagecount", "kpageflags", "latency_stats", "slabinfo", "vmallocinfo", "vmcore",
)  # fmt: skip
_SYS_MASKS = (
    "firmware", "kernel/debug", "kernel/security", "kernel/vmcoreinfo", "fs/bpf", "fs/fuse", "power", "module",
    "devices/virtual/powercap",
)  # fmt: skip
# Settings below /proc/sys that say what the kernel runs as the host's root, or with which rights.
_PROGRAM_SETTINGS = (
    "kernel/core_pattern", "kernel/modprobe", "kernel/hotplug", "kernel/poweroff_cmd", "kernel/usermodehelper",
    "fs/binfmt_misc", "fs/ocfs2/nm/hb_ctl_path",
)  # fmt: skip


class Devices(Operation):
    """A minimal /dev: six devices, own terminals, own shared memory."""

    shm_size: int

    def describe(self) -> str:
        return f"minimal /dev ({' '.join(DEVICES)}, own pts and shm)"

    def execute(self, stage: Stage) -> None:
        # Taken from the host before /dev is covered, and checked: a mask must be the real device (CVE-2025-31133).
        # Read-only: devices can be written all the same, but their owner cannot change the host's mode, times or owner.
        trees = {name: device(name, mounts.ATTR_NOSUID | mounts.ATTR_NOEXEC | mounts.ATTR_RDONLY) for name in DEVICES}
        owner = str(stage.owner)
        options: dict[str, str | None] = {"size": "64k", "mode": "0755", "uid": owner, "gid": owner}
        stage.attach(mounts.new_mount("tmpfs", options, mounts.ATTR_NOSUID | mounts.ATTR_NOEXEC), "/dev")
        directory = stage.path("/dev")
        for name, tree in trees.items():
            os.close(os.open(f"{directory}/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
            mounts.move_mount(tree, f"{directory}/{name}")
            os.close(tree)
        for name, target in _DEVICE_LINKS.items():
            os.symlink(target, f"{directory}/{name}")
        for name in ("pts", "shm"):
            os.mkdir(f"{directory}/{name}", 0o755)
        options = {"newinstance": None, "ptmxmode": "0666", "mode": "620", "gid": str(stage.owner + 5)}
        stage.attach(mounts.new_mount("devpts", options, mounts.ATTR_NOSUID | mounts.ATTR_NOEXEC), "/dev/pts")
        mount_tmpfs(stage, "/dev/shm", self.shm_size, 0o1777)  # noqa: S108  # a mount point, not a temporary file


class Proc(Operation):
    """The job's own /proc, read-only; or the host's, read-only, for programs that look at the host's processes.

    ``settings``: the kernel's settings below sys can be written by whoever the kernel lets, but for those that name
    programs: the kernel runs them outside of every box, and asks for root's uid alone of who writes them.
    """

    host: bool
    settings: bool = False

    def describe(self) -> str:
        found = "the host's /proc, read-only" if self.host else "own /proc, read-only"
        return f"{found} but for sys" if self.settings else found

    def execute(self, stage: Stage) -> None:
        self._attach(stage)
        if self.settings:
            inside = stage.open("/proc/sys")
            tree = mounts.open_tree("", dir_fd=inside)
            os.close(inside)
            mounts.mount_setattr(tree, clear=mounts.ATTR_RDONLY)
            stage.attach(tree, "/proc/sys")
            for name in _PROGRAM_SETTINGS:
                if os.path.lexists(stage.path(f"/proc/sys/{name}")):
                    ReadOnly(f"/proc/sys/{name}").execute(stage)

    def _attach(self, stage: Stage) -> None:
        if self.host:
            if stage.root:
                tree = mounts.open_tree("/proc")
                mounts.mount_setattr(tree, set_=RO_FLAGS)
                stage.attach(tree, "/proc")
        elif stage.attach_ready("/proc"):
            return
        else:
            # Read-only as a whole: everything writable in /proc is a kernel setting or another process's business.
            options: dict[str, str | None] = {"hidepid": "invisible", "gid": str(NO_GROUP)}
            stage.attach(mounts.new_mount("proc", options, RO_FLAGS | mounts.ATTR_NOEXEC), "/proc")
        _mask(stage, "/proc", _PROC_MASKS)


class Sys(Operation):
    """A fresh read-only /sys, with nothing in cgroup but the job's own group."""

    def describe(self) -> str:
        return "own /sys, read-only; the job's own cgroup, read-only"

    def execute(self, stage: Stage) -> None:
        if stage.attach_ready("/sys"):
            return
        stage.attach(mounts.new_mount("sysfs", {}, RO_FLAGS | mounts.ATTR_NOEXEC), "/sys")
        _mask(stage, "/sys", _SYS_MASKS)
        tree = stage.descriptors.get("cgroup")
        if tree is not None:
            mounts.mount_setattr(tree, set_=RO_FLAGS | mounts.ATTR_NOEXEC)
            stage.attach(tree, "/sys/fs/cgroup")


def _mask(stage: Stage, directory: str, names: tuple[str, ...]) -> None:
    for name in names:
        if os.path.lexists(stage.path(f"{directory}/{name}")):
            Hide(f"{directory}/{name}").execute(stage)
