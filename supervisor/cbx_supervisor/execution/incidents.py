"""Incidents of running jobs: frozen, looked at, its changes held, and told. A person decides what follows.

What is looked at is kept in a file of its own for each, of root's alone, whose name the entry of the audit trail has.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from cbx_sandbox.box import evidence
from cbx_supervisor.execution.live import BY_HAND
from cbx_supervisor.model.redaction import redacted_values, redacted_words
from cbx_supervisor.store import audit, steering

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor
    from cbx_supervisor.execution.live import LiveJob

KEPT = 200  # files, the newest


class Incidents:
    """Knows which jobs had one."""

    def __init__(self, executor: Executor, directory: str) -> None:
        self._executor = executor
        self._directory = directory
        self._jobs = {int(name.partition(".")[0]) for name in os.listdir(directory) if name[:1].isdecimal()}

    def had(self, job: int) -> bool:
        """Whether a job's changes are to be held, whatever its end."""
        return job in self._jobs

    def called_from(self, group: str, pid: int) -> None:
        """A process in the group of a job has called the supervisor: no job can find its way there by itself."""
        self._executor.afterwards(self._called_from(group, pid))

    async def _called_from(self, group: str, pid: int) -> None:
        jobs = {live: live.init.pid for live in self._executor.live.values() if live.init is not None}
        box = group.rpartition("/")[0]
        found = await self._executor.on_files(0, _in_box, box, jobs)
        if found is not None:
            await self.report(found, f"process {pid} in its group called the supervisor")

    async def report(self, live: LiveJob, what: str) -> None:
        """Freeze a job, if that is configured, look at it, and say so; once for each job."""
        if live.number in self._jobs or live.init is None:
            return
        self._jobs.add(live.number)
        frozen = self._executor.settings.incidents.freeze
        if frozen:
            live.freeze(BY_HAND, on=True)
        path = f"{self._directory}/{live.number}.json"
        detail: dict[str, object] = {"what": what, "frozen": frozen, "evidence": path}
        at = time.time()
        head = {"job": live.number, "uid": live.submission.uid, "at": at, **detail}
        head["log"] = self._executor.paths.log_of(live.number, live.attempt) if live.submission.detached else None
        await self._executor.on_files(0, _keep, path, head, live.init.pid)
        self._executor.log("incident", job=live.number, what=what, frozen=frozen, evidence=path)
        await self._executor.recorded()
        entry = audit.record(at, "incident", f"job {live.number}", uid=live.submission.uid, detail=detail)
        await self._executor.write(*([steering.pause(live.number)] if frozen else []), entry)


def read(directory: str, job: int) -> dict[str, Any] | None:
    """What was kept of one job's incident; None if nothing was."""
    try:
        with open(f"{directory}/{job}.json", encoding="utf-8") as file:
            kept: dict[str, Any] = json.load(file)
    except FileNotFoundError:
        return None
    return kept


def _in_box(box: str, jobs: dict[LiveJob, int]) -> LiveJob | None:
    """The job whose init lives in the group ``box``: a box in waiting keeps the name of its group."""
    for live, pid in jobs.items():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            if any(line[3:].strip().rpartition("/")[0] == box for line in file if line.startswith("0::")):
                return live
    return None


def _keep(path: str, head: dict[str, object], init: int) -> None:
    try:
        found = evidence.collect(init)
    except OSError as error:
        found = {"gone": str(error)}  # it ended meanwhile
    for process in found.get("processes", ()):
        process["command"] = redacted_words(process["command"])
    beside = f"{path}.new"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        json.dump(redacted_values({**head, **found}), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    directory = os.path.dirname(path)
    names = sorted((int(name.partition(".")[0]), name) for name in os.listdir(directory) if name.endswith(".json"))
    for _, name in names[:-KEPT]:
        os.unlink(f"{directory}/{name}")
