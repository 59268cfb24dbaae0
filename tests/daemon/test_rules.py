"""The administrator's rules in a running supervisor: at its start, anew at SIGHUP, and what a broken file does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.daemon.conftest import until

pytestmark = pytest.mark.root

SAFE = '[housetool]\ntier = "safe"\n'
DANGEROUS = '[housetool]\nextend = true\ntier = "dangerous"\n'


def write(made, name, text):
    os.makedirs(made.paths.rules, mode=0o755, exist_ok=True)
    path = f"{made.paths.rules}/{name}"
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
    return path


def tier(made, project):
    """As the supervisor plans it."""
    end = made.run("housetool", ("cwd", str(project).encode()), ("dry_run", b"1")).end()
    return end["result"]["tier"]


def rules(made):
    return made.get("/v1/status")["rules"]


def reload(made, condition):
    made.process.send_signal(signal.SIGHUP)
    until(lambda: condition(rules(made)))


def test_rules_are_read_at_the_start_and_at_sighup(made, project):
    first = write(made, "10-house.toml", SAFE)
    made.start("--idle-exit", "120")
    assert tier(made, project) == "SAFE_PARALLEL"
    second = write(made, "20-strict.toml", DANGEROUS)
    assert tier(made, project) == "SAFE_PARALLEL"
    reload(made, lambda now: now["files"] == [first, second])
    assert tier(made, project) == "DANGEROUS_ISOLATED"
    os.unlink(first)
    os.unlink(second)
    reload(made, lambda now: now["files"] == [])
    assert tier(made, project) == "SEQUENTIAL_REQUIRED"


def test_a_broken_file_changes_nothing_and_is_named(made, project):
    """It serves on with what it had; status says which file and line; mended, it counts."""
    write(made, "10-house.toml", SAFE)
    made.start("--idle-exit", "120")
    broken = write(made, "20-strict.toml", '[housetool]\ntier = "dangerus"\n')
    reload(made, lambda now: now["problems"])
    problem = rules(made)["problems"][0]
    assert (problem["source"], problem["line"]) == (broken, 2)
    assert "did you mean dangerous?" in problem["text"]
    assert tier(made, project) == "SAFE_PARALLEL"
    write(made, "20-strict.toml", DANGEROUS)
    reload(made, lambda now: not now["problems"])
    assert tier(made, project) == "DANGEROUS_ISOLATED"


def test_a_broken_file_at_the_start_stops_nothing(made, project):
    """The other files count, cbx's own rules too."""
    write(made, "10-house.toml", SAFE)
    os.chmod(write(made, "20-open.toml", DANGEROUS), 0o666)
    made.start("--idle-exit", "120")
    assert "others than root may write it" in rules(made)["problems"][0]["text"]
    assert tier(made, project) == "SAFE_PARALLEL"
    assert made.run("ls").end()["status"] == 0


def test_a_repository_makes_things_stricter_by_the_callers_rights(made, project):
    """The supervisor reads its file as the one who asks."""
    made.start("--idle-exit", "120")
    (project / ".cbx-rules.toml").write_text('[ls]\ntier = "dangerous"\n')
    end = made.run("ls", ("cwd", str(project).encode()), ("dry_run", b"1")).end()
    assert end["result"]["tier"] == "DANGEROUS_ISOLATED"
    assert any(reason["code"] == "project-ls" for reason in end["result"]["reasons"])


def test_the_verbs_that_need_no_supervisor_read_the_same_files(made, project):
    """And say on stderr which one they cannot use."""

    def verb(*arguments):
        command = [sys.executable, "-m", "cbx_supervisor.cli.main", *arguments]
        return subprocess.run(
            command, env=made.environment, cwd=project, capture_output=True, text=True, check=False, timeout=120
        )

    write(made, "10-house.toml", SAFE)
    assert json.loads(verb("explain", "--json", "housetool").stdout)["tier"] == "SAFE_PARALLEL"
    broken = write(made, "20-strict.toml", "[x")
    done = verb("explain", "--json", "housetool")
    assert json.loads(done.stdout)["tier"] == "SAFE_PARALLEL"
    assert f"these rules are not used: {broken}:1: not TOML" in done.stderr
    assert verb("rules", "check").returncode == 1
    finding = next(
        entry for entry in json.loads(verb("doctor", "--json").stdout)["findings"] if entry["name"] == "rule-files"
    )
    assert finding["state"] == "missing"
    assert broken in finding["detail"]
