"""Failed jobs that are run once more by hand, and those that a person has to decide on."""

from __future__ import annotations

import os
import signal

import pytest
from tests.daemon.conftest import until
from tests.daemon.durable.conftest import crash, detached, ended, launcher, state

pytestmark = pytest.mark.root


def needing(supervisor):
    return [one["job"] for one in supervisor.get("/v1/status")["attention"]]


def test_a_failed_job_is_run_once_more_as_it_was(made, tmp_path):
    """With its directory and environment; not one that succeeded, is not over, or had a client."""
    made.start()
    fields = (("cwd", os.fsencode(tmp_path)), ("env", b"NAME=go"), ("tier", b"safe"))
    failed = detached(made, 'test -e "$NAME"', *fields).job()
    assert ended(made, failed)["status"] == 1
    (tmp_path / "go").touch()
    again = made.http("POST", f"/v1/jobs/{failed}/retry", {})
    assert again[0] == 201
    assert ended(made, again[1]["job"])["status"] == 0
    assert made.http("POST", f"/v1/jobs/{again[1]['job']}/retry", {})[0] == 400
    foreground = made.run("exit 1")
    number = foreground.job()
    foreground.end()
    assert made.http("POST", f"/v1/jobs/{number}/retry", {})[0] == 400
    secret = detached(made, "exit 1", *fields, ("setenv", b"API_TOKEN=hunter2hunter2")).job()
    ended(made, secret)
    assert made.http("POST", f"/v1/jobs/{secret}/retry", {})[0] == 400
    assert needing(made) == []


@pytest.fixture
def conflicted(made, project, tmp_path):
    """Makes jobs whose changes could not be committed: somebody made the same file meanwhile."""
    made.start()

    def job(name):
        line = f"until [ -e {tmp_path}/{name}.go ]; do sleep 0.05; done; echo job > {name}"
        number = detached(made, line, ("cwd", os.fsencode(project)), ("tier", b"sequential")).job()
        until(lambda: state(made, number) == "running")
        (project / name).write_text("somebody\n")
        (tmp_path / f"{name}.go").touch()
        assert ended(made, number)["checkpoint"]["state"] == "conflict"
        return number

    return job


def test_held_changes_need_a_person_until_somebody_decides(made, conflicted):
    """By running it once more, by leaving it, or by deciding on its changes."""
    first, second, third = conflicted("one"), conflicted("two"), conflicted("three")
    assert needing(made) == [first, second, third]
    assert "its changes are held" in made.get("/v1/status")["attention"][0]["why"]
    assert made.post(f"/v1/jobs/{first}/resume")["changed"]
    assert made.post(f"/v1/jobs/{second}/abandon")["changed"]
    assert not made.post(f"/v1/jobs/{second}/abandon")["changed"]
    assert needing(made) == [third]
    made.post(f"/v1/checkpoints/{made.get(f'/v1/jobs/{third}')['checkpoint']['id']}/rollback")
    assert needing(made) == []
    assert made.get(f"/v1/jobs/{second}")["checkpoint"]["state"] == "conflict"


def test_what_is_lost_while_it_wrote_in_place_needs_a_person(made, project, database):
    """Nobody knows how far it came. What only read is lost, too, and needs nobody."""
    made.start()
    where = ("cwd", os.fsencode(project))
    writer = detached(made, "echo x > made; sleep 600", where, ("tier", b"conditional")).job()
    reader = detached(made, "sleep 600", where).job()
    for job in (writer, reader):
        until(lambda job=job: state(made, job) == "running")
    parent = launcher(made)
    crash(made)
    os.kill(parent, signal.SIGKILL)
    database("UPDATE attempts SET boot_id = 'another boot'")
    made.start()
    assert [state(made, job) for job in (writer, reader)] == ["lost", "lost"]
    assert needing(made) == [writer]
    assert made.post(f"/v1/jobs/{writer}/abandon")["changed"]
    assert needing(made) == []
