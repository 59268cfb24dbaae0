"""What a supervisor and its jobs may have left on the host."""

from __future__ import annotations

import contextlib
import glob
import os
import sqlite3
import time
from pathlib import Path

LEFT_SECONDS = 20.0  # that groups may take to be removed


def left_behind(supervisor, *, serves=False):
    """What is left after a while. ``serves``: it runs on, and so do its boxes in waiting."""
    found = []
    end = time.monotonic() + LEFT_SECONDS
    while time.monotonic() < end:
        found = [
            *_processes(supervisor, serves),
            *_groups(supervisor, serves),
            *_layers(supervisor),
            *_mounts(supervisor),
        ]
        if not found:
            return []
        time.sleep(0.1)
    return [f"left behind: {what}" for what in found]


def _layers(supervisor):
    """Those of committed checkpoints are kept, for undo."""
    with contextlib.closing(sqlite3.connect(supervisor.paths.database)) as connection:
        kept = {str(row[0]) for row in connection.execute("SELECT id FROM checkpoints WHERE state = 'committed'")}
    return [f"layers {name}" for name in os.listdir(supervisor.paths.layers) if name not in kept]


def _groups(supervisor, serves):
    """All of them; of a supervisor that runs on those of jobs, of which each has a number."""
    name = supervisor.paths.cgroup
    roots = [*glob.glob(f"/sys/fs/cgroup/{name}"), *glob.glob(f"/sys/fs/cgroup/*/{name}")]
    if not serves:
        return roots
    return [group for root in roots for group in glob.glob(f"{root}/**/[0-9]*/", recursive=True)]


def _processes(supervisor, serves):
    name = f"/{supervisor.paths.cgroup}/"
    mine = f"{name}jobs/" if serves else name
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            groups = Path(f"/proc/{pid}/cgroup").read_text()
            if mine in groups and not (serves and "/spare-" in groups):
                yield f"process {pid}"


def _mounts(supervisor):
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    return [f"mount {line.split()[4]}" for line in table if f"{supervisor.paths.layers}/" in line]
