"""The record of the classifier, from rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cbx_supervisor.model.accuracy import NAMED, PATHS, TIERS, Accuracy, Row
from cbx_supervisor.model.prediction import Forecast, Observed, ObservedReads

SAFE, CONDITIONAL, SEQUENTIAL, DANGEROUS = TIERS


def row(job=1, *, tier=SEQUENTIAL, observed=None, status=0, suspect=False, mark="aa", wall=1.0, **more):
    values = {
        "uid": 7, "job": job, "at": float(job), "fingerprint": mark, "label": f"program {mark}", "analysed": tier,
        "tier": tier, "status": status, "suspect": suspect, "forecast": Forecast(2.0, 100, "cpu", "rules", 0.0),
        "wall": wall, "peak": 50 << 20, "observed": observed,
    }  # fmt: skip
    return Row(**{**values, **more})


def report(*rows):
    made = Accuracy()
    for one in rows:
        made.add(one)
    return made.describe()


COVERED = Observed(changed=3, predicted=2, untouched=1, untouched_paths=("/u",))
MISSED = Observed(changed=4, missed=1, missed_paths=("/m",), predicted=1)
NOTHING = Observed(changed=0, predicted=1, untouched=1)


def test_nothing_gives_no_shares():
    """Null, not zero and not one."""
    made = report()
    assert made["runs"] == 0
    assert made["write_sets"] == {"observed": 0, "covered": 0, "share": None}
    assert (made["paths"]["precision"], made["paths"]["recall"]) == (None, None)


def test_shares_are_of_what_could_be_seen():
    """A run without an overlay counts as a run and as nothing else."""
    made = report(row(1, observed=COVERED), row(2, observed=MISSED), row(3, tier=SAFE))
    assert made["write_sets"] == {"observed": 2, "covered": 1, "share": 0.5}
    assert made["paths"]["precision"] == round(2 / 3, 4)
    assert made["paths"]["recall"] == round(6 / 7, 4)
    assert made["tiers"][SAFE]["runs"] == 1
    assert made["tiers"][SEQUENTIAL]["share"] == 0.5


def test_misses_are_named_by_command():
    """With the paths, the worst first."""
    made = report(row(1, observed=MISSED), row(2, observed=MISSED, mark="bb"), row(3, observed=MISSED, mark="bb"))
    assert [(entry["fingerprint"], entry["missed_runs"], entry["paths"]) for entry in made["misses"]] == [
        ("bb", 2, ["/m"]),
        ("aa", 1, ["/m"]),
    ]
    assert made["misses"][0]["last_job"] == 3


def test_reads_are_a_kind_of_their_own():
    """Counted where they were looked at; a miss of them is none of what was changed."""
    read = ObservedReads(read=10, missed=2, missed_paths=("/r", "/s"), system=5)
    made = report(
        row(1, observed=COVERED, reads=read),
        row(2, tier=SAFE, mark="bb", reads=ObservedReads(read=10, system=1, why="events were lost")),
        row(3, mark="bb"),
    )
    assert made["read_sets"] == {
        "observed": 2, "covered": 1, "incomplete": 1, "read": 20, "missed": 2, "share": 0.5, "recall": 0.9,
    }  # fmt: skip
    assert [(one["fingerprint"], one["missed_runs"], one["paths"]) for one in made["read_misses"]] == [
        ("aa", 1, ["/r", "/s"])
    ]
    assert made["misses"] == []


def test_too_strict_is_what_never_wrote():
    """One run that wrote, or one that failed, clears it; a SAFE command cannot be too strict."""
    idle = row(1, observed=NOTHING)
    assert [entry["fingerprint"] for entry in report(idle)["too_strict"]] == ["aa"]
    assert report(idle, row(2, observed=COVERED))["too_strict"] == []
    assert report(row(1, observed=NOTHING, status=1))["too_strict"] == []
    assert report(row(1, observed=NOTHING, tier=SAFE))["too_strict"] == []


def test_too_lax_is_what_failed_read_only():
    """With the exit statuses that were seen."""
    made = report(row(1, tier=SAFE, status=2, suspect=True), row(2, tier=SAFE, status=0))
    assert [(entry["statuses"], entry["runs"]) for entry in made["too_lax"]] == [([2], 2)]


def test_errors_of_estimates_are_ratios():
    """By where the estimate came from."""
    learned = Forecast(1.0, 50, "cpu", "learned", 0.8)
    made = report(row(1, wall=1.0), row(2, wall=4.0), row(3, wall=8.0), row(4, forecast=learned))
    assert made["estimates"]["rules"]["seconds"] == {"runs": 3, "median_ratio": 2.0, "median_error": 2.0}
    assert made["estimates"]["learned"]["seconds"]["median_ratio"] == 1.0
    assert made["estimates"]["learned"]["memory"]["median_error"] == 1.0


observations = st.none() | st.sampled_from([COVERED, MISSED, NOTHING])
rows = st.builds(
    lambda job, tier, observed, mark, status: row(job, tier=tier, observed=observed, mark=mark, status=status),
    st.integers(1, 1000), st.sampled_from(TIERS), observations, st.integers(0, 80).map(str), st.integers(0, 2),
)  # fmt: skip


@given(st.lists(rows, max_size=200))
def test_it_is_bounded_and_adds_up(given_rows):
    """Whatever came."""
    made = report(*given_rows)
    assert made["runs"] == len(given_rows) == sum(tier["runs"] for tier in made["tiers"].values())
    for name in ("misses", "too_strict", "too_lax"):
        assert len(made[name]) <= NAMED
    assert all(len(entry["paths"]) <= PATHS for entry in made["misses"])
    shares = [made["write_sets"]["share"], made["paths"]["precision"], made["paths"]["recall"]]
    assert all(share is None or 0 <= share <= 1 for share in shares)
