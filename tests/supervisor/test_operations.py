"""Quantiles by their definition, and the report on operations by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_supervisor.model.distribution import distribution
from cbx_supervisor.model.operations import Operations, Row


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=300))
def test_quantiles_are_the_smallest_values_that_cover_their_share(values):
    """Each is one of the values; enough do not exceed it, and not enough are below it."""
    found = distribution(values)
    assert (found.count, found.longest) == (len(values), max(values))
    assert found.mean == pytest.approx(sum(values) / len(values))
    for share, quantile in ((0.5, found.p50), (0.9, found.p90), (0.95, found.p95), (0.99, found.p99)):
        assert quantile in values
        assert sum(value <= quantile for value in values) >= share * len(values)
        assert sum(value < quantile for value in values) < share * len(values)


def test_no_values_are_no_error():
    """All zero, with a count that says why."""
    assert distribution([]).count == 0


def row(**more):
    usual = {"tier": "SAFE_PARALLEL", "end": "exited", "status": 0, "submitted": 100.0, "started": 101.0,
             "ended": 110.0, "wall": 8.0}  # fmt: skip
    return Row(**{**usual, **more})


def test_jobs_are_counted_by_tier_and_end():
    """Success is exit status 0; what never ran has no wait; own failures are those that cbx answers for."""
    made = Operations()
    for one in (
        row(),
        row(status=1, started=103.0),
        row(end="timeout", status=124, ended=160.0),
        row(tier="SEQUENTIAL_REQUIRED", end="failed-to-start", status=125, started=None, wall=0.0),
        row(tier=None, end="denied", status=126, started=None, wall=0.0),
        row(end="lost", status=125, started=100.0),
    ):
        made.add(one)
    found = made.describe()
    assert (found["jobs"], found["per_minute"]) == (6, 6.0)
    assert found["own_failures"] == {"jobs": 2, "share": 0.33333}
    safe = found["tiers"]["SAFE_PARALLEL"]
    assert (safe["jobs"], safe["succeeded"]) == (4, 1)
    assert safe["ends"] == {"exited": 2, "lost": 1, "timeout": 1}
    assert (safe["waited"]["p50"], safe["waited"]["longest"], safe["ran"]["p50"]) == (1.0, 3.0, 8.0)
    assert found["tiers"]["SEQUENTIAL_REQUIRED"]["waited"]["count"] == 0
    assert found["tiers"]["none"]["ends"] == {"denied": 1}


def test_nothing_is_reported_of_nothing():
    """Null rather than a division by zero."""
    found = Operations().describe()
    assert (found["jobs"], found["per_minute"], found["own_failures"]["share"]) == (0, None, None)
