"""`simulate`: the engine through a recorded or made-up day, one strategy beside the other; needs no supervisor."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import time
from collections.abc import Iterator
from random import Random
from typing import IO

import click

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.cli import output
from cbx_supervisor.client.failure import ClientError
from cbx_supervisor.scheduling.capacity import Capacity
from cbx_supervisor.scheduling.simulation import host, trace, workload
from cbx_supervisor.scheduling.simulation.figures import Collector, Figures
from cbx_supervisor.scheduling.simulation.workload import SimulatedJob
from cbx_supervisor.scheduling.strategies import Strategy
from cbx_supervisor.settings import Instances

HEADERS = ("STRATEGY", "JOBS", "MEAN", "P50", "P95", "P99", "LONGEST", "SLOWDOWN", "BUSY", "FAIRNESS")


@click.command(short_help="Compare scheduling strategies.")
@click.argument("file", metavar="[TRACE]", type=click.File("r", encoding="utf-8"), required=False)
@click.option("--synthetic", is_flag=True, help="Make a day up instead of reading TRACE.")
@click.option("--jobs", type=click.IntRange(1, 100_000_000), default=20_000, show_default=True, help="Of all hosts.")
@click.option("--hosts", type=click.IntRange(1, 1_000_000), default=20, show_default=True)
@click.option("--users", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Of each host.")
@click.option(
    "--load",
    type=click.FloatRange(0.01, 10),
    default=0.5,
    show_default=True,
    help="Share of all slots that the jobs ask for, on average over the day.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same day.")
@click.option(
    "--strategy",
    "strategies",
    type=click.Choice([strategy.value for strategy in Strategy]),
    multiple=True,
    help="Only this one; may be repeated.",
)
@click.option("--slots", help="Slots of the four tiers, as 16,8,4,2.")
@click.option("--total", type=click.IntRange(1, 10_000), help="Slots of all tiers together.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, with the classes apart.")
def command(
    file: IO[str] | None,
    synthetic: bool,
    jobs: int,
    hosts: int,
    users: int,
    load: float,
    seed: int,
    strategies: tuple[str, ...],
    slots: str | None,
    total: int | None,
    as_json: bool,
) -> None:
    """Drive the supervisor's own engine through a day, with each strategy, and compare them.

    TRACE (- is stdin) has a JSON object a line, one for each job: what `list --json` prints of jobs that ran, or
    submitted, seconds, tier, and as far as known uid, expected, memory_mb, bound (what it mostly waits for),
    importance, writes (directories), after (jobs), host. Nothing is run. Times are those that jobs waited; SLOWDOWN is
    (wait + run) / run.
    """
    if synthetic == (file is not None):
        raise click.UsageError("give a TRACE, or --synthetic")
    capacity = _capacity(slots, total)
    if file is None:
        random = Random(seed)  # noqa: S311 -- a day that can be made again, no secret
        days = _made_up(random, jobs=jobs, hosts=hosts, users=users, capacity=capacity, load=load)
    else:
        days = iter(_recorded(file))
    chosen = [Strategy(name) for name in strategies] or list(Strategy)
    collectors = {strategy: Collector(capacity.total) for strategy in chosen}
    spent = dict.fromkeys(chosen, 0.0)
    done, stopped = 0, False
    try:
        for day in days:
            outcomes = []
            for strategy in chosen:
                began = time.process_time()
                outcomes.append(host.run(day, capacity, strategy))
                spent[strategy] += time.process_time() - began
            for collector, outcome in zip(collectors.values(), outcomes, strict=True):
                collector.add(outcome)  # of each host all strategies, or none
            done += 1
    except KeyboardInterrupt:
        stopped = True
    for strategy, collector in collectors.items():
        figures = collector.figures()
        if as_json:
            rate = figures.waits.count / spent[strategy] if spent[strategy] else None
            found = {"strategy": strategy.value, **dataclasses.asdict(figures), "jobs_per_cpu_second": rate}
            output.show_json(found)
    if not as_json:
        rows = [_row(strategy, collector.figures()) for strategy, collector in collectors.items()]
        output.show(output.table(HEADERS, rows))
        output.remark(f"simulated in {sum(spent.values()):.1f} s of processor time")
    if stopped:
        output.remark(f"stopped: these are the days of the first {done} hosts")
        sys.exit(128 + signal.SIGINT)


def _row(strategy: Strategy, figures: Figures) -> tuple[object, ...]:
    waits = figures.waits
    times = (waits.mean, waits.p50, waits.p95, waits.p99, waits.longest)
    return (
        strategy.value,
        waits.count,
        *(output.seconds(value) for value in times),
        f"{figures.slowdown:.2f}",
        f"{100 * figures.busy:.1f} %",
        f"{figures.fairness:.3f}",
    )


def _capacity(slots: str | None, total: int | None) -> Capacity:
    """Slots as asked for, else those of a supervisor that is not configured."""
    usual = Instances()
    numbers = [usual.safe_parallel_max, usual.conditional_parallel_max, usual.sequential_max]
    numbers.append(usual.dangerous_isolated_max)
    if slots is not None:
        parts = slots.split(",")
        if len(parts) != len(numbers) or not all(part.isdecimal() and int(part) for part in parts):
            raise click.UsageError(f"--slots takes four numbers from 1 on, as 16,8,4,2: {slots}")
        numbers = [int(part) for part in parts]
    every = total or (usual.total_capacity_max if slots is None else sum(numbers))
    return Capacity(dict(zip(Tier, numbers, strict=True)), every)


def _made_up(
    random: Random, *, jobs: int, hosts: int, users: int, capacity: Capacity, load: float
) -> Iterator[list[SimulatedJob]]:
    """One host's day after the other; the first ones take the jobs that are left over."""
    for index in range(hosts):
        number = jobs // hosts + (index < jobs % hosts)
        yield workload.synthetic(random, jobs=number, users=users, capacity=capacity, load=load)


def _recorded(file: IO[str]) -> list[list[SimulatedJob]]:
    """The hosts' days of a trace, each in the order of arrival, with the first arrival of all as time 0."""
    hosts: dict[str, dict[int, SimulatedJob]] = {}
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            found = trace.read(row, number) if isinstance(row, dict) else None
        except (ValueError, RecursionError) as why:
            raise ClientError(f"{file.name}:{number}: cannot read this job: {why}") from why
        if not isinstance(row, dict):
            raise ClientError(f"{file.name}:{number}: cannot read this job: no JSON object")
        if found is not None:
            name, job = found
            if hosts.setdefault(name, {}).setdefault(job.entry.number, job) is not job:
                raise ClientError(f"{file.name}:{number}: there are two jobs {job.entry.number}")
    if not hosts:
        raise ClientError(f"{file.name}: no job in it has run", hint="`cbx-sandbox list --json -n 100000` prints some")
    return [_day(day) for day in hosts.values()]


def _day(known: dict[int, SimulatedJob]) -> list[SimulatedJob]:
    first = min(job.entry.submitted for job in known.values())
    return sorted(
        (
            dataclasses.replace(
                job,
                entry=dataclasses.replace(
                    job.entry, submitted=job.entry.submitted - first, after=job.entry.after & known.keys()
                ),
            )
            for job in known.values()
        ),
        key=lambda job: (job.entry.submitted, job.entry.number),
    )
