"""Many jobs of all kinds, and a supervisor that is killed again and again at random: nothing is lost or done twice.

``python -m tests.daemon.durable.campaign --jobs 500 --kills 20`` is the whole of it (`make chaos`); CI has a sample.
Clients start the next supervisor, as they do where no service manager does; with ``--service`` systemd does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.daemon.conftest import Supervisor
from tests.daemon.durable.campaign_jobs import Job
from tests.daemon.durable.conftest import launcher
from tests.daemon.durable.leftovers import left_behind
from tests.daemon.durable.preloaded import Clients

from cbx_supervisor import paths as places

CLIENT = shutil.which("cbx-sandbox", path=f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}") or "cbx-sandbox"
RECOVERY_SECONDS = 10.0
TOLD_EVERY = 15.0  # s
SERVICE_GROUP = "cbx.slice/cbx-launcher.service"


class Client:
    """Runs the command line."""

    def __init__(self, environment):
        self.environment = environment

    def begun(self, *arguments, stdout=subprocess.PIPE):
        return subprocess.Popen(
            [CLIENT, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments, stdout=subprocess.PIPE):
        with self.begun(*arguments, stdout=stdout) as process:
            out, said = process.communicate()
            return subprocess.CompletedProcess(process.args, process.returncode, out, said)


class Campaign:
    """One run of it, in directories of its own; ``service``: with the one that systemd runs."""

    def __init__(
        self, jobs, kills, seed, *, at_once=30, every=(0.1, 4.0), longest=1.5, with_launcher=False, service=False
    ):
        """Seconds between two kills, and those that the longest job runs."""
        self.random = random.Random(seed)
        self.root = Path(tempfile.mkdtemp(prefix="cbx-campaign-", dir="/tmp"))
        self.service = service
        self.supervisor = Supervisor(self.root / "d")
        (self.root / "d").mkdir()
        if service:
            self.supervisor.environment = {"PATH": os.environ["PATH"]}
            self.supervisor.paths = places.from_environment({}, uid=0)._replace(cgroup=SERVICE_GROUP)
        # In the guest a Python takes seconds to start.
        self.client = (Clients if service else Client)(self.supervisor.environment)
        self.kills, self.at_once, self.every, self.with_launcher = kills, at_once, every, with_launcher
        self.recoveries = []
        self.jobs = [Job.drawn(index, self.root, self.random, longest) for index in range(jobs)]
        self._over = threading.Event()
        self._drawing = threading.Lock()
        self._least, self._longest = jobs, longest
        self._begun = self._lived = 0

    def run(self):
        """All of it; returns what went wrong."""
        self.client("status")
        killer = threading.Thread(target=self._kill)
        killer.start()
        teller = threading.Thread(target=self._tell)
        teller.start()
        with ThreadPoolExecutor(self.at_once) as pool:
            list(pool.map(lambda _: self._live_on(), range(self.at_once)))
        self._over.set()
        killer.join()
        teller.join()
        faults = self.faults()
        if not self.service:
            self._end()
        return faults + left_behind(self.supervisor, serves=self.service)

    def _live_on(self):
        """One job after the other; more than were asked for, up to twice as many, while there are kills to come."""
        while (job := self._next()) is not None:
            job.live(self.client)
            self._lived += 1  # one too few is no harm: it is only told

    def _next(self):
        with self._drawing:
            if self._begun == len(self.jobs) and len(self.recoveries) < self.kills and len(self.jobs) < 2 * self._least:
                self.jobs.append(Job.drawn(len(self.jobs), self.root, self.random, self._longest))
            if self._begun == len(self.jobs):
                return None
            self._begun += 1
            return self.jobs[self._begun - 1]

    def _tell(self):
        """How far it has come: who waits for long sees that it goes on."""
        began, over = time.monotonic(), False
        while not over:
            over = self._over.wait(TOLD_EVERY)
            seconds, kills = time.monotonic() - began, len(self.recoveries)
            print(f"{seconds:.0f} s: {self._lived} jobs over, {kills} kills", file=sys.stderr, flush=True)

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
        starters = []
        while len(self.recoveries) < self.kills:
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
            # Whoever comes first starts the next one: this client, if no other does.
            starter = self.client.begun("status", stdout=subprocess.DEVNULL)
            # Until one answers: what a client needs to start up, among thirty others, is not the supervisor's.
            while self._serving() in {None, old} and time.monotonic() - began < 3 * RECOVERY_SECONDS:
                time.sleep(0.01)
            self.recoveries.append(time.monotonic() - began)
            starters.append(starter)
        for starter in starters:
            starter.communicate()

    # ── what must be true afterwards ──

    def faults(self):
        """What is wrong with the jobs. How long the recoveries took is reported, and depends on the machine's load."""
        found = []
        for job in self.jobs:
            found += [f"job {job.index} ({job.kind}): {what}" for what in job.wrong(self.supervisor)]
        rows = self.supervisor.get("/v1/jobs?limit=1000")["jobs"]
        if len(rows) != len(self.jobs):
            found.append(f"{len(rows)} jobs are known, {len(self.jobs)} were submitted")
        return found

    def _end(self):
        pid = self._pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 60
        while pid is not None and os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
            time.sleep(0.05)

    def clean(self):
        """Whatever is left, whatever happened."""
        if not self.service:
            with contextlib.suppress(Exception):
                self._end()
            self.supervisor.clean()
        if self.service:
            self.client.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def figures(self):
        """What is reported of it."""
        times = sorted(self.recoveries)
        return {
            "jobs": len(self.jobs),
            "kills": len(times),
            "recovery_seconds": [round(seconds, 2) for seconds in self.recoveries],
            "recovery_median_seconds": round(times[len(times) // 2], 2) if times else None,
            "recovery_max_seconds": round(times[-1], 2) if times else None,
            "recovery_goal_reached": bool(times) and times[-1] < RECOVERY_SECONDS,
            "load": os.getloadavg()[0],
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--service", action="store_true", help="the supervisor is a service of systemd's")
    options = parser.parse_args()
    campaign = Campaign(options.jobs, options.kills, options.seed, service=options.service)
    began = time.monotonic()
    try:
        faults = campaign.run()
    finally:
        campaign.clean()
    seconds = round(time.monotonic() - began, 1)
    share = round(100 * len({fault.partition(":")[0] for fault in faults}) / options.jobs, 2)
    print(json.dumps(campaign.figures() | {"seconds": seconds, "faults": len(faults), "percent_failed": share}))
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
