"""What the bench measures: how fast a job starts, how many get through, what they hold, and what computing costs."""

import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import crowd
import peers
from confinement import confinement
from deciding import deciding
from figures import Report, in_turns, print_samples
from floods import floods
from layers import layers
from networks import networks
from submitting import submitting
from waiting import utilisation, waiting
from world import PROGRAM, World, children, settle

SLOTS = {"safe": 16, "conditional": 8, "sequential": 4, "dangerous": 2}
TIERS = tuple(SLOTS)
AT_ONCE = sum(SLOTS.values())
COMPUTATION = ("/usr/bin/python3", "-I", "-S", "-c", "sum(i * i for i in range(6_000_000))")


def start(world: World, report: Report, runs: int) -> None:
    """`run -- true` in each tier, over the exec socket and as a whole process, beside the peers."""
    found, missing = peers.available()
    report.notes += [f"{name} is left out: {why}" for name, why in missing.items()]
    variants: dict[str, Callable[[], object]] = {name: _peer(argv) for name, argv in found.items()}
    for tier in TIERS:
        variants[f"exec socket, {tier}"] = lambda tier=tier: world.submit(["true"], tier=tier).wait()
        variants[f"whole process, {tier}"] = _process(world, tier)
    samples = in_turns(variants, runs)
    report.samples |= samples
    print_samples("start: `true`, each alone, 30 ms apart", samples, "bwrap")
    _in_a_row(world, report, runs)
    if "bwrap" not in found:
        for name, limit in (("SAFE", 1.0), ("DANGEROUS", 2.0), ("whole process", 5.0)):
            report.goal(f"{name} / bwrap", None, limit, why="no bwrap here")
        return
    report.goal("exec socket, SAFE / bwrap", report.ratio("exec socket, safe", "bwrap"), 1.0)
    report.goal("exec socket, DANGEROUS / bwrap", report.ratio("exec socket, dangerous", "bwrap"), 2.0)
    for tier in TIERS:
        report.goal(f"whole process, {tier.upper()} / bwrap", report.ratio(f"whole process, {tier}", "bwrap"), 5.0)


def _in_a_row(world: World, report: Report, runs: int) -> None:
    """The same without a pause: what is made ahead has to be made meanwhile, and counts."""
    many = 10
    variants = {
        "bwrap in a row": lambda: [peers.run((*peers.BWRAP, peers.PROGRAM)) for _ in range(many)],
        "exec socket, safe, in a row": lambda: [world.submit(["true"], tier="safe").wait() for _ in range(many)],
    }
    samples = {
        name: [value / many for value in values] for name, values in in_turns(variants, max(3, runs // 5)).items()
    }
    report.samples |= samples
    print_samples(f"start: `true`, {many} in a row, each", samples, "bwrap in a row")


def _peer(argv: tuple[str, ...]) -> Callable[[], None]:
    return lambda: peers.run(argv)


def _process(world: World, tier: str) -> Callable[[], None]:
    argv = [str(PROGRAM), "run", "-q", "--tier", tier, "--", "true"]
    null = world.null

    def once() -> None:
        actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
        pid = os.posix_spawn(argv[0], argv, world.environment, file_actions=actions)
        if os.waitpid(pid, 0)[1]:
            raise SystemExit(f"bench: {' '.join(argv)} failed")

    return once


def memory(world: World, report: Report, _runs: int) -> None:
    """What the daemon and the inits hold while 30 jobs run: as many in each tier as it has slots."""
    tiers = [tier for tier, slots in SLOTS.items() for _ in range(slots)]
    calls = []
    for number, tier in enumerate(tiers):
        # A project each, for they lock it.
        project = f"{world.directory}/own-{number}"
        os.makedirs(f"{project}/.git")
        calls.append(world.submit(["sleep", "1000"], project=project, tier=tier, timeout="0"))
    try:
        for call in calls:
            while not call.accepted:
                call.step()
        launcher = world.launcher()
        deadline = time.monotonic() + 60
        while len(inits := _serving(launcher)) < AT_ONCE:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: only {len(inits)} of {AT_ONCE} jobs run")
            time.sleep(0.05)
        settle(1.0)
        waiting = [pid for pid in children(launcher) if pid not in inits]
        daemon = _rss_mib(world.pid)
        private = [_private_mib(pid) for pid in inits]
        report.facts["daemon RSS MiB"] = daemon
        report.facts["launcher RSS MiB"] = _rss_mib(launcher)
        report.facts["init private MiB"] = private
        report.facts["boxes in waiting, private MiB"] = [_private_mib(pid) for pid in waiting]
    finally:
        for call in calls:
            call.close()
    print(f"\nmemory with {AT_ONCE} jobs (MiB)")
    print(f"  daemon {daemon:.1f} resident; launcher {report.facts['launcher RSS MiB']:.1f} resident")
    print(f"  private of each init: median {statistics.median(private):.2f}, most {max(private):.2f}")
    print(
        f"  boxes in waiting: {', '.join(f'{v:.2f}' for v in report.facts['boxes in waiting, private MiB']) or 'none'}"
    )
    report.goal(f"daemon, resident, {AT_ONCE} jobs", daemon, 80.0, " MiB")
    report.goal("init, private, each", max(private), 4.0, " MiB")


def _serving(launcher: int) -> list[int]:
    """Children of the launcher that have a command running: boxes in waiting have none."""
    return [pid for pid in children(launcher) if any(_name(child) == "sleep" for child in children(pid))]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _rss_mib(pid: int) -> float:
    return _sum_kib(f"/proc/{pid}/status", ("VmRSS:",)) / 1024


def _private_mib(pid: int) -> float:
    return _sum_kib(f"/proc/{pid}/smaps_rollup", ("Private_Dirty:", "Private_Clean:")) / 1024


def _sum_kib(path: str, names: tuple[str, ...]) -> int:
    lines = Path(path).read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(names))


def cpu(world: World, report: Report, runs: int) -> None:
    """CPU time of a fixed computation, inside and outside."""
    samples: dict[str, list[float]] = {"outside": [], "inside": []}
    for number in range(runs):
        for name in ("outside", "inside") if number % 2 else ("inside", "outside"):
            if name == "inside":
                used = world.submit(COMPUTATION, tier="safe").wait()["usage"]["cpu_seconds"]
            else:
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                peers.run(COMPUTATION)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            samples[name].append(used * 1000)
    report.samples |= {f"computation {name}": values for name, values in samples.items()}
    print_samples("CPU time of a fixed computation", samples, "outside")
    ratio = statistics.median(samples["inside"]) / statistics.median(samples["outside"])
    report.goal("CPU time of a fixed computation, inside / outside", ratio, 1.02)


PARTS = {
    "start": start,
    "many": crowd.many,
    "queue": crowd.queue,
    "memory": memory,
    "cpu": cpu,
    "deciding": deciding,
    "networks": networks,
    "layers": layers,
    "submitting": submitting,
    "waiting": waiting,
    "utilisation": utilisation,
    "confinement": confinement,
    "floods": floods,
}
