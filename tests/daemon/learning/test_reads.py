"""What jobs read: looked at where that is asked for or configured, held against the prediction, and learned."""

from __future__ import annotations

import os
import shutil

import pytest
from tests.daemon.durable.conftest import crash, detached, ended
from tests.daemon.law.conftest import opened
from tests.daemon.learning.conftest import cwd, plan, run

pytestmark = pytest.mark.root

OBSERVE = ("observe", b"1")


def program(project, *lines):
    """A program of the project that does this; the analysis does not read its script."""
    shutil.copy("/bin/sh", project / "program")
    (project / "list").write_text("".join(f"{line}\n" for line in lines))
    return "./program list"


def reads(supervisor, result):
    """What was seen to be read; `run` and `show` say the same."""
    shown = supervisor.get(f"/v1/jobs/{result['job']}")["prediction"]
    assert shown == result["prediction"]
    return shown["reads"]


def predicted(planned, access="read"):
    return {effect["path"]: effect["certainty"] for effect in planned["effects"]["paths"] if effect["access"] == access}


@pytest.fixture
def told(elsewhere):
    (elsewhere / "told").write_text("x\n")
    return elsewhere / "told"


def test_a_read_that_nobody_predicted_is_a_miss_and_is_predicted_the_next_time(supervisor, project, told):
    """By its own path; the tier and the locks stay as they were, and a miss of what was changed it is not."""
    line = program(project, f"read line < {told}", "echo y > made", "read line < made")
    before = plan(supervisor, line, project)
    assert str(told) not in predicted(before)
    result = run(supervisor, line, project, OBSERVE)
    assert result["status"] == 0, result["message"]
    seen = reads(supervisor, result)
    assert (seen["missed"], seen["missed_paths"], seen["why"]) == (1, [str(told)], "")
    assert seen["system"] > 0
    assert result["prediction"]["observed"]["missed"] == 0
    after = plan(supervisor, line, project)
    assert predicted(after)[str(told)] == "literal"
    assert (after["tier"], after["locks"]) == (before["tier"], before["locks"])
    assert reads(supervisor, run(supervisor, line, project, OBSERVE))["missed"] == 0


def test_nothing_is_looked_at_unless_somebody_asks(supervisor, project, told):
    """The control: nothing is recorded, nothing is learned."""
    line = program(project, f"read line < {told}", "echo y > made")
    assert reads(supervisor, run(supervisor, line, project)) is None
    assert str(told) not in predicted(plan(supervisor, line, project))
    assert supervisor.get("/v1/reports/accuracy")["read_sets"]["observed"] == 0


@pytest.mark.parametrize("tier", [b"SAFE_PARALLEL", b"CONDITIONAL_PARALLEL", b"DANGEROUS_ISOLATED"])
def test_in_every_tier(supervisor, project, told, tier):
    """With and without an overlay, and in a user namespace of its own."""
    line = program(project, f"read line < {told}", f"for name in {told.parent}/*; do :; done")
    result = run(supervisor, line, project, OBSERVE, ("tier", tier))
    assert result["status"] == 0, result["message"]
    seen = reads(supervisor, result)
    assert seen["missed_paths"] == [f"{told.parent}/", str(told)]
    assert seen["read"] == 4, "the program, its script, the directory and the file"
    assert predicted(plan(supervisor, line, project))[str(told.parent)] == "under"


def test_one_in_so_many_runs_over_an_overlay_is_looked_at(made, project, told):
    """As it is for what they change; a job without an overlay is not, unless it asks."""
    made.start("--idle-exit", "120", LEARNING_OBSERVE_EVERY="2")
    line = program(project, f"read line < {told}", "echo y > made")
    seen = [reads(made, run(made, line, project)) for _ in range(3)]
    assert [one is None for one in seen] == [False, True, False]
    assert [one["missed"] for one in (seen[0], seen[2])] == [1, 0]
    assert reads(made, run(made, f"cat {told}", project)) is None
    assert reads(made, run(made, f"cat {told}", project, OBSERVE))["missed"] == 0


@pytest.mark.parametrize("setting", ["always", "never"])
def test_the_configuration_decides(made, project, told, setting):
    """Each run over an overlay, or none: who asks for it all the same is told that it will not be."""
    made.start("--idle-exit", "120", LEARNING_READS=setting)
    line = program(project, f"read line < {told}", "echo y > made")
    assert (reads(made, run(made, line, project)) is None) == (setting == "never")
    asked = made.run(line, cwd(project), OBSERVE).end()
    if setting == "never":
        assert asked["status"] == 125
        assert "--observe" in str(asked)
    else:
        assert asked["status"] == 0


