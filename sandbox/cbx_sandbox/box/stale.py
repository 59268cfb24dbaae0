"""What a launcher finds of one before it that did not end in order."""

from __future__ import annotations

import contextlib
import os

from cbx_sandbox.box import cgroup, spare
from cbx_sandbox.linux import cgroupfs


def clear(groups: cgroup.Groups) -> list[str]:
    """End what an earlier launcher left behind: no supervisor knows these jobs any more."""
    ended = []
    for job in _directories(groups.jobs):
        path = f"{groups.jobs}/{job}"
        if not job.startswith(spare.NAME):
            ended.append(job)
        with contextlib.suppress(OSError):
            cgroupfs.write(f"{path}/cgroup.kill", "1")
        for leaf in ("payload", "init"):
            cgroupfs.remove(f"{path}/{leaf}", patience=5.0)
        cgroupfs.remove(path)
    for mount in groups.layout.v1_mounts:
        for job in _directories(f"{mount}/{groups.name}"):
            # The supervisor that is starting us lives in a group of its own.
            if job != "supervisor":
                cgroupfs.remove(f"{mount}/{groups.name}/{job}", patience=5.0)
    return ended


def _directories(path: str) -> list[str]:
    if not os.path.isdir(path):
        return []
    return [entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
