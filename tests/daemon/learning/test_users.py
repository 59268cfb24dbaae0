"""Nobody teaches anybody else, and nobody fills the disk."""

from __future__ import annotations

import json
import shutil
import sqlite3

import pytest
from tests.daemon.law.conftest import NOBODY, opened
from tests.daemon.learning.conftest import locks, plan, run, write_program

pytestmark = pytest.mark.root
OTHER = 65533


@pytest.fixture
def project(place):
    (place / "project/.git").mkdir(parents=True)
    return place / "project"


@pytest.fixture
def target(place):
    """Where anybody may write."""
    (place / "target").mkdir()
    (place / "target").chmod(0o777)
    return place / "target"


@pytest.fixture
def program(project, target):
    line = write_program(project / "program", target / "file")
    for path in (project, project / "program", project / "list"):
        shutil.chown(path, NOBODY, NOBODY)
    return line


def locked(shell, project, line, uid):
    """The directories that this user's next run would lock."""
    ran = shell.call("run", "--dry-run", "--json", "-c", line, uid=uid, cwd=project)
    assert ran.returncode == 0, ran.stderr
    return {lock["path"] for lock in json.loads(ran.stdout)["locks"]}


def test_a_user_teaches_himself_alone(own_shell, project, target, program):
    """Neither another user nor root plans by what he did; he does, himself."""
    assert str(target) not in locked(own_shell, project, program, NOBODY)
    own_shell.run("--commit", "never", "-c", program, uid=NOBODY, tier="dangerous", cwd=project)
    assert str(target) in locked(own_shell, project, program, NOBODY)
    assert str(target) not in locked(own_shell, project, program, OTHER)
    assert str(target) not in locked(own_shell, project, program, 0)


def test_root_teaches_himself_alone(own_shell, project, target, program):
    """And what root runs as a user teaches neither of the two."""
    own_shell.run("--commit", "never", "-u", str(NOBODY), "-c", program, tier="dangerous", cwd=project)
    assert str(target) not in locked(own_shell, project, program, 0)
    assert str(target) not in locked(own_shell, project, program, NOBODY)
    own_shell.run("--commit", "never", "-c", program, tier="dangerous", cwd=project)
    assert str(target) in locked(own_shell, project, program, 0)
    assert str(target) not in locked(own_shell, project, program, NOBODY)


def test_a_directory_that_is_not_ones_own_is_not_learned(own_shell, project, place, target, program):
    """It was writable when it was learned; a lock on it now would keep others out."""
    own_shell.run("--commit", "never", "-c", program, uid=NOBODY, tier="dangerous", cwd=project)
    target.chmod(0o755)
    assert str(target) not in locked(own_shell, project, program, NOBODY)


def test_a_report_is_of_ones_own_runs(own_shell, project, program):
    """Root sees everybody's."""
    own_shell.run("--commit", "never", "-c", program, uid=NOBODY, tier="dangerous", cwd=project)
    reports = {
        uid: json.loads(own_shell.call("report", "accuracy", "--json", uid=uid).stdout) for uid in (0, NOBODY, OTHER)
    }
    assert {uid: report["runs"] for uid, report in reports.items()} == {0: 1, NOBODY: 1, OTHER: 0}
    assert [entry["uid"] for entry in reports[0]["misses"]] == [NOBODY]
    assert reports[OTHER]["misses"] == []


def test_what_is_kept_of_a_user_is_bounded(made, tmp_path):
    """The newest predictions, and the lessons that were used last; another user's stay."""
    supervisor = made.start(
        "--idle-exit", "120", LEARNING_LESSONS_PER_USER_MAX="3", LEARNING_PREDICTIONS_PER_USER_MAX="10"
    )
    shell = opened(supervisor)
    try:
        shell.run("true", uid=NOBODY, tier=None)
    finally:
        shell.close()
    programs = ["true", "echo a", "pwd", "ls -l", "ls -a"]
    for number in range(70):
        run(supervisor, programs[min(number, 4)], tmp_path)
    supervisor.get("/v1/status")
    database = sqlite3.connect(supervisor.paths.database)
    # Pruned each 64 runs: six more were written since.
    assert database.execute("SELECT count(*) FROM predictions WHERE uid = 0").fetchone()[0] <= 10 + 64
    assert database.execute("SELECT min(job) FROM predictions WHERE uid = 0").fetchone()[0] > 50
    labels = [row[0] for row in database.execute("SELECT label FROM lessons WHERE uid = 0 ORDER BY at")]
    assert labels == ["pwd", "ls -l", "ls -a"]
    assert database.execute("SELECT count(*) FROM predictions WHERE uid = ?", (NOBODY,)).fetchone() == (1,)
    assert database.execute("SELECT count(*) FROM lessons WHERE uid = ?", (NOBODY,)).fetchone() == (1,)
    assert locks(plan(supervisor, "ls", tmp_path)) == set()