def test_jobs_keep_the_order_that_a_read_taught(supervisor, project, told):
    """Who reads what an earlier job changes waits for it, once it was seen to read it."""
    line = program(project, f"read line < {told}", "echo $line > /dev/null")
    assert reads(supervisor, run(supervisor, line, project, OBSERVE, ("tier", b"SAFE_PARALLEL")))["missed"] == 1
    supervisor.post("/v1/queue", {"paused": True})
    writer = detached(supervisor, f"echo z > {told}", cwd(project)).job()
    reader = detached(supervisor, line, cwd(project), ("tier", b"SAFE_PARALLEL")).job()
    why = supervisor.get(f"/v1/jobs/{reader}/why")
    supervisor.post("/v1/queue", {"paused": False})
    assert ended(supervisor, writer)["status"] == 0
    assert ended(supervisor, reader)["status"] == 0
    assert str(told) in str(why), why


def test_the_command_sees_nothing_of_it(supervisor, project):
    """No descriptor, no process, no file: the same as without. What it does itself is not kept from it."""
    script = "ls -l /proc/self/fd | grep -c fanotify; ls /proc/1/fd 2>&1 | grep -c anon; ls /proc | grep -c '^1$'"
    answers = []
    for fields in ((), (OBSERVE,)):
        call = supervisor.run(script, cwd(project), *fields)
        call.end()
        with open(call.output, "rb") as output:
            answers.append(output.read())
    assert answers[0] == answers[1] == b"0\n0\n0\n"


def test_a_fifo_works_as_without(supervisor, project):
    """Who looks at it must not open it: its writer would take that for the reader that it waits for."""
    (project / "script").write_text(
        "mkfifo fifo\nfor n in 1 2 3 4 5 6 7 8; do (echo $n > fifo) & read got < fifo; echo $got >> got; wait; done\n"
    )
    shutil.copy("/bin/sh", project / "program")
    result = run(supervisor, "./program script", project, OBSERVE)
    assert result["status"] == 0, result["message"]
    assert (project / "got").read_text().split() == list("12345678")


def test_many_reads_are_kept_by_directory_and_bounded(supervisor, project, elsewhere):
    """The names of some, the number of all; the next prediction has the directory."""
    for number in range(60):
        (elsewhere / f"{number}").write_text("x\n")
    line = program(project, f"for name in {elsewhere}/*; do read line < $name; done")
    result = run(supervisor, line, project, OBSERVE, ("tier", b"SAFE_PARALLEL"))
    seen = reads(supervisor, result)
    assert seen["missed"] >= 60
    assert len(seen["missed_paths"]) == 16
    assert predicted(plan(supervisor, line, project))[str(elsewhere)] == "under"


def test_a_job_that_reads_without_end_is_ended_all_the_same(supervisor, project, told):
    """By its time limit; what was lost meanwhile is said, or nothing was lost."""
    line = program(project, f"while :; do read line < {told}; read line < list; done")
    result = run(supervisor, line, project, OBSERVE, ("timeout", b"1"), ("tier", b"SAFE_PARALLEL"))
    assert (result["reason"], result["status"]) == ("timeout", 124)
    assert str(told) in reads(supervisor, result)["missed_paths"]


def test_the_report_and_show_have_it(supervisor, project, told):
    """As a miss of its own kind."""
    line = program(project, f"read line < {told}", "echo y > made")
    job = run(supervisor, line, project, OBSERVE)["job"]
    report = supervisor.get("/v1/reports/accuracy")
    assert (report["read_sets"]["observed"], report["read_sets"]["covered"]) == (1, 0)
    assert report["write_sets"]["covered"] == 1
    (miss,) = report["read_misses"]
    assert (miss["paths"], miss["last_job"], report["misses"]) == ([str(told)], job, [])
    shell = opened(supervisor)
    try:
        text = shell.call("report", "accuracy").stdout.decode()
        shown = shell.call("show", str(job)).stdout.decode()
    finally:
        shell.close()
    assert "0.0 % of 1 runs read only what was predicted" in text
    assert "read what was not predicted:" in text
    assert str(told) in text
    assert "1 of them not predicted" in shown


def test_a_supervisor_that_takes_over_says_that_it_does_not_know(supervisor, project, told):
    """What init saw was for the one that is gone; the job is none the worse for it."""
    go = project / "go"
    line = program(project, f"read line < {told}", "until test -e go; do sleep 0.1; done", "echo y > made")
    job = detached(
        supervisor, line, cwd(project), OBSERVE, ("tier", b"CONDITIONAL_PARALLEL"), ("rw", os.fsencode(project))
    ).job()
    crash(supervisor)
    supervisor.start("--idle-exit", "120")
    go.touch()
    result = ended(supervisor, job)
    assert result["status"] == 0, result["message"]
    assert "what it read is not known" in result["message"]
    assert result["prediction"]["reads"] is None
