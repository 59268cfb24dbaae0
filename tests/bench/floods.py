"""How long another job takes to start while one floods the host: processes, memory, files, inodes, caches, output.

Each flood is held by the limits of its job (512 processes, 512 MiB, half a core); the goal is twice the time alone.
"""

import select
import time
from collections.abc import Callable

from figures import Report, in_turns, print_samples
from world import World

PYTHON = ("/usr/bin/python3", "-I", "-S", "-c")
PROCESSES = """
import os
while True:
    try:
        os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    except OSError:
        pass
"""
MEMORY = """
import os
while True:
    if os.fork() == 0:
        found = []
        while len(found) < 440:
            found.append(bytearray(b"x" * (1 << 20)))
        os._exit(0)
    os.wait()
"""
FILE = """
import os
while True:
    with open("flood", "wb", buffering=0) as file:
        for _ in range(128):
            file.write(b"x" * (1 << 20))
"""
INODES = """
import os
while True:
    for number in range(5000):
        os.close(os.open(f"flood-{number}", os.O_CREAT, 0o600))
    for number in range(5000):
        os.unlink(f"flood-{number}")
"""
DESCRIPTORS = """
import os
while True:
    held = []
    try:
        while True:
            held += os.pipe()
    except OSError:
        for fd in held:
            os.close(fd)
"""
CACHE = """
import os
while True:
    for directory, _, names in os.walk("/usr"):
        for name in names:
            try:
                with open(f"{directory}/{name}", "rb", buffering=0) as file:
                    while file.read(1 << 20):
                        pass
            except OSError:
                pass
"""
WRITEBACK = """
import os
while True:
    with open("flood", "r+b" if os.path.exists("flood") else "wb", buffering=0) as file:
        for place in range(64):
            file.seek(place << 20)
            file.write(b"x" * 4096)
        os.fsync(file.fileno())
"""
FLOODS = {
    "processes": (PROCESSES, "safe"),
    "memory": (MEMORY, "safe"),
    "file": (FILE, "sequential"),
    "inodes": (INODES, "sequential"),
    "descriptors": (DESCRIPTORS, "safe"),
    "page cache": (CACHE, "safe"),
    "writeback": (WRITEBACK, "sequential"),
}
OUTPUT = "output"
FLOOD_SECONDS = "60"
GOAL = 2.0


def in_turns_beside_output(world: World, start: Callable[[], object], runs: int) -> dict[str, list[float]]:
    """Beside a detached job that writes all the time: its init copies that into a log of bounded size."""
    flood = world.submit(["yes"], tier="safe", timeout=FLOOD_SECONDS, detach="1")
    while not flood.accepted:
        flood.step()
    time.sleep(1.0)
    samples = in_turns({f"beside {OUTPUT}": start}, runs)
    if (state := world.shown(flood.job)["state"]) != "running":
        raise SystemExit(f"bench: the flood of {OUTPUT} did not last: {state}")
    world.command("kill", str(flood.job))
    flood.close()
    return samples


def floods(world: World, report: Report, runs: int) -> None:
    """`true` in SAFE over the exec socket, alone and beside each flood."""

    def start() -> object:
        return world.submit(["true"], tier="safe").wait()

    samples = in_turns({"alone": start}, runs)
    for name, (code, tier) in FLOODS.items():
        flood = world.submit([*PYTHON, code], tier=tier, timeout=FLOOD_SECONDS)
        time.sleep(1.0)  # until it is at its limit
        samples |= in_turns({f"beside {name}": start}, runs)
        while select.select([flood], [], [], 0)[0]:
            if flood.step():
                raise SystemExit(f"bench: the flood of {name} did not last: {flood.result}")
        flood.close()
    samples |= in_turns_beside_output(world, start, runs)
    report.samples |= samples
    print_samples("floods: `true` in SAFE, each alone", samples, "alone")
    for name in (*FLOODS, OUTPUT):
        report.goal(f"start beside a flood of {name} / alone", report.ratio(f"beside {name}", "alone"), GOAL)
