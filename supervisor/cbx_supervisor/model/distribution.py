"""How a quantity is spread: exact quantiles of all values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, slots=True)
class Distribution:
    """Of ``count`` values, in their own unit; all zero where there are none."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    longest: float


def distribution(values: Iterable[float]) -> Distribution:
    """Sort and look: a quantile is the smallest value that at least so large a share does not exceed."""
    ordered = sorted(values)
    if not ordered:
        return Distribution(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    p50, p90, p95, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.9, 0.95, 0.99))
    return Distribution(len(ordered), math.fsum(ordered) / len(ordered), p50, p90, p95, p99, ordered[-1])
