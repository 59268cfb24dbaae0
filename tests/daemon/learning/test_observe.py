"""CONDITIONAL jobs that are looked at: now and then over an overlay, committed when they succeed."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from tests.daemon.law.conftest import opened
from tests.daemon.learning.conftest import DANGEROUS, cwd, locks, observed, plan, run, write_program

pytestmark = pytest.mark.root

BUILD = "python3 -m compileall -q ."
MADE = "__pycache__/good.cpython-*.pyc"


@pytest.fixture
def built(project):
    """A project whose build writes directly, as all builds do."""
    (project / "good.py").write_text("x = 1\n")
    return project


@pytest.fixture
def learner(made):
    return made.start("--idle-exit", "120", LEARNING_OBSERVE_EVERY="3")


def direct(planned):
    return {lock["mode"] for lock in planned["locks"]} == {"X"}


def test_it_is_off_unless_asked_for(supervisor, built):
    """Then a build writes directly, and nobody knows what."""
    result = run(supervisor, BUILD, built)
    assert (result["tier"], result["status"], result["checkpoint"]) == ("CONDITIONAL_PARALLEL", 0, None)
    assert observed(supervisor, result) is None


def test_the_first_and_then_one_in_so_many_is_looked_at(learner, built):
    """Over an overlay of its lock set, committed when it succeeded; it stays CONDITIONAL."""
    results = [run(learner, BUILD, built) for _ in range(4)]
    assert {(result["tier"], result["status"]) for result in results} == {("CONDITIONAL_PARALLEL", 0)}
    states = [result["checkpoint"] and result["checkpoint"]["state"] for result in results]
    assert states == ["committed", None, None, "empty"]
    assert len(list(built.glob(MADE))) == 1
    assert [observed(learner, result) is not None for result in results] == [True, False, False, True]
    assert observed(learner, results[0])["missed"] == 0


def test_one_that_fails_while_it_is_looked_at_changes_nothing(learner, built):
    """As a SEQUENTIAL one; the control writes directly, and what it wrote stays."""
    (built / "wrong.py").write_text("x = = 1\n")
    first, second = run(learner, BUILD, built), run(learner, BUILD, built)
    assert (first["status"], first["checkpoint"]["state"]) == (1, "rolled-back")
    assert (second["status"], second["checkpoint"]) == (1, None)
    assert len(list(built.glob(MADE))) == 1


def test_who_asks_for_a_tier_or_a_directory_gets_it(learner, built):
    """Only what nobody asked more of is looked at."""
    assert not direct(plan(learner, BUILD, built))
    assert direct(plan(learner, BUILD, built, ("tier", b"CONDITIONAL_PARALLEL")))
    assert direct(plan(learner, BUILD, built, ("rw", str(built).encode())))


def test_where_no_overlay_can_be_made_it_runs_as_ever(learner, built):
    """Directly; the control, which needs its overlay, is not started. Nothing is left locked by the first try."""
    shutil.rmtree(learner.paths.layers)
    with open(learner.paths.layers, "w"):
        pass
    result = run(learner, BUILD, built)
    assert (result["status"], result["checkpoint"], result["tier"]) == (0, None, "CONDITIONAL_PARALLEL")
    assert len(list(built.glob(MADE))) == 1
    assert learner.run("echo x > file", cwd(built)).end()["status"] == 125
    assert run(learner, "python3 -m compileall -qf .", built, ("tier", b"CONDITIONAL_PARALLEL"))["status"] == 0


def test_a_miss_raises_the_tier(supervisor, built, tmp_path):
    """What wrote unforeseen once runs over an overlay from then on, and is not called CONDITIONAL any more."""
    other = tmp_path / "other"
    other.mkdir()
    assert plan(supervisor, BUILD, built)["tier"] == "CONDITIONAL_PARALLEL"
    (built / "__pycache__").symlink_to(other)
    seen = observed(supervisor, run(supervisor, BUILD, built, DANGEROUS, ("commit", b"never")))
    assert [os.path.dirname(path) for path in seen["missed_paths"]] == [str(other)]
    again = plan(supervisor, BUILD, built)
    assert (again["tier"], locks(again)) == ("SEQUENTIAL_REQUIRED", {str(built), str(other)})
    assert [reason["code"] for reason in again["reasons"]].count("learned") == 1


def test_the_report_shows_it(supervisor, built, tmp_path):
    """For people and for programs: runs, what was covered, what was missed and what was too strict."""
    (tmp_path / "other").mkdir()
    line = write_program(built / "program", f"{tmp_path}/other/made")
    run(supervisor, line, built, DANGEROUS, ("commit", b"never"))
    run(supervisor, "echo x > file", built)
    run(supervisor, "test -e file || touch file", built)
    run(supervisor, "grep x nowhere-to-be-found", built)
    report = supervisor.get("/v1/reports/accuracy")
    assert report["runs"] == 4
    assert (report["write_sets"]["observed"], report["write_sets"]["covered"]) == (3, 2)
    (miss,) = report["misses"]
    assert (miss["command"], miss["paths"]) == (f"{built}/program WORD", [f"{tmp_path}/other/made"])
    assert [entry["command"] for entry in report["too_strict"]] == ["test -e WORD; touch WORD"]
    assert [(entry["command"], entry["statuses"]) for entry in report["too_lax"]] == [("grep WORD…", [2])]
    assert report["estimates"]["rules"]["seconds"]["runs"] == 4
    assert supervisor.get("/v1/reports/accuracy?since=99999999999")["runs"] == 0
    shell = opened(supervisor)
    try:
        text = shell.call("report", "accuracy", "--since", "1h").stdout.decode()
        assert json.loads(shell.call("report", "accuracy", "--json").stdout)["misses"] == report["misses"]
        assert shell.call("report", "accuracy", "--since", "yesterday").returncode == 125
    finally:
        shell.close()
    assert f"{tmp_path}/other/made" in text
    assert "66.7 % of 3 runs changed only what was predicted" in text
    assert supervisor.http("GET", "/v1/reports/accuracy?since=soon")[0] == 400


def test_explain_asks_a_supervisor_that_runs(supervisor, built, tmp_path):
    """For the locks and the estimate that runs taught; without one it says what the rules do."""
    (tmp_path / "other").mkdir()
    line = write_program(built / "program", f"{tmp_path}/other/made")
    for _ in range(3):
        run(supervisor, line, built, DANGEROUS, ("commit", b"never"))
    shell = opened(supervisor)
    try:
        taught = json.loads(shell.call("explain", "--json", *line.split(), cwd=built).stdout)
        text = shell.call("explain", *line.split(), cwd=built).stdout.decode()
        supervisor.stop()
        alone = json.loads(shell.call("explain", "--json", *line.split(), cwd=built).stdout)
    finally:
        shell.close()
    assert locks(taught) == {str(built), f"{tmp_path}/other"}
    assert taught["estimate"]["source"] == "learned"
    assert "1 of 3 earlier runs changed what was not predicted" in text
    assert "learned, confidence" in text
    assert locks(alone) == {str(built)}
    assert (alone["estimate"]["source"], alone["estimate"]["confidence"]) == ("rules", 0.0)
    assert alone["fingerprint"] == taught["fingerprint"]
