"""What somebody has stopped stays so when the supervisor is killed, and what was stopped for another job goes on."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from tests.daemon.conftest import until
from tests.daemon.durable.conftest import crash, detached, ended, state

pytestmark = pytest.mark.root


def ticking(tmp_path):
    """A command that adds to a file until it is told to end."""
    return f"until [ -e {tmp_path}/go ]; do echo >> {tmp_path}/ticks; sleep 0.02; done; exit 3"


def ticks(tmp_path):
    file = tmp_path / "ticks"
    return file.stat().st_size if file.exists() else 0


def stands_still(supervisor, tmp_path):
    """Whether nothing is added while others come to run and end."""
    before = ticks(tmp_path)
    for _ in range(3):
        assert supervisor.run("sleep 0.1").end()["status"] == 0
    return ticks(tmp_path) == before


def test_a_running_job_that_somebody_paused_stands_still_until_it_is_resumed(supervisor, tmp_path):
    """It is frozen in the kernel, and the next supervisor knows that."""
    where = (("rw", str(tmp_path).encode()), ("tier", b"conditional"))
    job = detached(supervisor, ticking(tmp_path), *where).job()
    until(lambda: ticks(tmp_path))
    until(lambda: state(supervisor, job) == "running")
    assert supervisor.post(f"/v1/jobs/{job}/pause")["changed"]
    until(lambda: stands_still(supervisor, tmp_path))
    crash(supervisor)
    supervisor.start("--idle-exit", "120")
    assert stands_still(supervisor, tmp_path)
    assert not supervisor.post(f"/v1/jobs/{job}/pause")["changed"]
    (tmp_path / "go").touch()
    assert supervisor.post(f"/v1/jobs/{job}/resume")["changed"]
    assert ended(supervisor, job)["status"] == 3


def test_a_job_that_was_stopped_for_a_critical_one_goes_on(made, tmp_path):
    """The next supervisor has not stopped it for anybody: nobody else would ever let it go on."""
    made.start("--idle-exit", "120", INSTANCES_TOTAL_CAPACITY_MAX="1")
    where = (("rw", str(tmp_path).encode()), ("tier", b"conditional"))
    job = detached(made, ticking(tmp_path), *where).job()
    until(lambda: ticks(tmp_path))
    critical = made.run("sleep 600", ("priority", b"critical"))
    critical.job()
    until(lambda: made.get("/v1/queue")["frozen"] == [job])
    crash(made)
    (tmp_path / "go").touch()
    made.start("--idle-exit", "120", INSTANCES_TOTAL_CAPACITY_MAX="1")
    assert ended(made, job)["status"] == 3


def test_a_waiting_job_that_somebody_paused_is_not_started(made):
    """By any supervisor; one that waited beside it, the control, is."""
    made.start("--idle-exit", "120")
    made.post("/v1/queue", {"paused": True})
    paused, control = detached(made, "exit 4").job(), detached(made, "exit 5").job()
    until(lambda: made.get(f"/v1/jobs/{paused}/why")["waits_for"])
    assert made.post(f"/v1/jobs/{paused}/pause")["changed"]
    crash(made)
    made.start("--idle-exit", "120")
    assert made.get("/v1/queue")["paused"]
    assert {state(made, paused), state(made, control)} == {"queued"}
    made.post("/v1/queue", {"paused": False})
    assert ended(made, control)["status"] == 5
    until(lambda: [why["kind"] for why in made.get(f"/v1/jobs/{paused}/why")["waits_for"]] == ["resume"])
    crash(made)
    made.start("--idle-exit", "120")
    assert not made.get("/v1/queue")["paused"]
    assert state(made, paused) == "queued"
    assert made.post(f"/v1/jobs/{paused}/resume")["changed"]
    assert ended(made, paused)["status"] == 4


def test_a_drained_queue_takes_nothing_from_any_supervisor(supervisor):
    """Until it is told to."""
    supervisor.post("/v1/queue", {"draining": True})
    assert supervisor.stop() == 0
    supervisor.start("--idle-exit", "120")
    assert supervisor.run("true").end()["status"] == 75
    supervisor.post("/v1/queue", {"draining": False})
    crash(supervisor)
    supervisor.start("--idle-exit", "120")
    assert supervisor.run("true").end()["status"] == 0


def orders(supervisor):
    """Who is to end, as the store has it."""
    with contextlib.closing(sqlite3.connect(supervisor.paths.database)) as database:
        return dict(database.execute("SELECT job, at_once FROM withdrawn"))


def order(supervisor, job, *, at_once):
    """What a supervisor has on disk that was killed between its word that a job is to end and the deed."""
    with contextlib.closing(sqlite3.connect(supervisor.paths.database)) as database, database:
        database.execute("INSERT INTO withdrawn VALUES (?, ?)", (job, at_once))


def test_that_a_job_is_to_end_is_on_disk_when_it_is_acknowledged(made):
    """However it is said, of one that waits; a signal that a job may survive is no such order."""
    made.start("--idle-exit", "120")
    made.post("/v1/queue", {"paused": True})
    said = [
        ("cancel", {}, 0),
        ("cancel", {"signal": "KILL"}, 1),
        ("kill", {"signal": "KILL"}, 1),
        ("kill", {"signal": "TERM"}, 0),
        ("kill", {"signal": "USR1"}, None),
    ]
    wanted = {}
    for verb, body, at_once in said:
        job = detached(made, "exit 4").job()
        made.post(f"/v1/jobs/{job}/{verb}", body)
        wanted |= {} if at_once is None else {job: at_once}
    crash(made)
    assert orders(made) == wanted


@pytest.mark.parametrize("at_once", [False, True])
def test_what_was_to_end_ends_with_the_next_supervisor(made, tmp_path, at_once):
    """A job that runs, and one that waits; of the controls, of whom nobody said so, one runs on and one is started."""
    made.start("--idle-exit", "120")
    running, other = (detached(made, f"until [ -e {tmp_path}/go ]; do sleep 0.02; done; exit 3").job() for _ in "12")
    until(lambda: {state(made, running), state(made, other)} == {"running"})
    made.post("/v1/queue", {"paused": True})
    waiting, control = detached(made, "exit 4").job(), detached(made, "exit 5").job()
    until(lambda: made.get(f"/v1/jobs/{control}/why")["waits_for"])
    crash(made)
    for job in (running, waiting):
        order(made, job, at_once=at_once)
    made.start("--idle-exit", "120")
    assert ended(made, running)["status"] == (137 if at_once else 143)
    assert ended(made, waiting)["state"] == "cancelled"
    assert (state(made, other), state(made, control)) == ("running", "queued")
    (tmp_path / "go").touch()
    made.post("/v1/queue", {"paused": False})
    assert ended(made, other)["status"] == 3
    assert ended(made, control)["status"] == 5
