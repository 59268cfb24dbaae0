"""The analysis beside bashlex alone, which only parses, and ``bash -n``, a process: in one run, as ratios.

The same texts, one after the other, each by all three in turn, so that a busy machine slows all of them. What a peer
cannot read counts with the time that it took to say so.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import bashlex
from tests.bench.accuracy.material import ENV, FILES, Material

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import analyse

TEXTS = 400  # of a material, evenly spread


@dataclass(frozen=True, slots=True)
class Side:
    """One way to look at a text, and how long it took: milliseconds by the clock."""

    name: str
    median: float
    p99: float


def measured(material: Material) -> list[Side]:
    """Time the three; the analysis comes first."""
    every = material.everything()
    texts = every[:: max(1, len(every) // TEXTS)]
    sides = {"cbx, the whole analysis": _analyse, "bashlex alone": _bashlex, "bash -n": _bash}
    for text in texts[::10]:  # so that rules and tables are read
        _analyse(text)
        _bashlex(text)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for text in texts:
        for name, look in sides.items():
            times[name].append(_took(look, text))
    return [Side(name, statistics.median(took), sorted(took)[int(len(took) * 0.99)]) for name, took in times.items()]


def show(material: Material) -> None:
    """Print the three, and the first as a multiple of the others."""
    sides = measured(material)
    print(f"-- {material.name}: beside others, milliseconds by the clock (median, 99 of 100; cbx as a multiple)")
    for side in sides:
        ratios = f"{sides[0].median / side.median:6.2f}x  {sides[0].p99 / side.p99:6.2f}x"
        print(
            f"      {side.name:26} {side.median:8.3f} {side.p99:8.2f}    {'' if side is sides[0] else ratios}".rstrip()
        )


def _took(look: Callable[[str], None], text: str) -> float:
    begun = time.perf_counter()
    look(text)
    return (time.perf_counter() - begun) * 1000


def _analyse(text: str) -> None:
    analyse(text, StaticFacts(env=ENV, files=FILES))


def _bashlex(text: str) -> None:
    with contextlib.suppress(Exception):  # it fails in many ways, AttributeError among them: that is its answer
        bashlex.parse(text)


def _bash(text: str) -> None:
    argument = text.encode("utf-8", "surrogatepass").replace(b"\0", b"")
    subprocess.run(["bash", "-n", "-c", argument], capture_output=True, stdin=subprocess.DEVNULL, check=False)
