"""Many jobs of all kinds, and a supervisor that is killed again and again at random: nothing is lost or done twice.

``python -m tests.daemon.durable.campaign --jobs 500 --kills 20`` is the whole of it (`make chaos`); CI has a sample.
Clients start the next supervisor, as they do where no service manager does.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.daemon.conftest import Supervisor
from tests.daemon.durable.conftest import launcher

CLIENT = str(Path(sysconfig.get_path("scripts")) / "cbx-sandbox")
KINDS = ("safe", "conditional", "sequential", "dangerous", "waiting")
WEIGHTS = (50, 20, 14, 2, 14)
RECOVERY_SECONDS = 10.0
WHOLE_SECONDS = 600.0


@dataclasses.dataclass
class Job:
    """One job: what it is to do, and what is known of it."""

    index: int
    kind: str
    seconds: float
    status: int
    directory: Path
    number: int | None = None
    told: int | None = None  # the status that its client ended with
    said: str = ""

    @property
    def detached(self):
        return self.kind in {"conditional", "waiting"} or (self.kind == "sequential" and self.index % 2 == 0)

    def arguments(self):
        """The client's command line. Each start of the command leaves one line."""
        sleep = f"sleep {self.seconds:.2f}"
        options = ["--idempotency-key", f"job-{self.index}"]
        if self.kind in {"safe", "waiting"}:
            return [*options, "-c", f"echo ran; {sleep}; exit {self.status}"]
        tier = ["--tier", self.kind, "--commit", "auto"]
        line = f"echo ran >> {self.directory}/mark; {sleep}; exit {self.status}"
        rw = [] if self.kind == "dangerous" else ["--rw", str(self.directory)]
        return [*options, *tier, *rw, "-c", line]

    def keeps(self):
        """Whether what it wrote stays: a failed job over an overlay is rolled back."""
        return self.kind == "conditional" or self.status == 0


