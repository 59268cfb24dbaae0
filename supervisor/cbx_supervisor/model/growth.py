"""Whether the memory of a job grows without end: a robust slope over a window of samples. Pure.

Theil-Sen: the median of the slopes between all pairs of samples, which a few odd ones do not move (P. K. Sen,
"Estimates of the regression coefficient based on Kendall's tau", 1968). A job that fills a cache once has that slope,
too, so each quarter of the window must have grown on the one before it, by half of what the slope says at the least.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec

FEWEST = 12  # samples that say something
MOST = 64  # samples that are compared: as many pairs as can be looked at in a millisecond
PARTS = 4
FULL = 0.9  # of a window, that samples have to span


class Growth(msgspec.Struct, frozen=True):
    """How fast a job's memory grows, and how large it has become; seconds until its limit at that rate, if it has one.

    ``bytes`` is what its processes have taken for themselves: no page cache.
    """

    bytes_per_second: float
    over_seconds: float
    bytes: int
    limit_in_seconds: float | None = None


def growth(
    samples: Sequence[tuple[float, int]], window: float, least: float, limit: int | None = None
) -> Growth | None:
    """What (seconds, bytes) of a window say; None: it does not grow by ``least`` bytes a second, or not for so long."""
    if len(samples) < FEWEST or samples[-1][0] - samples[0][0] < FULL * window:
        return None
    chosen = (
        [samples[index * (len(samples) - 1) // (MOST - 1)] for index in range(MOST)] if len(samples) > MOST else samples
    )
    slopes = [
        (later - earlier) / (then - at)
        for (at, earlier), (then, later) in itertools.combinations(chosen, 2)
        if then > at
    ]
    if not slopes or (slope := _median(slopes)) < least or not _steady(chosen, slope):
        return None
    now = max(size for _, size in samples[-max(1, len(samples) // PARTS) :])  # the last one may be of a job that ends
    left = None if limit is None else max(0.0, (limit - now) / slope)
    return Growth(slope, samples[-1][0] - samples[0][0], now, left)


def _steady(samples: Sequence[tuple[float, int]], slope: float) -> bool:
    first, length = samples[0][0], (samples[-1][0] - samples[0][0]) / PARTS
    parts: list[list[int]] = [[] for _ in range(PARTS)]
    for at, size in samples:
        parts[min(PARTS - 1, int((at - first) / length))].append(size)
    if not all(parts):
        return False
    middles = [_median(part) for part in parts]
    return all(later - earlier >= slope * length / 2 for earlier, later in itertools.pairwise(middles))


def _median(found: Sequence[float]) -> float:
    """The middle one; of two the lesser. (``statistics`` brings fractions, decimals and random numbers with it.)."""
    return sorted(found)[(len(found) - 1) // 2]


def described(found: Growth) -> str:
    """For people."""
    text = f"its memory grows by {found.bytes_per_second * 60 / (1 << 20):.1f} MiB a minute, to {found.bytes >> 20} MiB"
    if found.limit_in_seconds is None:
        return text
    return f"{text}: it reaches its limit in {found.limit_in_seconds / 60:.0f} min at that rate"
