"""Jobs of one submitter keep their order where one uses what another one changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.daemon.conftest import until

pytestmark = pytest.mark.root

DETACHED = ("detach", b"1")
GATE = "until [ -e {} ]; do sleep 0.05; done"


def cwd(path):
    return ("cwd", os.fsencode(path))


def detached(supervisor, line, project, *fields):
    return supervisor.run(line, DETACHED, cwd(project), *fields).job()


def state(supervisor, job):
    return supervisor.get(f"/v1/jobs/{job}")["state"]


def ended(supervisor, job):
    return supervisor.http("GET", f"/v1/jobs/{job}/wait?timeout=60")[1]


def why(supervisor, job):
    return [reason["text"] for reason in supervisor.get(f"/v1/jobs/{job}/why")["waits_for"]]


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


def writer(supervisor, project, gate, *fields):
    """A job that writes a file of the project once the gate is open."""
    job = detached(supervisor, f"{GATE.format(gate)}; echo new > {project}/file", project, *fields)
    until(lambda: state(supervisor, job) == "running")
    return job


def test_a_reader_waits_for_the_writer_before_it(supervisor, project, gate):
    """Although it needs no lock; it says which job and what for; and sees what was written."""
    (project / "file").write_text("old\n")
    first = writer(supervisor, project, gate)
    second = detached(supervisor, f"cat {project}/file", project)
    assert why(supervisor, second) == [f"it reads what job {first} changes: {project}/file"]
    gate.touch()
    assert ended(supervisor, second)["status"] == 0
    assert supervisor.get(f"/v1/jobs/{second}/log") == b"new\n"


def test_a_writer_waits_for_the_reader_before_it(supervisor, project, gate):
    """What the earlier one reads stays as it was."""
    (project / "file").write_text("old\n")
    first = detached(supervisor, f"{GATE.format(gate)}; cat {project}/file", project)
    until(lambda: state(supervisor, first) == "running")
    second = detached(supervisor, f"echo new > {project}/file", project)
    assert why(supervisor, second) == [f"it changes what job {first} reads: {project}/file"]
    gate.touch()
    assert ended(supervisor, second)["status"] == 0
    assert supervisor.get(f"/v1/jobs/{first}/log") == b"old\n"


def test_writers_go_in_their_order_whatever_the_strategy_prefers(made, project, gate):
    """The quickest first would be another order."""
    supervisor = made.start("--idle-exit", "600", SCHEDULING_STRATEGY="shortest-first")
    writer(supervisor, project, gate)
    importance = ["low", "deferred", "normal", "high", "critical"]
    jobs = [
        detached(supervisor, f"echo {text} >> {project}/log", project, ("priority", text.encode()))
        for text in importance
    ]
    gate.touch()
    assert [ended(supervisor, job)["status"] for job in jobs] == [0] * 5
    assert (project / "log").read_text().split() == importance


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((DETACHED,), (DETACHED, ("unordered", b"1"))),
        ((DETACHED, ("unordered", b"1")), (DETACHED,)),
        ((DETACHED,), (DETACHED, ("session", b"other"))),
        ((DETACHED,), ()),
        ((), ()),
    ],
)
def test_who_is_in_no_order_does_not_wait(supervisor, project, gate, first, second):
    """Asked for, in another session, or in the foreground."""
    (project / "file").write_text("old\n")
    call = supervisor.run(f"{GATE.format(gate)}; echo new > {project}/file", cwd(project), *first)
    if first:
        until(lambda: state(supervisor, call.job()) == "running")
    job = supervisor.run(f"cat {project}/file", cwd(project), *second)
    if DETACHED in second:
        assert ended(supervisor, job.job())["status"] == 0
    else:
        assert job.end()["status"] == 0
    gate.touch()


def test_jobs_of_one_session_are_in_order_in_the_foreground_too(supervisor, project, gate):
    session = ("session", b"agent")
    first = supervisor.run(f"{GATE.format(gate)}; echo new > {project}/file", cwd(project), session)
    until(lambda: [job for job in supervisor.get("/v1/jobs")["jobs"] if job["state"] == "running"])
    second = supervisor.run(f"cat {project}/file", cwd(project), session)
    job = second.job()
    assert "it reads what job" in why(supervisor, job)[0]
    gate.touch()
    assert [first.end()["status"], second.end()["status"]] == [0, 0]


def test_without_program_order_nobody_waits(made, project, gate):
    supervisor = made.start("--idle-exit", "600", SCHEDULING_PROGRAM_ORDER="false")
    (project / "file").write_text("old\n")
    writer(supervisor, project, gate)
    assert ended(supervisor, detached(supervisor, f"cat {project}/file", project))["status"] == 0
    gate.touch()


def test_what_reads_held_changes_is_not_started(supervisor, project, gate):
    """It is told which checkpoint; what does not read them goes on, and so does who wants that."""
    (project / "file").write_text("old\n")
    held = ("commit", b"hold")
    first = detached(supervisor, f"{GATE.format(gate)}; echo new > {project}/file", project, held)
    until(lambda: state(supervisor, first) == "running")
    reader = detached(supervisor, f"cat {project}/file", project)
    unordered = detached(supervisor, f"cat {project}/file", project, ("unordered", b"1"))
    other = detached(supervisor, f"cat {project}/.git/config 2>&1 || true", project)
    gate.touch()
    result = ended(supervisor, reader)
    checkpoint = ended(supervisor, first)["checkpoint"]["id"]
    assert result["state"] != "exited"
    assert f"held as checkpoint {checkpoint}" in result["message"]
    assert [ended(supervisor, job)["status"] for job in (unordered, other)] == [0, 0]


def test_the_order_stands_when_one_of_it_is_cancelled(supervisor, project, gate):
    """Who came after it comes after what it came after."""
    first = writer(supervisor, project, gate)
    second = detached(supervisor, f"echo second >> {project}/file", project)
    third = detached(supervisor, f"cat {project}/file", project)
    supervisor.http("POST", f"/v1/jobs/{second}/cancel", {})
    assert ended(supervisor, second)["state"] == "cancelled"
    assert str(first) in why(supervisor, third)[0]
    gate.touch()
    assert ended(supervisor, third)["status"] == 0
    assert supervisor.get(f"/v1/jobs/{third}/log") == b"new\n"


def test_the_order_stands_when_the_supervisor_is_killed(made, project, gate):
    """Of a job that runs and of those that wait."""
    supervisor = made.start("--idle-exit", "600")
    first = writer(supervisor, project, gate)
    second = detached(supervisor, f"echo second >> {project}/file", project)
    third = detached(supervisor, f"cat {project}/file", project)
    supervisor.stop(9)
    supervisor.start("--idle-exit", "600")
    until(lambda: why(supervisor, second) == [f"it changes what job {first} changes, too: {project}/file"])
    until(lambda: why(supervisor, third) == [f"it reads what job {second} changes: {project}/file"])
    gate.touch()
    assert ended(supervisor, third)["status"] == 0
    assert supervisor.get(f"/v1/jobs/{third}/log") == b"new\nsecond\n"


def test_a_resource_is_taken_by_so_many_at_once(made, project, gate):
    """Each of them says what it takes; what there is none of is refused, and the next supervisor goes on counting."""
    settings = Path(made.environment["CBX_CONFIG_DIR"], "conf.d")
    settings.mkdir(parents=True)
    (settings / "licences.toml").write_text("[scheduling.resources]\nlicence = 2\n")
    supervisor = made.start("--idle-exit", "600")
    until_open = GATE.format(gate)
    first = detached(supervisor, until_open, project, ("resource", b"licence"))
    until(lambda: state(supervisor, first) == "running")
    second = detached(supervisor, "true", project, ("resource", b"licence:2"))
    assert why(supervisor, second) == ["it takes 2 of licence, and 1 of 2 are free"]
    assert supervisor.get("/v1/pools")["resources"] == [{"name": "licence", "used": 1, "size": 2, "waiting": 1}]
    for asked, problem in ((b"licence:3", "more of licence than there is"), (b"memory", "not NAME")):
        assert problem in supervisor.run("true", cwd(project), ("resource", asked)).end()["text"].decode()
    supervisor.stop(9)
    supervisor.start("--idle-exit", "600")
    until(lambda: why(supervisor, second) == ["it takes 2 of licence, and 1 of 2 are free"])
    gate.touch()
    assert ended(supervisor, second)["status"] == 0
