"""How much memory the processes of running jobs have taken for themselves: no page cache, no files in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import NamedTuple

from cbx_sandbox.linux import cgroupfs, mountinfo

_NONE = 1 << 60  # bytes; how cgroup v1 writes that there is no limit is about eight times that


class Taken(NamedTuple):
    """Bytes that a job has taken, and its limit, if it has one."""

    bytes: int
    limit: int | None


class Gauge:
    """Reads it off the jobs' groups, which are found by their inits."""

    def __init__(self) -> None:
        self._layout = cgroupfs.detect(mountinfo.read())

    def why_not(self) -> str:
        """Why nothing can be read; nothing if it can."""
        if "memory" in self._layout.v1 or "memory" in self._layout.controllers:
            return ""
        return "no memory controller on this host's cgroup hierarchies"

    def read(self, inits: Iterable[int]) -> dict[int, Taken]:
        """What each has taken, by the pid of its init; those that are gone are left out."""
        found = {}
        for init in inits:
            with contextlib.suppress(OSError):
                group, key, limit = self._group(init)
                counters = cgroupfs.flat(cgroupfs.read(f"{group}/memory.stat"))
                most = (cgroupfs.read(f"{group}/{limit}") or "").strip()
                if key in counters:
                    found[init] = Taken(counters[key], int(most) if most.isdigit() and int(most) < _NONE else None)
        return found

    def _group(self, init: int) -> tuple[str, str, str]:
        """The group, which of its counters it is, and the file of its limit."""
        with open(f"/proc/{init}/cgroup", encoding="utf-8") as file:
            own = next((line[3:].strip() for line in file if line.startswith("0::")), "")
        box = own.rpartition("/")[0]
        if (mount := self._layout.v1.get("memory")) is not None:
            name, _, job = box.partition("/jobs/")
            return f"{mount}{name}/{job}", "total_rss", "memory.limit_in_bytes"
        return f"{self._layout.unified}{box}/payload", "anon", "memory.max"
