"""The supervisor is killed at every boundary that one job of each tier passes, and what became of the job looked at.

``python -m tests.daemon.durable.boundaries`` is the whole of it (`make kills`); CI has a sample.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.daemon.conftest import Supervisor
from tests.daemon.durable.campaign import Client
from tests.daemon.durable.leftovers import left_behind
from tests.daemon.durable.preloaded import Clients

DYING = str(Path(__file__).parent / "dying.py")
TIERS = ("safe", "conditional", "sequential", "dangerous")
STATUS = 7  # of jobs over no overlay: what failed over one is rolled back
END_SECONDS = 60.0


class Dying(Supervisor):
    """Its first process dies where it is told to."""

    plan = None

    def spawn(self, *arguments, pass_fds=(), **settings):
        environment = self.environment | settings | {"PLAN": json.dumps(self.plan)}
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", DYING, *arguments],
                env=environment, stdin=subprocess.DEVNULL, stderr=log, stdout=log, pass_fds=pass_fds,
            )  # fmt: skip


class Trial:
    """One job, from its submission to its result, and a supervisor that is killed ``at`` a boundary meanwhile."""

    def __init__(self, tier, at, *, detached=False, late=False, mute=False, clients=None):
        """``clients``: where the clients are forked from, so that they need not be started one by one."""
        self.tier, self.detached = tier, detached
        self.root = Path(tempfile.mkdtemp(prefix="cbx-kills-", dir="/tmp"))
        (self.root / "d").mkdir()
        (self.root / "work").mkdir()
        self.mark, self.trace = self.root / "work/mark", self.root / "trace"
        self.supervisor = Dying(self.root / "d")
        self.supervisor.plan = {
            "at": at, "trace": str(self.trace), "late": late, "wait_for": str(self.mark) if late else None,
            "mute": mute,
        }  # fmt: skip
        self.client = (
            Client(self.supervisor.environment) if clients is None else clients.of(self.supervisor.environment)
        )
        self.status = 0 if tier in {"sequential", "dangerous"} else STATUS
        self.boundaries = []

    def faults(self):
        """What is wrong afterwards."""
        try:
            self.supervisor.start()
            # A process that nobody has waited for counts as one that is there.
            threading.Thread(target=self.supervisor.process.wait, daemon=True).start()
            told, out, said = self._live()
            self.boundaries = self.trace.read_text().splitlines()
            for _ in range(2):  # it may have been killed after all was said, or while it says this
                if not self._serves():
                    self.client("status")
            found = list(self._wrong(told, out, said))
            # The layers of the supervisor that was killed are removed beside the work, not before it.
            found += left_behind(self.supervisor, serves=True)
            self._end()
            return found + left_behind(self.supervisor)
        finally:
            with contextlib.suppress(Exception):
                self._end()
            self.supervisor.clean()
            shutil.rmtree(self.root, ignore_errors=True)

    def _serves(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.supervisor.http("GET", "/v1/status")[0] == 200
        return False

    def _live(self):
        client = self.client
        line = f"echo ran; exit {self.status}"
        options = ["--idempotency-key", "once"]
        if self.tier != "safe":
            line = f"echo ran >> {self.mark}; exit {self.status}"
            options += ["--tier", self.tier, "--commit", "auto"]
            options += [] if self.tier == "dangerous" else ["--rw", str(self.mark.parent)]
        if not self.detached:
            done = client("run", *options, "-c", line)
            return done.returncode, done.stdout, done.stderr
        asked = client("submit", *options, "-c", line)
        if not asked.stdout.strip().isdigit():
            return asked.returncode, "", f"not submitted: {asked.stderr}"
        done = client("wait", asked.stdout.strip())
        logs = client("logs", asked.stdout.strip())
        if logs.returncode != 0:
            # Killed while it answered: who reads a log asks again himself.
            logs = client("logs", asked.stdout.strip())
        return done.returncode, logs.stdout, done.stderr

    def _wrong(self, told, out, said):
        if told != self.status:
            yield f"its client ended with {told}, not {self.status}: {said.strip()[-300:]}"
        text = out if self.tier == "safe" else self.mark.read_text() if self.mark.exists() else ""
        if text != "ran\n":
            yield f"it left {text!r}"
        rows = self.supervisor.get("/v1/jobs")["jobs"]
        found = [self.supervisor.get(f"/v1/jobs/{row['job']}") for row in rows]
        if [(each["state"], each["status"]) for each in found] != [("exited", self.status)]:
            yield f"the books say {found}"

    def _end(self):
        """Of whichever supervisor serves."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(Path(self.supervisor.paths.pid_file).read_text())
            os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + END_SECONDS
            while os.path.exists(f"/proc/{pid}") and self.supervisor.process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
            while os.path.exists(f"/proc/{pid}") and pid != self.supervisor.process.pid and time.monotonic() < end:
                time.sleep(0.01)


def passed(tier, *, detached=False, clients=None):
    """The names of all boundaries that such a job passes; nobody is killed."""
    trial = Trial(tier, 0, detached=detached, clients=clients)
    assert trial.faults() == []
    return trial.boundaries


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only each n-th boundary")
    parser.add_argument("--first", type=int, default=1, help="the first boundary of each job")
    parser.add_argument("--tier", choices=TIERS, nargs="*", default=TIERS, help="only these")
    options = parser.parse_args()
    killed, wrong, clients = 0, 0, Clients()
    for tier in options.tier:
        for detached in (False, True):
            names = passed(tier, detached=detached, clients=clients)
            for at in range(options.first, len(names) + 1, options.every):
                trial = Trial(tier, at, detached=detached, clients=clients)
                found = trial.faults()
                killed += len(trial.boundaries) == at
                wrong += len(found)
                for fault in found:  # at once: nobody knows whether a long campaign is seen to its end
                    print((tier, detached, at, trial.boundaries[-1:], fault), flush=True)
            figures = {"tier": tier, "detached": detached, "boundaries": len(names), "wrong": wrong}
            print(json.dumps(figures), flush=True)
    clients.close()
    print(json.dumps({"killed": killed, "wrong": wrong}))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