class Campaign:
    """One run of it, in directories of its own."""

    def __init__(self, jobs, kills, seed, *, at_once=30, every=(0.1, 4.0), longest=1.5, with_launcher=False):
        """Seconds between two kills, and those that the longest job runs."""
        self.random = random.Random(seed)
        self.root = Path(tempfile.mkdtemp(prefix="cbx-campaign-", dir="/tmp"))
        self.supervisor = Supervisor(self.root / "d")
        (self.root / "d").mkdir()
        self.kills, self.at_once, self.every, self.with_launcher = kills, at_once, every, with_launcher
        self.longest = longest
        self.recoveries = []
        self.jobs = [self._job(index) for index in range(jobs)]
        self._over = threading.Event()

    def _job(self, index):
        kind = self.random.choices(KINDS, WEIGHTS)[0]
        directory = self.root / "work" / str(index)
        directory.mkdir(parents=True)
        status = self.random.choice((0, 0, 0, 3, 42)) if kind != "dangerous" else 0
        return Job(index, kind, self.random.uniform(0.02, self.longest), status, directory)

    def client(self, *arguments, output=subprocess.PIPE):
        return subprocess.run(
            [CLIENT, *arguments],
            env=self.supervisor.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
        )

    def run(self):
        """All of it; returns what went wrong."""
        self.client("status")
        killer = threading.Thread(target=self._kill)
        killer.start()
        with ThreadPoolExecutor(self.at_once) as pool:
            list(pool.map(self._one, self.jobs))
        self._over.set()
        killer.join()
        faults = self.faults()
        self._end()
        return faults + self._left_behind()

    def _one(self, job):
        if not job.detached:
            with (job.directory / "out").open("ab") as out:
                done = self.client("run", "--json", *job.arguments(), output=out)
            job.told, job.said = done.returncode, done.stderr
            return
        done = self.client("submit", *job.arguments())
        if done.returncode != 0 or not done.stdout.strip().isdigit():
            job.said = f"{done.returncode}: {done.stderr}"
            return
        job.number = int(done.stdout)
        done = self.client("wait", str(job.number))
        job.told, job.said = done.returncode, done.stderr

    def _pid(self):
        with contextlib.suppress(OSError, ValueError):
            return int(Path(self.supervisor.paths.pid_file).read_text())
        return None

    def _serving(self):
        """The pid of the supervisor that answers."""
        with contextlib.suppress(OSError):
            status, answer = self.supervisor.http("GET", "/v1/status")
            return answer["supervisor"]["pid"] if status == 200 else None
        return None

    def _kill(self):
        for _ in range(self.kills):
            if self._over.wait(self.random.uniform(*self.every)):
                break
            old = self._serving()
            if old is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                found = launcher(self.supervisor) if self.with_launcher else None
                os.kill(old, signal.SIGKILL)
                if found is not None:
                    os.kill(found, signal.SIGKILL)
            began = time.monotonic()
            self.client("status")
            while (pid := self._serving()) in {None, old}:
                if time.monotonic() - began > 3 * RECOVERY_SECONDS:
                    break
                time.sleep(0.01)
            self.recoveries.append(time.monotonic() - began)
            assert pid is None or pid > 0

    # ── what must be true afterwards ──

    def faults(self):
        """What is wrong with the jobs. How long the recoveries took is reported, and depends on the machine's load."""
        found = []
        for job in self.jobs:
            found += [f"job {job.index} ({job.kind}): {what}" for what in self._wrong(job)]
        rows = self.supervisor.get("/v1/jobs?limit=1000")["jobs"]
        if len(rows) != len(self.jobs):
            found.append(f"{len(rows)} jobs are known, {len(self.jobs)} were submitted")
        return found

    def _wrong(self, job):
        if job.told != job.status:
            yield f"its client ended with {job.told}, not {job.status}: {job.said.strip()[-300:]}"
        if job.kind == "safe":
            lines = (job.directory / "out").read_text().splitlines()
            if lines.count("ran") != 1:
                yield f"its output is {lines[:5]}"
            return
        if job.kind == "waiting":
            log = self.supervisor.get(f"/v1/jobs/{job.number}/log") if job.number else b""
            if log != b"ran\n":
                yield f"its log is {log[:100]!r}"
            return
        mark = job.directory / "mark"
        text = mark.read_text() if mark.exists() else ""
        if text != ("ran\n" if job.keeps() else ""):
            yield f"it left {text!r}"

    def _end(self):
        pid = self._pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 60
        while pid is not None and os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
            time.sleep(0.05)

    def _left_behind(self):
        found = []
        end = time.monotonic() + 20
        while time.monotonic() < end:
            found = [*self._processes(), *self._groups(), *self._layers()]
            if not found:
                return []
            time.sleep(0.1)
        return [f"left behind: {what}" for what in found]

    def _layers(self):
        """Those of committed checkpoints are kept, for undo."""
        with contextlib.closing(sqlite3.connect(self.supervisor.paths.database)) as connection:
            kept = {str(row[0]) for row in connection.execute("SELECT id FROM checkpoints WHERE state = 'committed'")}
        return [f"layers {name}" for name in os.listdir(self.supervisor.paths.layers) if name not in kept]

    def _groups(self):
        root = "/sys/fs/cgroup"
        name = self.supervisor.paths.cgroup
        return [
            path
            for path in (f"{root}/{name}", *(f"{entry.path}/{name}" for entry in os.scandir(root) if entry.is_dir()))
            if os.path.exists(path)
        ]

    def _processes(self):
        name = f"/{self.supervisor.paths.cgroup}/"
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if name in Path(f"/proc/{pid}/cgroup").read_text():
                    yield f"process {pid}"

    def clean(self):
        """Whatever is left, whatever happened."""
        with contextlib.suppress(Exception):
            self._end()
        self.supervisor.clean()
        shutil.rmtree(self.root, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    campaign = Campaign(options.jobs, options.kills, options.seed)
    began = time.monotonic()
    try:
        faults = campaign.run()
    finally:
        campaign.clean()
    figures = {
        "jobs": options.jobs,
        "kills": len(campaign.recoveries),
        "seconds": round(time.monotonic() - began, 1),
        "recovery_max_seconds": round(max(campaign.recoveries, default=0.0), 2),
        "recovery_median_seconds": round(sorted(campaign.recoveries)[len(campaign.recoveries) // 2], 2),
        "recovery_goal_reached": max(campaign.recoveries, default=0.0) < RECOVERY_SECONDS,
        "load": os.getloadavg()[0],
        "faults": len(faults),
    }
    print(json.dumps(figures))
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
