"""Made-up days: jobs as a busy build host sees them, from a seed. Randomness is handed in.

Arrivals follow the day, with a quiet night and a peak in the afternoon, and half of them come in bursts, as from a
build that was started. Durations are log-normal, a few of them very long (Feitelson, Workload Modeling for Computer
Systems, chapters 3 and 9). Jobs that write lock one of their user's projects. Some jobs of a burst come after one that
was sent before them, as the tests of a build do.
"""

from __future__ import annotations

import dataclasses
import math
from random import Random

from cbx_sandbox.policy import LockMode
from cbx_sandbox.shell.estimate import Bound, Estimate, priority
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.capacity import Capacity
from cbx_supervisor.scheduling.lock_modes import LockKey, Want
from cbx_supervisor.scheduling.order import Entry, Importance

DAY = 86_400.0  # s
_SPREAD = 1.5  # sigma of the durations' logarithm: one in a hundred takes 33 times the median
_MISJUDGED = 0.5  # sigma of the logarithm of expected / real
_BURST = 12  # jobs of one burst, on average
_PROJECTS = 8  # of each user
_TIERS = {
    Tier.SAFE_PARALLEL: 0.55,
    Tier.CONDITIONAL_PARALLEL: 0.27,
    Tier.SEQUENTIAL_REQUIRED: 0.13,
    Tier.DANGEROUS_ISOLATED: 0.05,
}
_IMPORTANCE = {
    Importance.CRITICAL: 0.01,
    Importance.HIGH: 0.15,
    Importance.NORMAL: 0.60,
    Importance.LOW: 0.20,
    Importance.DEFERRED: 0.04,
}
_BOUNDS = {Bound.CPU: 0.45, Bound.IO: 0.25, Bound.NETWORK: 0.12, Bound.MEMORY: 0.06, Bound.NOTHING: 0.12}
_AFTER = 0.15  # of the jobs of a burst but its first
MODES = {
    Tier.CONDITIONAL_PARALLEL: LockMode.X,
    Tier.SEQUENTIAL_REQUIRED: LockMode.U,
    Tier.DANGEROUS_ISOLATED: LockMode.U,
}


@dataclasses.dataclass(frozen=True, slots=True)
class SimulatedJob:
    """What the engine is told of a job, and how long it really takes, in seconds."""

    entry: Entry
    seconds: float


def synthetic(random: Random, *, jobs: int, users: int, capacity: Capacity, load: float) -> list[SimulatedJob]:
    """A day of one host, in the order of arrival.

    Durations are scaled so that on average ``load`` of all slots is asked for: at the peak of the day it is more.
    """
    arrivals = _arrivals(random, jobs)
    lengths = [random.lognormvariate(0.0, _SPREAD) for _ in range(jobs)]
    scale = load * capacity.total * DAY / sum(lengths) if jobs else 1.0
    # A few users send most of the jobs.
    weights = [1 / (user + 1) for user in range(users)]
    made: list[SimulatedJob] = []
    tier, user, importance, begun = Tier.SAFE_PARALLEL, 0, Importance.NORMAL, 1
    for number, (at, first) in enumerate(arrivals, 1):
        if first:
            begun = number
            user = random.choices(range(users), weights)[0]
            importance = random.choices(list(_IMPORTANCE), list(_IMPORTANCE.values()))[0]
        tier = random.choices(list(_TIERS), list(_TIERS.values()))[0]
        seconds = lengths[number - 1] * scale
        expected = seconds * random.lognormvariate(0.0, _MISJUDGED)
        memory = random.choice((32, 64, 128, 256, 512))
        bound = random.choices(list(_BOUNDS), list(_BOUNDS.values()))[0]
        after = random.randrange(begun, number) if begun < number and random.random() < _AFTER else None
        made.append(
            SimulatedJob(
                Entry(
                    number=number,
                    uid=1000 + user,
                    tier=tier,
                    wants=wants(tier, (f"/home/{user}/{random.randrange(_PROJECTS)}",)),
                    score=priority(tier, Estimate(bound, memory, expected), importance.score),
                    importance=importance,
                    seconds=expected,
                    submitted=at,
                    after=frozenset() if after is None else frozenset({after}),
                    bound=bound,
                ),
                seconds,
            )
        )
    return made


def wants(tier: Tier, directories: tuple[str, ...]) -> tuple[Want, ...]:
    """The locks of a job that writes in ``directories``; one that is SAFE writes nowhere."""
    mode = MODES.get(tier)
    return () if mode is None else tuple((LockKey(0, path), mode) for path in directories)


def _arrivals(random: Random, jobs: int) -> list[tuple[float, bool]]:
    """Times of arrival, and whether one begins anew: what follows in a burst is of the same user."""
    found: list[tuple[float, bool]] = []
    while len(found) < jobs:
        at = _moment(random)
        burst = 1 + int(random.expovariate(1 / _BURST)) if random.random() < 1 / (1 + _BURST) else 1
        found += [(at, index == 0) for index in range(min(burst, jobs - len(found)))]
    return sorted(found, key=lambda arrival: arrival[0])


def _moment(random: Random) -> float:
    """A time of the day: the rate at three in the afternoon is nine times that at three in the night."""
    while True:
        at = random.random() * DAY
        if random.random() < (1 + 0.8 * math.cos(2 * math.pi * (at / DAY - 15 / 24))) / 1.8:
            return at
