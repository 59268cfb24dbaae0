"""Many jobs at once: 300 of them over the exec socket, and 2,000 through the queue, beside what people use for that."""

import select
import shutil
import statistics
import subprocess
import tempfile

import peers
import world as worlds
from figures import Report, in_turns, print_samples
from world import Call, World

AT_ONCE = 30
JOBS, QUEUED = 300, 2000
WAITING = 170  # submissions that stand in the queue beside those that run
SLOTS = {"CBX_INSTANCES_SAFE_PARALLEL_MAX": str(AT_ONCE), "CBX_INSTANCES_TOTAL_CAPACITY_MAX": str(AT_ONCE)}


def many(world: World, report: Report, runs: int) -> None:
    """300 jobs, 30 at a time, against bwrap under xargs."""
    variants = {
        "bwrap under xargs": lambda: _with_xargs(JOBS),
        "exec socket": lambda: through(world, JOBS, AT_ONCE),
    }
    samples = in_turns(variants, max(3, runs // 6), rest=1.0)
    report.samples |= {f"{JOBS} jobs, {name}": values for name, values in samples.items()}
    print_samples(f"{JOBS} jobs, {AT_ONCE} at a time", samples, "bwrap under xargs")
    ratio = statistics.median(samples["exec socket"]) / statistics.median(samples["bwrap under xargs"])
    report.goal(f"{JOBS} jobs, {AT_ONCE} at a time / bwrap under xargs", ratio, 1.0)


def queue(_world: World, report: Report, runs: int) -> None:
    """2,000 jobs through a queue that is never empty, 30 at a time: beside bwrap, and beside what isolates nothing."""
    with worlds.supervisor(SLOTS) as world:
        variants = {
            "bwrap under xargs": lambda: _with_xargs(QUEUED),
            "cbx's queue": lambda: through(world, QUEUED, AT_ONCE + WAITING),
        }
        if shutil.which("parallel"):
            variants["GNU parallel, not isolated"] = _with_parallel
        else:
            report.notes.append("GNU parallel is left out: not installed")
        if shutil.which("tsp"):
            variants["task-spooler, not isolated"] = _with_spooler
        else:
            report.notes.append("task-spooler is left out: not installed")
        samples = in_turns(variants, max(2, runs // 10), rest=1.0)
    report.samples |= {f"{QUEUED} jobs, {name}": values for name, values in samples.items()}
    print_samples(f"{QUEUED} jobs through a queue, {AT_ONCE} at a time", samples, "bwrap under xargs")
    ratio = statistics.median(samples["cbx's queue"]) / statistics.median(samples["bwrap under xargs"])
    report.goal(f"{QUEUED} queued jobs, {AT_ONCE} at a time / bwrap under xargs", ratio, 1.25)


def through(world: World, jobs: int, at_once: int) -> None:
    """Keep ``at_once`` jobs submitted until ``jobs`` are done."""
    poll = select.poll()
    left = jobs
    running: dict[int, Call] = {}
    while left or running:
        while left and len(running) < at_once:
            left -= 1
            call = world.submit(["true"])
            running[call.fileno()] = call
            poll.register(call, select.POLLIN)
        for fd, _ in poll.poll():
            call = running[fd]
            if call.step():
                poll.unregister(fd)
                del running[fd]
                call.finish()


def _with_xargs(jobs: int) -> None:
    argv = ["xargs", f"-P{AT_ONCE}", "-I{}", *peers.BWRAP, peers.PROGRAM]
    _feed(argv, jobs)


def _with_parallel() -> None:
    _feed(["parallel", "--will-cite", f"-j{AT_ONCE}", f"{peers.PROGRAM} {{}}"], QUEUED)


def _feed(argv: list[str], jobs: int) -> None:
    numbers = "\n".join(map(str, range(jobs))).encode()
    subprocess.run(argv, input=numbers, check=True, stdout=subprocess.DEVNULL, env=peers.ENVIRONMENT)


def _with_spooler() -> None:
    """Its server keeps the queue; a client adds one job, another waits for the last."""
    with tempfile.TemporaryDirectory(prefix="cbx-bench-") as directory:
        own = {**peers.ENVIRONMENT, "TS_SOCKET": f"{directory}/socket", "TMPDIR": directory, "TS_SLOTS": str(AT_ONCE)}
        own["TS_MAXFINISHED"] = str(QUEUED)
        script = f"for i in $(seq {QUEUED}); do tsp -n {peers.PROGRAM}; done; tsp -w; tsp -l | grep -c finished"
        try:
            done = subprocess.run(["sh", "-c", script], check=True, env=own, capture_output=True, text=True)
            lines = done.stdout.split()
            if int(lines[-1]) < QUEUED - AT_ONCE:
                raise SystemExit(f"bench: task-spooler finished {lines[-1]} of {QUEUED} jobs")
        finally:
            subprocess.run(["tsp", "-K"], check=False, env=own, capture_output=True)
