"""What each layer adds to the start of a job, in milliseconds: the box with all of it, and without one at a time.

Boxes are built from nothing here, straight by a launcher: a supervisor makes most of a box ahead. What the supervisor
itself adds for containment's sake (entries of the audit trail, redaction, the leak audit) is measured by itself.
"""

import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from figures import Report, in_turns, print_samples
from world import World

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.root.box.harness import DANGEROUS, SAFE, launcher

from cbx_sandbox.box import leaks
from cbx_sandbox.policy import NetworkMode
from cbx_supervisor.model.redaction import redacted
from cbx_supervisor.store import audit
from cbx_supervisor.store.database import Database

COMMAND = "curl -sS -H 'Authorization: Bearer abcdefgh' https://example.org/a.tar.gz | tar xz -C build"
UNLIMITED = {"memory": None, "pids": None, "cpus": None, "io_bytes_per_second": None}


def confinement(_world: World, report: Report, runs: int) -> None:
    """`true` in SAFE and DANGEROUS, each alone; then the parts of the supervisor."""
    with launcher() as box:
        plain = ["/bin/true"]
        variants: dict[str, Callable[[], object]] = {
            "SAFE, all layers": lambda: box.run(plain),
            "SAFE, without the filter": lambda: box.run(plain, seccomp=False),
            "SAFE, without Landlock": lambda: box.run(plain, landlock=False),
            "SAFE, without a network namespace": lambda: box.run(plain, box.policy(network=NetworkMode.HOST)),
            "SAFE, without limits": lambda: box.run(plain, box.policy(SAFE, **UNLIMITED)),
            "DANGEROUS, all layers": lambda: box.run(plain, box.policy(DANGEROUS)),
            "DANGEROUS, without shifted ids": lambda: box.run(plain, box.policy(DANGEROUS, shifted=False)),
        }
        samples = in_turns(variants, runs)
    report.samples |= samples
    print_samples("boxes from nothing: `true`, each alone", samples, "SAFE, all layers")
    # Differences within a round: its boxes met the same machine. Where their middle half has both signs, the layer
    # costs less than starts differ here anyhow.
    print("what a layer adds to the start (median of the differences in each round, and their middle half):")
    for name, values in samples.items():
        whole = f"{name.partition(',')[0]}, all layers"
        if name != whole:
            differences = [every - without for every, without in zip(samples[whole], values, strict=True)]
            low, median, high = statistics.quantiles(differences, n=4)
            print(f"  {name.replace(', without', ':'):<46} {median:8.2f} ms  {low:8.2f} to {high:.2f}")
            report.facts[f"added by {name.partition('without ')[2]}"] = median
    _own_parts(report, runs)


def _own_parts(report: Report, runs: int) -> None:
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as directory:
        database = Database(f"{directory}/cbx.db")
        entry = audit.record(1.0, "started", "job 1", uid=0, detail={"command": COMMAND, "tier": "SAFE_PARALLEL"})
        parts: dict[str, Callable[[], object]] = {
            "an audit entry, in a transaction with others": lambda: _many(database, entry),
            "a command redacted": lambda: redacted(f"{COMMAND}/{next(numbers)}"),  # what it knows is only looked up
            "a job's namespaces noted": lambda: leaks.namespaces(os.getpid()),
            "a look for what is left (not on the way)": lambda: leaks.sweep(
                [leaks.Marks("1", frozenset({"net:[1]"}), 0)]
            ),
        }
        for name, part in parts.items():
            part()
            seconds = statistics.median(_timed(part) for _ in range(runs))
            seconds /= ENTRIES if "entry" in name else 1
            print(f"  {name:<46} {seconds * 1000:8.3f} ms")
            report.facts[name] = seconds
        database.close()


ENTRIES = 200


def _many(database: Database, entry: Callable[..., None]) -> None:
    def all_of_them(connection: object) -> None:
        for _ in range(ENTRIES):
            entry(connection)

    database.write(all_of_them).result()


def _timed(part: Callable[[], object]) -> float:
    began = time.perf_counter()
    part()
    return time.perf_counter() - began
