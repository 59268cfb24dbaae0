"""Control group files: plain reads and writes (cgroups(7), Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import dataclasses
import errno
import os
import time

from cbx_sandbox.linux.mountinfo import Mount

V2_CONTROLLERS = ("memory", "cpu", "pids", "io", "cpuset")
V1_CONTROLLERS = ("memory", "cpu", "pids", "blkio")


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Where this host keeps its groups: the unified mount, what it controls, and the v1 mounts of the rest.

    ``cpuset`` is the v1 mount of that controller: not every job has a group there.
    """

    unified: str | None
    controllers: frozenset[str]
    v1: dict[str, str]
    cpuset: str | None = None

    @property
    def v1_mounts(self) -> list[str]:
        """Every v1 mount that jobs can have groups on."""
        return [*self.v1.values(), *([] if self.cpuset is None else [self.cpuset])]

    @property
    def hybrid(self) -> bool:
        """True if limits have to go through v1."""
        return bool(self.v1)


def detect(table: list[Mount]) -> Layout:
    """Read the layout off the mount table. A controller is bound to v1 or v2, never to both."""
    unified = next((mount.target for mount in table if mount.kind == "cgroup2"), None)
    controllers: frozenset[str] = frozenset()
    if unified is not None:
        controllers = frozenset((read(f"{unified}/cgroup.controllers") or "").split())
    v1, cpuset = {}, None
    for mount in table:
        if mount.kind == "cgroup":
            if "cpuset" in mount.super_options and not mount.read_only:
                cpuset = mount.target
            for name in V1_CONTROLLERS:
                if name in mount.super_options and name not in controllers:
                    v1[name] = mount.target
    return Layout(unified, controllers, v1, cpuset)


def read(path: str, dir_fd: int | None = None) -> str | None:
    """The content of a group's file, or None where this kernel has no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, 65536).decode()
    except OSError as error:
        # EOPNOTSUPP: pressure files on a kernel booted with psi=0.
        if error.errno == errno.EOPNOTSUPP:
            return None
        raise
    finally:
        os.close(fd)


class Files:
    """The files of one group, each opened once and read again and again: opening costs more than reading."""

    def __init__(self, directory: int) -> None:
        self.directory = directory
        self._open: dict[str, int | None] = {}

    def read(self, name: str) -> str | None:
        """The content of a file now, or None where this kernel has no such file."""
        if name not in self._open:
            try:
                self._open[name] = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.directory)
            except FileNotFoundError:
                self._open[name] = None
        fd = self._open[name]
        if fd is None:
            return None
        try:
            return os.pread(fd, 65536, 0).decode()
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:  # as in read()
                return None
            raise


def write(path: str, value: str, dir_fd: int | None = None) -> None:
    """Write one value. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def flat(text: str | None) -> dict[str, int]:
    """Parse a flat keyed file such as cpu.stat; missing is empty."""
    return {key: int(value) for key, _, value in (line.partition(" ") for line in (text or "").splitlines())}


def nested_totals(text: str | None) -> dict[str, int]:
    """Sum a nested keyed file such as io.stat over its devices."""
    totals: dict[str, int] = {}
    for line in (text or "").splitlines():
        for pair in line.split()[1:]:
            key, _, value = pair.partition("=")
            if value.isdigit():
                totals[key] = totals.get(key, 0) + int(value)
    return totals


def bandwidth(cpus: float) -> tuple[int, int]:
    """The quota and the period, in microseconds, of so many processors' time, from 0.001 on.

    The kernel takes no quota below a millisecond and no period above a second. The usual period keeps pauses short.
    """
    period = 100_000 if cpus >= 0.01 else 1_000_000
    return max(1000, int(cpus * period)), period


def remove(path: str, patience: float = 1.0) -> bool:
    """Remove an empty group; a group is busy for a moment after its last process was reaped. False if it stays busy."""
    deadline = time.monotonic() + patience
    while True:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        else:
            return True
