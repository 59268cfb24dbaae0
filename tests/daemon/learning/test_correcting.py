"""Tiers that correct themselves: what was taken for SAFE and failed runs once more over an overlay, if nobody waits."""

from __future__ import annotations

import os

import pytest
from tests.daemon.durable.conftest import detached, ended
from tests.daemon.learning.conftest import write_program

pytestmark = pytest.mark.root


def tiers(result):
    return [one["tier"] for one in result["attempts"]]


def test_a_misjudged_job_is_run_once_more_in_a_stricter_tier(made, project):
    """Its script was another one when it was analysed: the first attempt could not write, the second one did."""
    made.start("--idle-exit", "120")
    made.post("/v1/queue", {"paused": True})
    (project / "job.sh").write_text("exit 3\n")
    job = detached(made, "sh job.sh", ("cwd", os.fsencode(project))).job()
    (project / "job.sh").write_text("echo x > made || exit 3\n")
    made.post("/v1/queue", {"paused": False})
    result = ended(made, job)
    assert tiers(result) == ["SAFE_PARALLEL", "SEQUENTIAL_REQUIRED"]
    first, second = result["attempts"]
    assert (first["status"] != 0, second["status"]) == (True, 0)
    assert "it may have failed because it could not write" in first["again"]
    assert "the attempt before it was misjudged: this one changed 1 path" in result["message"]
    assert (project / "made").read_text() == "x\n"


def test_who_was_not_misjudged_is_not_run_twice_again(made, project):
    """The second attempt changed nothing: the next job of that command has one. So has what names its tier."""
    made.start("--idle-exit", "120")
    where = ("cwd", os.fsencode(project))
    result = ended(made, detached(made, "exit 3", where).job())
    assert tiers(result) == ["SAFE_PARALLEL", "SEQUENTIAL_REQUIRED"]
    assert "the attempt before it was not misjudged" in result["message"]
    assert result["status"] == 3
    assert tiers(ended(made, detached(made, "exit 3", where).job())) == ["SAFE_PARALLEL"]
    assert tiers(ended(made, detached(made, "exit 4", where, ("tier", b"safe")).job())) == ["SAFE_PARALLEL"]
    assert tiers(ended(made, detached(made, "grep -q nothing /etc/passwd", where).job())) == ["SAFE_PARALLEL"]
    end = made.run("exit 5", where).end()
    assert end["result"]["message"].endswith("if it failed because it could not write: --tier sequential")


def test_sequential_jobs_are_looked_at_once_more_only_if_configured(made, project):
    """In DANGEROUS, whose changes are held for review; by default they are not."""
    where = ("cwd", os.fsencode(project))
    line = write_program(project / "program", "inside")
    (project / "list").write_text("echo x > inside\nexit 3\n")
    made.start("--idle-exit", "120")
    assert tiers(ended(made, detached(made, line, where).job())) == ["SEQUENTIAL_REQUIRED"]
    made.stop()
    made.start("--idle-exit", "120", LEARNING_CORRECT_TIERS="all")
    result = ended(made, detached(made, line, where).job())
    assert tiers(result) == ["SEQUENTIAL_REQUIRED", "DANGEROUS_ISOLATED"]
    assert not (project / "inside").exists()
