"""What a run did, held against what was predicted: stored, shown, and learned from; and who may teach whom."""

from __future__ import annotations

import sqlite3

import pytest
from tests.daemon.learning.conftest import DANGEROUS, locks, observed, plan, run

pytestmark = pytest.mark.root


def test_a_miss_is_stored_and_widens_the_next_prediction(supervisor, project, elsewhere, program):
    """The second run locks the directory that the first one was not predicted to write."""
    line = program(project / "inside", elsewhere / "outside")
    assert locks(plan(supervisor, line, project)) == {str(project)}
    seen = observed(supervisor, run(supervisor, line, project, DANGEROUS))
    assert seen["missed_paths"] == [str(elsewhere / "outside")]
    assert (seen["changed"], seen["missed"]) == (2, 1)
    again = plan(supervisor, line, project)
    assert locks(again) == {str(project), str(elsewhere)}
    assert again["tier"] == "SEQUENTIAL_REQUIRED"
    assert observed(supervisor, run(supervisor, line, project, DANGEROUS))["missed"] == 0


def test_without_a_miss_nothing_is_widened(supervisor, project, program):
    """The control."""
    line = program(project / "inside")
    seen = observed(supervisor, run(supervisor, line, project, DANGEROUS))
    assert (seen["changed"], seen["missed"], seen["missed_paths"]) == (1, 0, [])
    assert locks(plan(supervisor, line, project)) == {str(project)}


def test_what_was_learned_is_never_committed_unseen(supervisor, project, elsewhere, program):
    """The learned directory lies below an overlay; a change there is held, one that was predicted is not."""
    line = program(project / "inside", elsewhere / "outside")
    first = run(supervisor, line, project)
    assert first["status"] != 0, "the directory is read-only for a job that was not predicted to write it"
    run(supervisor, line, project, DANGEROUS)
    second = run(supervisor, line, project)
    assert second["checkpoint"]["state"] == "held", second["message"]
    assert not (elsewhere / "outside").exists()
    program(project / "inside")
    assert run(supervisor, line, project)["checkpoint"]["state"] == "committed"


def test_a_laxer_tier_writes_nothing_that_was_learned(supervisor, project, elsewhere, program):
    """Also where root asks for it: a learned directory is never written directly."""
    line = program(elsewhere / "outside")
    run(supervisor, line, project, DANGEROUS)
    assert str(elsewhere) in locks(plan(supervisor, line, project))
    for tier in (b"CONDITIONAL_PARALLEL", b"SAFE_PARALLEL"):
        assert str(elsewhere) not in locks(plan(supervisor, line, project, ("tier", tier)))
    assert run(supervisor, line, project, ("tier", b"CONDITIONAL_PARALLEL"))["status"] != 0
    assert not (elsewhere / "outside").exists()


def test_directories_of_many_are_not_learned(supervisor, project, program):
    """One file in /opt is no reason to lock /opt; the miss is remembered all the same."""
    line = program("/opt/cbx-test-file")
    seen = observed(supervisor, run(supervisor, line, project, DANGEROUS, ("commit", b"never")))
    assert seen["missed_paths"] == ["/opt/cbx-test-file"]
    assert locks(plan(supervisor, line, project)) == {str(project)}


def test_it_survives_the_supervisor(supervisor, project, elsewhere, program):
    """Lessons are on disk when the caller is told."""
    line = program(elsewhere / "outside")
    run(supervisor, line, project, DANGEROUS)
    supervisor.stop()
    supervisor.start("--idle-exit", "120")
    assert str(elsewhere) in locks(plan(supervisor, line, project))


def test_what_is_predicted_and_does_not_happen_is_counted(supervisor, project):
    """By its path."""
    result = run(supervisor, "if test -e missing; then echo x > never; fi; echo x > always", project)
    seen = observed(supervisor, result)
    assert (seen["predicted"], seen["untouched_paths"]) == (2, [str(project / "never")])


def test_estimates_are_learned(supervisor, project, program):
    """After enough runs the median is believed; before, the rules are."""
    line = program(project / "inside")
    sources = [run(supervisor, line, project)["prediction"]["forecast"]["source"] for _ in range(4)]
    assert sources == ["rules", "rules", "rules", "learned"]
    learned = plan(supervisor, line, project)["estimate"]
    walls = [job["usage"]["wall_seconds"] for job in supervisor.get("/v1/jobs")["jobs"]]
    assert min(walls) <= learned["seconds"] <= max(walls)
    assert 0 < learned["confidence"] < 1


def test_the_prediction_costs_no_commit_of_its_own(supervisor, project):
    """A job that need not wait costs two transactions, as without."""
    database = sqlite3.connect(supervisor.paths.database)
    run(supervisor, "ls", project)
    supervisor.get("/v1/status")
    columns = database.execute("SELECT status, suspect, changed FROM predictions").fetchall()
    assert columns == [(0, 0, None)]
    (runs,) = database.execute("SELECT runs FROM lessons").fetchone()
    assert runs == 1
