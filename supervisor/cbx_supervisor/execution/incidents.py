"""Incidents of running jobs: frozen, looked at, its changes held, and told. A person decides what follows.

What is looked at is kept in a file of its own for each, of root's alone, whose name the entry of the audit trail has.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from cbx_sandbox.box import evidence
from cbx_sandbox.errors import CbxError
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
        self._executor.writing.afterwards(self._called_from(group, pid))

    async def _called_from(self, group: str, pid: int) -> None:
        jobs = {live: live.init.pid for live in self._executor.live.values() if live.init is not None}
        box = group.rpartition("/")[0]
        found = await self._executor.files.work(0, _in_box, box, jobs)
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
        at, init = time.time(), live.init.pid
        head = {"job": live.number, "uid": live.uid, "at": at, **detail}
        head["log"] = self._executor.paths.log_of(live.number, live.attempt) if live.submission.detached else None
        # It is told first: to look at a job may take long, and there may be no room for what is seen.
        self._executor.log("incident", job=live.number, what=what, frozen=frozen, evidence=path)
        await asyncio.gather(
            self._try(live, "not recorded", self._record(live, at, detail)),
            self._try(
                live, "not kept", self._executor.files.work(0, _keep, path, head)
            ),  # the next supervisor knows it
        )
        await self._try(live, "not looked at", self._executor.files.work(0, _look, path, head, init))

    async def _record(self, live: LiveJob, at: float, detail: dict[str, object]) -> None:
        await self._executor.writing.recorded()
        entry = audit.record(at, "incident", f"job {live.number}", uid=live.uid, detail=detail)
        await self._executor.writing.write(*([steering.pause(live.number)] if detail["frozen"] else []), entry)

    async def _try(self, live: LiveJob, failed: str, work: Coroutine[Any, Any, None]) -> None:
        """Do one part of it: what fails is told, and the rest is done all the same."""
        try:
            await work
        except (CbxError, sqlite3.Error) as error:
            self._executor.log(f"incident {failed}", job=live.number, error=str(error))


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


def _look(path: str, head: dict[str, object], init: int) -> None:
    try:
        found = evidence.collect(init)
    except OSError as error:
        found = {"gone": str(error)}  # it ended meanwhile
    for process in found.get("processes", ()):
        process["command"] = redacted_words(process["command"])
    _keep(path, {**head, **found})
    directory = os.path.dirname(path)
    names = sorted((int(name.partition(".")[0]), name) for name in os.listdir(directory) if name.endswith(".json"))
    for _, name in names[:-KEPT]:
        os.unlink(f"{directory}/{name}")


def _keep(path: str, value: dict[str, object]) -> None:
    beside = f"{path}.new"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        json.dump(redacted_values(value), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
