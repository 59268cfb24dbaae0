"""The jobs of a campaign: what each is to do, what its client does, and what must be true of it afterwards."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import time
from pathlib import Path

WEIGHTS = {
    "safe": 40,
    "conditional": 18,
    "sequential": 12,
    "dangerous": 2,
    "waiting": 12,
    "late": 5,
    "cancelled": 6,
    "again": 5,
}
TIMEOUT, NEVER_STARTED, TERMINATED = 124, 75, 143


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

    @classmethod
    def drawn(cls, index: int, root: Path, rng: random.Random, longest: float) -> Job:
        """Any kind, for ``longest`` seconds at most; some fail."""
        kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        directory = root / "work" / str(index)
        directory.mkdir(parents=True)
        status = {"dangerous": 0, "late": TIMEOUT}.get(kind, rng.choice((0, 0, 0, 3, 42)))
        return cls(index, kind, rng.uniform(0.02, longest), status, directory)

    @property
    def detached(self):
        return self.kind in {"conditional", "waiting", "cancelled", "again"} or (
            self.kind in {"sequential", "late"} and self.index % 2 == 0
        )

    @property
    def only_reads(self):
        return self.kind in {"safe", "waiting", "late", "cancelled"}

    def arguments(self):
        """The client's command line. Each start of the command leaves one line."""
        options = ["--idempotency-key", f"job-{self.index}"]
        if self.kind == "late":
            return [*options, "--timeout", f"{self.seconds:.2f}s", "-c", "echo ran; sleep 600"]
        if self.kind == "cancelled":
            return [*options, "-c", "echo ran; sleep 600"]
        sleep = f"sleep {self.seconds:.2f}"
        if self.only_reads:
            return [*options, "-c", f"echo ran; {sleep}; exit {self.status}"]
        tier = "conditional" if self.kind == "again" else self.kind
        line = f"echo ran >> {self.directory}/mark; {sleep}; exit {self.status}"
        rw = [] if self.kind == "dangerous" else ["--rw", str(self.directory)]
        return [*options, "--tier", tier, "--commit", "auto", *rw, "-c", line]

    def live(self, client):
        """What its client does, from the request to the status that it ends with."""
        if not self.detached:
            with (self.directory / "out").open("ab") as out:
                done = client("run", "--json", *self.arguments(), stdout=out)
            self.told, self.said = done.returncode, done.stderr
            return
        if self.kind == "again":
            self._ask_and_vanish(client)
        done = client("submit", *self.arguments())
        if done.returncode != 0 or not done.stdout.strip().isdigit():
            self.said = f"{done.returncode}: {done.stderr}"
            return
        self.number = int(done.stdout)
        if self.kind == "cancelled":
            time.sleep(self.seconds)
            # Whose answer was lost says it again; what is over then is so because of the first time.
            while client("cancel", str(self.number)).returncode != 0:
                pass
        done = client("wait", str(self.number))
        self.told, self.said = done.returncode, done.stderr

    def _ask_and_vanish(self, client):
        """Twice, as a client does that is killed before it knows whether it was heard."""
        for seconds in (self.seconds / 4, self.seconds / 2):
            asking = client.begun("submit", *self.arguments())
            try:
                asking.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                asking.kill()
                asking.communicate()

    # ── afterwards ──

    def wrong(self, supervisor):
        """What is not as it must be."""
        if self.kind == "cancelled":
            if self.told not in {NEVER_STARTED, TERMINATED}:
                yield f"its client ended with {self.told}, not as one of a cancelled job: {self.said.strip()[-300:]}"
        elif self.told != self.status:
            yield f"its client ended with {self.told}, not {self.status}: {self.said.strip()[-300:]}"
        if self.only_reads:
            yield from self._wrong_output(supervisor)
            return
        mark = self.directory / "mark"
        text = mark.read_text() if mark.exists() else ""
        # What a failed job did over an overlay is rolled back.
        if text != ("ran\n" if self.kind in {"conditional", "again"} or self.status == 0 else ""):
            yield f"it left {text!r}"

    def _wrong_output(self, supervisor):
        if self.detached:
            # Of a job that was never started there is none: 404.
            status, kept = supervisor.http("GET", f"/v1/jobs/{self.number}/log") if self.number else (404, b"")
            text = kept.decode() if status == 200 else ""
        else:
            text = (self.directory / "out").read_text()
        count = text.splitlines().count("ran")
        # Who was cancelled, or had no time left, may not have come to say anything.
        if count != 1 and not (count == 0 and self.kind in {"cancelled", "late"} and self.told is not None):
            yield f"its output is {text[:100]!r}"
