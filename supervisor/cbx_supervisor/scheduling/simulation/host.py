"""One host's day: the very engine of the daemon, with a clock that jumps from event to event."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterable, Sequence

from cbx_supervisor.scheduling.actions import Action, Refuse, Start
from cbx_supervisor.scheduling.capacity import Capacity
from cbx_supervisor.scheduling.engine import Engine
from cbx_supervisor.scheduling.order import Entry
from cbx_supervisor.scheduling.simulation.workload import SimulatedJob
from cbx_supervisor.scheduling.strategies import Strategy


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """A job that ran: when it was started, in seconds."""

    job: SimulatedJob
    started: float

    @property
    def waited(self) -> float:
        """From its submission to its start."""
        return self.started - self.job.entry.submitted


@dataclasses.dataclass(frozen=True, slots=True)
class Day:
    """What became of one host's jobs. Times are in seconds."""

    served: tuple[Served, ...]
    refused: int  # came after one that did not succeed
    backlogged: float  # how long jobs waited for a slot, whichever
    busy: float  # slot-seconds that were in use during that time
    ended: float


def run(jobs: Sequence[SimulatedJob], capacity: Capacity, strategy: Strategy) -> Day:
    """Run a host's jobs, which must be in the order of their arrival; all of them succeed."""
    return _Host(jobs, capacity, strategy).run()


class _Host:
    def __init__(self, jobs: Sequence[SimulatedJob], capacity: Capacity, strategy: Strategy) -> None:
        self.jobs = jobs
        self.known = {job.entry.number: job for job in jobs}
        self.engine = Engine(capacity, strategy)
        self.ends: list[tuple[float, int]] = []
        self.over: set[int] = set()
        self.served: list[Served] = []
        self.refused = 0
        self.busy = self.backlogged = 0.0

    def run(self) -> Day:
        now, arrived = 0.0, 0
        while arrived < len(self.jobs) or self.ends:
            was, now = now, self._next_moment(now, arrived)
            self._account(now - was)
            while self.ends and self.ends[0][0] <= now:
                number = heapq.heappop(self.ends)[1]
                self.over.add(number)
                self._carry_out(self.engine.ended(number, now, succeeded=True), now)
            while arrived < len(self.jobs) and self.jobs[arrived].entry.submitted <= now:
                entry = self.jobs[arrived].entry
                arrived += 1
                self._carry_out(self.engine.submit(self._unmet(entry), now), now)
            self._carry_out(self.engine.decide(now), now)
        return Day(tuple(self.served), self.refused, self.backlogged, self.busy, now)

    def _unmet(self, entry: Entry) -> Entry:
        """The job as it is submitted: the engine is told only of jobs to come after that are not over."""
        left = entry.after - self.over
        return entry if left == entry.after else dataclasses.replace(entry, after=left)

    def _next_moment(self, now: float, arrived: int) -> float:
        moments = [self.ends[0][0]] if self.ends else []
        if arrived < len(self.jobs):
            moments.append(self.jobs[arrived].entry.submitted)
        if (later := self.engine.next_time(now)) is not None:
            moments.append(later)
        return max(now, min(moments))

    def _account(self, seconds: float) -> None:
        if self.engine.waiting():
            self.backlogged += seconds
            self.busy += seconds * len(self.engine.running)

    def _carry_out(self, actions: Iterable[Action], now: float) -> None:
        for action in actions:
            match action:
                case Start(number):
                    job = self.known[number]
                    self.served.append(Served(job, now))
                    heapq.heappush(self.ends, (now + job.seconds, number))
                case Refuse():
                    self.refused += 1
                case _:
                    pass  # nobody here asks for locks without a slot
