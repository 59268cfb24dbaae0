"""Circuit breakers of jobs: which one a job depends on, what its end says of that, and what is remembered on disk.

A breaker is a user's own: nobody's failures keep others from trying.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time

from cbx_sandbox import runner
from cbx_sandbox.policy import NetworkMode
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.model.result import Result
from cbx_supervisor.scheduling.breakers import Tolerance
from cbx_supervisor.scheduling.engine import Engine
from cbx_supervisor.settings import Settings
from cbx_supervisor.store import breakers as rows
from cbx_supervisor.store.database import Database


def circuit(submission: Submission, planned: runner.Plan) -> str:
    """What a job's success depends on, by user: its program and the one host that it is known to talk to, or nothing.

    Of several hosts nobody could say which one failed.
    """
    analysis = planned.analysis
    hosts = {effect.host for effect in analysis.effects.network}
    host = next(iter(hosts)) if len(hosts) == 1 else None
    if planned.policy.network is NetworkMode.NONE or not host or not analysis.programs:
        return ""
    return name_of(submission.uid, f"{analysis.programs[0]} {host}")


def name_of(uid: int, what: str) -> str:
    """A breaker's name in the engine."""
    return f"{uid} {what}"


def healthy(result: Result, planned: runner.Plan | None) -> bool | None:
    """What the end of a job says of its circuit; None if it ended for a reason of its own."""
    if planned is None or result.state != "exited" or result.reason not in {"exited", "timeout"}:
        return None
    return result.reason == "exited" and result.exit_code in planned.analysis.benign_exits


def tolerance(settings: Settings) -> Tolerance:
    """How much is borne, as configured."""
    return Tolerance(settings.breakers.failures_max, settings.breakers.open_seconds)


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """A breaker as people see it. ``seconds`` until it is tried again: None, it is closed, or somebody tries now."""

    uid: int
    name: str
    state: str  # closed, open, half-open
    failures: int
    seconds: float | None


class Breaking:
    """The engine's breakers and their rows."""

    def __init__(self, database: Database, engine: Engine) -> None:
        self._database = database
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        for row in database.read(rows.all_of_them):
            # The engine's clock is another one after each start.
            until = None if row.until is None else self._loop.time() + (row.until - time.time())
            engine.breakers.restore(row.name, row.failures, until)

    def keep(self, name: str) -> None:
        """Have it written down as it is now: what is lost in a crash is one more try."""
        if not name:
            return
        breaker = self._engine.breakers.known().get(name)
        if breaker is None:
            self._database.write(rows.forget(name))
        else:
            until = None if breaker.until is None else time.time() + (breaker.until - self._loop.time())
            self._database.write(rows.keep(rows.Row(name, breaker.failures, until)))

    def shown(self, uid: int | None) -> list[Shown]:
        """Those that remember a failure, of a user or (None) of all."""
        now, found = self._loop.time(), []
        for name, breaker in sorted(self._engine.breakers.known().items()):
            owner, _, what = name.partition(" ")
            if uid is not None and uid != int(owner):
                continue
            left = None if breaker.until is None else max(0.0, breaker.until - now)
            trying = breaker.probe is not None or left == 0
            state = "closed" if left is None else "half-open" if trying else "open"
            found.append(Shown(int(owner), what, state, breaker.failures, left if state == "open" else None))
        return found
