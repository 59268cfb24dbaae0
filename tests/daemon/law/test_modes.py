"""Two jobs that want one directory, in every pair of modes: at most one of them changes it at a time."""

from __future__ import annotations

import itertools
import os
import subprocess

import pytest
from tests.daemon.conftest import until

pytestmark = pytest.mark.root

# What a job of the tier holds on its directory; SAFE ones read without a lock.
MODES = {"safe": None, "conditional": "X", "sequential": "U", "dangerous": "U"}


def arguments(tier, project):
    return ["--commit", "never", "--tier", tier, *(["--rw", project] if MODES[tier] else [])]


@pytest.mark.parametrize(("first", "second"), itertools.product(MODES, MODES))
def test_every_pair(shell, place, first, second):
    """Writers wait for each other, readers for nobody."""
    project = place / "project"
    (project / ".git").mkdir(parents=True)
    holder = shell.start(
        "run", "-q", *arguments(first, project), "--", "sh", "-c", "echo up; exec sleep 600", cwd=project
    )
    assert (holder.stdout.readline() or holder.stderr.read()) == b"up\n"
    waits = bool(MODES[first] and MODES[second])
    ran = shell.call("run", "-q", "--lock-timeout", "0.3", *arguments(second, project), "--", "true", cwd=project)
    assert ran.returncode == (75 if waits else 0), ran.stderr
    holder.kill()
    until(lambda: shell.call("run", "-q", *arguments(second, project), "--", "true", cwd=project).returncode == 0)


@pytest.mark.parametrize("tier", ["conditional", "sequential"])
def test_nothing_is_lost_between_writers(shell, place, tier):
    """Eight jobs count in one file, which takes reading and writing it; at once, and none is lost."""
    project = place / "project"
    project.mkdir()
    (project / "count").write_text("0\n")
    line = f"n=$(cat {project}/count); sleep 0.05; echo $((n + 1)) > {project}/count"
    jobs = [shell.start("run", "-q", "--rw", project, "--tier", tier, "-c", line, cwd=project) for _ in range(8)]
    for job in jobs:
        assert job.wait(60) == 0, job.stderr.read()
    assert (project / "count").read_text() == "8\n"


def test_control_without_locks_counts_are_lost(place):
    """The same without cbx."""
    (place / "count").write_text("0\n")
    line = f"n=$(cat {place}/count); sleep 0.2; echo $((n + 1)) > {place}/count"
    for job in [subprocess.Popen(["sh", "-c", line]) for _ in range(8)]:
        job.wait()
    assert int((place / "count").read_text()) < 8


def test_readers_see_nothing_before_the_commit(shell, place):
    """And the whole of it after."""
    project = place / "project"
    project.mkdir()
    each = f"for n in 1 2 3; do echo %s > {project}/$n; done"
    line = f"{each % 'half'}; echo up; read line; {each % 'whole'}"
    writer = shell.start(
        "run", "-q", "--rw", project, "--tier", "sequential", "-c", line, cwd=project, stdin=subprocess.PIPE
    )
    assert (writer.stdout.readline() or writer.stderr.read()) == b"up\n"
    assert shell.run("-q", "ls", project).stdout == b""
    assert os.listdir(project) == []
    writer.communicate(b"\n", timeout=60)
    assert shell.run("-q", "cat", project / "1", project / "3").stdout == b"whole\nwhole\n"
