"""What a hundred thousand jobs that wait cost a supervisor and the next one; how busy the slots are when 2,000 run."""

import os
import time

import world as worlds
from figures import Report
from submitting import _post as post
from submitting import _resident as resident
from submitting import _waiting as waits
from world import World

WAITING = 100_000
RUNNING = 2_000
GROUP = 500  # jobs of one batch


def waiting(_world: object, report: Report, _runs: int) -> None:
    """Through batches, of a user's own session, analysed and in the queue; none is started."""
    with worlds.supervisor() as world:
        world.command("queue", "pause")
        before = resident(world)
        _submit(world, WAITING)
        held, fds = resident(world), len(os.listdir(f"/proc/{world.pid}/fd"))
        back = world.begin_anew()
        while waits(world) < WAITING:
            time.sleep(0.1)
        again = resident(world)
    report.facts["daemon RSS MiB with 100,000 waiting"] = held / 1024
    report.notes.append(
        f"{WAITING:,} waiting: {(held - before) / WAITING:.2f} KiB resident for each, {fds} descriptors"
    )
    report.notes.append(f"taken up again by the next supervisor: {again / 1024:.0f} MiB resident")
    report.goal(f"daemon, resident, {WAITING:,} queued", held / 1024, 150.0, " MiB")
    report.goal(f"back after kill -9, {WAITING:,} queued", back, 10.0, " s")


def utilisation(_world: object, report: Report, _runs: int) -> None:
    """The share of slot time that was lost while somebody could have been started, as the supervisor counts it."""
    with worlds.supervisor() as world:
        world.command("queue", "pause")
        _submit(world, RUNNING)
        began = time.monotonic()
        world.command("queue", "resume")
        while waits(world):
            time.sleep(0.1)
        seconds = time.monotonic() - began
        used = world.status()["utilisation"]
    report.facts["slots"] = {**used, "seconds": seconds}
    report.notes.append(f"{RUNNING:,} jobs: slots in use for {used['busy']:.1f} s, lost {used['idle']:.3f} s")
    report.goal("slot time lost while jobs waited", 100 * (1 - used["share"]), 0.1, " %")


def _submit(world: World, jobs: int) -> None:
    """Return when the engine knows all of them."""
    for _ in range(0, jobs, GROUP):
        group = [{"argv": ["cat", f"file-{one % 50}"], "cwd": world.project} for one in range(GROUP)]
        post(world, "/v1/batches", {"jobs": group, "env": world.environment})
    while waits(world) < jobs:
        time.sleep(0.1)
