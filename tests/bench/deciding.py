"""How fast the engine decides: locks beside ten thousand holders, starts and ends with a million jobs in the queue."""

import gc
import random
import statistics
import time

from figures import Report

from cbx_sandbox.policy import LockMode
from cbx_sandbox.shell.estimate import Bound
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.capacity import Capacity
from cbx_supervisor.scheduling.engine import Engine
from cbx_supervisor.scheduling.lock_modes import LockKey
from cbx_supervisor.scheduling.locks import LockTable
from cbx_supervisor.scheduling.order import Entry
from cbx_supervisor.scheduling.strategies import Strategy

HOLDERS = 10_000
SETS = 5_000
QUEUED = 1_000_000
DECISIONS = 50_000  # of a queue that stays as good as full


def locks() -> float:
    """Seconds to take and release a set of five paths while ten thousand others are held."""
    table = LockTable()
    for owner in range(HOLDERS):
        table.take(owner, ((LockKey(1, f"/home/user{owner % 100}/project{owner}"), LockMode.X),))
    sets = [
        tuple((LockKey(1, f"/srv/team{number % 50}/job{number}/part{part}"), LockMode.X) for part in range(5))
        for number in range(SETS)
    ]
    began = time.process_time()
    for number, wants in enumerate(sets, HOLDERS):
        table.take(number, wants)
        table.release(number)
    return (time.process_time() - began) / SETS


def queued(strategy: Strategy, jobs: int = QUEUED) -> float:
    """Decisions a second with a million jobs in the queue: each is a job's end and the start that follows from it."""
    slots = {
        Tier.SAFE_PARALLEL: 16,
        Tier.CONDITIONAL_PARALLEL: 8,
        Tier.SEQUENTIAL_REQUIRED: 4,
        Tier.DANGEROUS_ISOLATED: 2,
    }
    engine = Engine(Capacity(slots, 30, cores=8), strategy)
    tiers, kinds = list(Tier), list(Bound)
    draw = random.Random(1)
    engine.pause()
    for number in range(jobs):
        # Two in five write a project of their own team, as sessions do; five hundred users.
        wants = ((LockKey(1, f"/srv/{draw.randrange(2000)}/tree"), LockMode.U),) if draw.random() < 0.4 else ()
        entry = Entry(
            number,
            number % 500 + 1,
            tiers[number % 4],
            wants,
            score=1 + 9 * draw.random(),
            seconds=10 * draw.random(),
            submitted=float(number),
            bound=kinds[number % len(kinds)],
        )
        engine.submit(entry, 0.0)
    gc.collect()
    gc.freeze()
    engine.resume(0.0)
    began = time.process_time()
    for at in range(DECISIONS):
        engine.ended(next(iter(engine.running)), float(at), succeeded=True)
    seconds = time.process_time() - began
    gc.unfreeze()
    return DECISIONS / seconds


def deciding(_world: object, report: Report, runs: int) -> None:
    """The figures of the engine."""
    gc.collect()
    report.samples["lock and release 5 paths"] = [locks() for _ in range(max(3, runs // 10))]
    usual = statistics.median(report.samples["lock and release 5 paths"])
    report.goal("lock and release of 5 paths, 10,000 held", usual * 1e6, 50, "µs")
    for strategy in Strategy:
        rate = queued(strategy)
        report.samples[f"decisions/s, {strategy}"] = [rate]
        report.goal(f"time of a decision with 1,000,000 queued, {strategy}", 1e6 / rate, 50, "µs")
