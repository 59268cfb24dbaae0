"""The regular look at the host and at jobs that run: whether it is too hot, and whose memory grows without end.

Nothing is looked at while no job runs but the host's heat, and that only where it is shown.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cbx_sandbox.box.resident import Gauge, Taken
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import thermal
from cbx_supervisor.model import growth as growing
from cbx_supervisor.model.growth import Growth
from cbx_supervisor.model.heat import Pace, Reading, Zone, pace

if TYPE_CHECKING:
    from cbx_supervisor.execution.executor import Executor
    from cbx_supervisor.execution.live import LiveJob

# Kinds of trip points from which on a host slows itself down, and from which on it switches itself off.
SLOWING, ENDING = ("passive",), ("hot", "critical")
MOST_SAMPLES = 1000  # of one job
FIRST_AFTER = 1.0  # s; the first caller is served before the first look


class Health:
    """What was seen lately."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.on_growth: Callable[[LiveJob, str], None] = _nobody_listens  # told of a job whose memory grows, once
        self._gauge = Gauge()
        self._samples: dict[tuple[int, int], collections.deque[tuple[float, int]]] = {}
        self._found: dict[int, Growth] = {}  # what was found last of each
        self._growing: set[int] = set()  # of which it was found at the last look
        self._pace = Pace()
        self._read: Reading | None = None

    async def watch(self) -> None:
        """Look again and again."""
        await asyncio.sleep(min(FIRST_AFTER, self._executor.settings.timeouts.health_check_interval_seconds))
        while True:
            await self.look()
            await asyncio.sleep(self._executor.settings.timeouts.health_check_interval_seconds)

    async def look(self) -> None:
        """Look once."""
        try:
            if not self._executor.settings.health.slow_down:
                self._go_at(Pace())
            elif self._read is None or self._read.shows:
                self._judge(await self._executor.files.work(0, read, self._executor.settings.health.sysfs))
            await self._weigh()
        except CbxError as error:
            self._executor.log("not looked at", what="health", error=str(error))

    # ── memory ──

    def growth_of(self, job: int) -> Growth | None:
        """How the memory of a job that runs grows, or grew when it last did; None: it never did."""
        return self._found.get(job)

    def forget(self, job: int) -> Growth | None:
        """The job is over: what was found of it last."""
        self._growing.discard(job)
        return self._found.pop(job, None) if self._found else None

    async def _weigh(self) -> None:
        executor = self._executor
        running = [executor.live[number] for number in executor.admission.engine.running if number in executor.live]
        inits = {live.init.pid: live for live in running if live.init is not None and not live.init.closed}
        wanted = {(live.number, live.attempt) for live in inits.values()}
        self._samples = {key: found for key, found in self._samples.items() if key in wanted}
        for number in [number for number in self._found if number not in executor.live]:
            self.forget(number)  # it ended while it was looked at
        if not inits or self._gauge.why_not():
            return
        found = await executor.files.work(0, self._gauge.read, list(inits))
        now = asyncio.get_running_loop().time()
        for pid, taken in found.items():
            live = inits[pid]
            if live.frozen:
                self._samples.pop((live.number, live.attempt), None)  # its time stands still
            elif live.number in executor.live:
                self._add(live, now, taken)

    def _add(self, live: LiveJob, now: float, taken: Taken) -> None:
        settings = self._executor.settings.health
        samples = self._samples.setdefault((live.number, live.attempt), collections.deque(maxlen=MOST_SAMPLES))
        samples.append((now, taken.bytes))
        while now - samples[0][0] > settings.memory_window_seconds:
            samples.popleft()
        least = settings.memory_growth_mb_per_minute * (1 << 20) / 60
        found = growing.growth(list(samples), settings.memory_window_seconds, least, taken.limit)
        if found is None:
            if live.number in self._growing:
                self._growing.discard(live.number)
                self._executor.log("memory grows no more", job=live.number)
            return
        known, self._found[live.number] = live.number in self._found, found
        self._growing.add(live.number)
        if not known:
            text = growing.described(found)
            self._executor.log("memory grows", job=live.number, what=text)
            self.on_growth(live, text)

    # ── heat ──

    def _judge(self, now: Reading) -> None:
        if self._read is not None and not now.shows:
            return  # it could not be read just now
        before = now if self._read is None else self._read
        # What the processors were allowed when the supervisor came stays what is usual.
        self._read = dataclasses.replace(now, allowed=before.allowed)
        self._go_at(pace(before, now, self._pace))

    def _go_at(self, found: Pace) -> None:
        if found != self._pace:
            self._pace = found
            self._executor.log("pace", share=found.share, why=found.why or "the host is not too hot any more")
            self._executor.go_at(found)

    # ── told ──

    def describe(self) -> dict[str, Any]:
        """What `status` says."""
        read_, why_not = self._read, self._gauge.why_not()
        hottest = max(read_.zones, key=lambda zone: zone.temperature) if read_ and read_.zones else None
        return {
            "share": self._pace.share,
            "why": self._pace.why,
            "shown": bool(read_ and read_.shows),
            "hottest": None if hottest is None else {"zone": hottest.name, "celsius": hottest.temperature / 1000},
            "throttled": read_.throttled if read_ else None,
            "battery": read_.battery if read_ else None,
            "memory": why_not or "watched",
            "growing": [
                {
                    "job": job,
                    "bytes_per_second": round(self._found[job].bytes_per_second),
                    "bytes": self._found[job].bytes,
                }
                for job in sorted(self._growing)
            ],
        }


def _nobody_listens(_live: LiveJob, _text: str) -> None:
    """Until somebody does."""


def read(sys: str) -> Reading:
    """What the host shows of its heat. Looks at files."""
    zones = tuple(
        Zone(sensor.name, sensor.temperature, _lowest(sensor.trips, SLOWING), _lowest(sensor.trips, ENDING))
        for sensor in thermal.sensors(sys)
    )
    return Reading(zones, thermal.throttle_count(sys), thermal.frequency_allowed(sys), thermal.on_battery(sys))


def _lowest(trips: dict[str, int], kinds: tuple[str, ...]) -> int | None:
    return min((trips[kind] for kind in kinds if kind in trips), default=None)
