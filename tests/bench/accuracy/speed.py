"""AC13: processor time of an analysis, which a busy machine changes least; never asserted in a test."""

from __future__ import annotations

import statistics
import time
from functools import lru_cache

from tests.bench.accuracy.goals import Failure, Goal, Measured
from tests.bench.accuracy.material import ENV, FILES, Material

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import analyse

RUNS = 3  # the best of so many: what the text costs, without what the machine did meanwhile
WARM = 40  # every how many-th text is analysed first, so that the rules are read
LARGE = (
    "echo " + "word " * 20_000,
    "ls src; " * 12_500,
    "cat <<'E'\n" + "some text\n" * 10_000 + "E\n",
    "x=" + "$(echo y)" * 11_000,
    "(" * 100_000,
    "`" * 100_000,
)


def _took(text: str) -> float:
    begun = time.process_time()
    analyse(text, StaticFacts(env=ENV, files=FILES))
    return (time.process_time() - begun) * 1000


@lru_cache(maxsize=4)
def _times(texts: tuple[str, ...]) -> tuple[float, ...]:
    for text in texts[::WARM]:
        _took(text)
    return tuple(_took(text) for text in texts)


def _slow(texts: tuple[str, ...], limit: float) -> tuple[Failure, ...]:
    times = zip(texts, _times(texts), strict=True)
    return tuple(Failure(text, f"{took:.1f} ms") for text, took in times if took > limit)


def median(material: Material) -> Measured:
    """Measure the median in milliseconds."""
    texts = material.everything()
    return Measured(statistics.median(_times(texts)), len(texts))


def p99(material: Material) -> Measured:
    """Measure what 99 of 100 stay below, in milliseconds."""
    texts = material.everything()
    times = sorted(_times(texts))
    return Measured(times[int(len(times) * 0.99)], len(texts), _slow(texts, 5))


def large(material: Material) -> Measured | None:
    """Measure the slowest of several texts of 100 KB, in milliseconds."""
    if not material.rows:  # the texts are made here, so once is enough
        return None
    times = [min(_took(text) for _ in range(RUNS)) for text in LARGE]
    failing = tuple(Failure(text[:60], f"{took:.0f} ms") for text, took in zip(LARGE, times, strict=True) if took > 50)
    return Measured(max(times), len(LARGE), failing)


GOALS = (
    Goal("AC13 median", "processor time, median", 0.5, "ms", True, median),
    Goal("AC13 p99", "processor time, 99 of 100", 5, "ms", True, p99),
    Goal("AC13 large", "processor time of 100 KB, worst kind", 50, "ms", True, large),
)
