"""How fast the engine decides: locks beside ten thousand holders, starts and ends with a million jobs in the queue."""

import gc
import statistics
import time

from figures import Report

from cbx_sandbox.policy import LockMode
from cbx_supervisor.scheduling.lock_modes import LockKey
from cbx_supervisor.scheduling.locks import LockTable

HOLDERS = 10_000
SETS = 5_000


def locks() -> float:
    """Seconds to take and release a set of five paths while ten thousand others are held."""
    table = LockTable()
    for owner in range(HOLDERS):
        table.take(owner, ((LockKey(1, f"/home/user{owner % 100}/project{owner}"), LockMode.X),))
    sets = [
        tuple((LockKey(1, f"/srv/team{number % 50}/job{number}/part{part}"), LockMode.X) for part in range(5))
        for number in range(SETS)
    ]
    began = time.perf_counter()
    for number, wants in enumerate(sets, HOLDERS):
        table.take(number, wants)
        table.release(number)
    return (time.perf_counter() - began) / SETS


def deciding(_world: object, report: Report, runs: int) -> None:
    """The figures of the engine."""
    gc.collect()
    report.samples["lock and release 5 paths"] = [locks() for _ in range(max(3, runs // 10))]
    usual = statistics.median(report.samples["lock and release 5 paths"])
    report.goal("lock and release of 5 paths, 10,000 held", usual * 1e6, 50, "µs")
