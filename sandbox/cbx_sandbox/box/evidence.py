"""What there is to see of a running job, written down at once: its processes, what they have open, mounts, counters.

It is read from outside, as root, of what the job may change at any time: what vanishes meanwhile is left out, and
nothing that is read is believed or followed. Everything is bounded.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from cbx_sandbox.linux import mountinfo

MOST_PROCESSES = 1000
MOST_OPEN = 256  # of one process
TEXT = 4096  # characters of a command line
TABLE = 256 << 10  # characters of the mount table
FILES = (
    "cgroup.events", "cgroup.freeze", "memory.current", "memory.peak", "memory.events", "memory.stat", "pids.current",
    "pids.events", "cpu.stat", "io.stat", "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.failcnt",
    "cpuacct.usage", "blkio.throttle.io_service_bytes",
)  # fmt: skip


def collect(init: int) -> dict[str, Any]:
    """Everything of the job whose PID 1 is ``init``, as plain JSON values, as the kernel prints them.

    Raises OSError: there is no such process any more.
    """
    pids = _members(init)
    processes = [found for pid in pids[:MOST_PROCESSES] if (found := _process(pid)) is not None]
    payload = next((pid for pid in pids if pid != init), init)
    return {
        "processes": processes,
        "more_processes": max(0, len(pids) - MOST_PROCESSES),
        "mounts": _text(f"/proc/{payload}/mountinfo", TABLE).splitlines(),
        "counters": _counters(payload),
    }


def _members(init: int) -> list[int]:
    """All processes in the PID namespace that ``init`` is the first of."""
    namespace = os.readlink(f"/proc/{init}/ns/pid")
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/pid") == namespace:
                found.append(int(pid))
    return sorted(found)


def _process(pid: int) -> dict[str, Any] | None:
    status = dict(line.split(":\t", 1) for line in _text(f"/proc/{pid}/status", TEXT).splitlines() if ":\t" in line)
    if not status:
        return None
    return {
        "pid": pid,
        "inside": status.get("NSpid", "").split()[-1:],
        "parent": status.get("PPid"),
        "name": status.get("Name"),
        "state": status.get("State"),
        "uids": status.get("Uid", "").split(),
        "memory": status.get("VmRSS"),
        "command": _text(f"/proc/{pid}/cmdline", TEXT).split("\0")[:-1],
        "program": _link(f"/proc/{pid}/exe"),
        "directory": _link(f"/proc/{pid}/cwd"),
        "open": _open(pid),
    }


def _open(pid: int) -> dict[str, str | None]:
    with contextlib.suppress(OSError):
        numbers = sorted(os.listdir(f"/proc/{pid}/fd"), key=int)[:MOST_OPEN]
        return {number: _link(f"/proc/{pid}/fd/{number}") for number in numbers}
    return {}


def _counters(pid: int) -> dict[str, str]:
    """The files of its groups, of whichever hierarchies have them (cgroups(7))."""
    table = [mount for mount in mountinfo.read() if mount.kind in {"cgroup", "cgroup2"}]
    found = {}
    for line in _text(f"/proc/{pid}/cgroup", TEXT).splitlines():
        _, controllers, group = line.split(":", 2)
        wanted = set(controllers.split(",")) if controllers else set()
        for mount in table:
            if (mount.kind == "cgroup2") is (not wanted) and wanted <= mount.super_options and mount.root == "/":
                for name in FILES:
                    if text := _text(f"{mount.target}{group}/{name}", TABLE):
                        found[name] = text
    return found


def _text(path: str, most: int) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="backslashreplace") as file:
        return file.read(most)
    return ""


def _link(path: str) -> str | None:
    with contextlib.suppress(OSError):
        return os.readlink(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return None
