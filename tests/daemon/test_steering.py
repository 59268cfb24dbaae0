"""Pausing, preempting, changing places and the strategy, through a real supervisor."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import pytest
from tests.daemon.conftest import until

from cbx_supervisor.store import steering as store

pytestmark = pytest.mark.root


def until_told(go):
    """A command that goes on until the file is there."""
    return f"until [ -e {go} ]; do sleep 0.05; done"


def test_a_paused_job_stands_still_and_its_time_limit_too(supervisor, tmp_path):
    """Frozen for longer than it may run, it goes on and ends by itself; the control is ended by its limit."""
    limit, go = ("timeout", b"6"), tmp_path / "go"
    call = supervisor.run(until_told(go), limit)
    job = call.job()
    until(lambda: supervisor.get(f"/v1/jobs/{job}")["state"] == "running")
    control = supervisor.run("sleep 60", limit)
    assert supervisor.post(f"/v1/jobs/{job}/pause")["changed"]
    assert not supervisor.post(f"/v1/jobs/{job}/pause")["changed"]
    assert [why["kind"] for why in supervisor.get(f"/v1/jobs/{job}/why")["waits_for"]] == ["resume"]
    assert "it is paused" in supervisor.get(f"/v1/jobs/{job}")["message"]
    assert control.end()["status"] == 124  # by now more time has passed than the paused one may run
    assert supervisor.get(f"/v1/jobs/{job}")["state"] == "running"
    go.touch()
    assert supervisor.post(f"/v1/jobs/{job}/resume")["changed"]
    assert call.end()["status"] == 0
    assert not supervisor.post(f"/v1/jobs/{job}/resume")["changed"]


def test_a_job_that_is_resumed_is_paused_on_no_record(supervisor):
    """Also where it goes on already, and only the record says that it does not; the control is not resumed."""
    jobs = [supervisor.run("sleep 60").job() for _ in range(2)]
    until(lambda: {supervisor.get(f"/v1/jobs/{job}")["state"] for job in jobs} == {"running"})
    with contextlib.closing(sqlite3.connect(supervisor.paths.database, timeout=60)) as connection:
        with connection:
            for job in jobs:
                store.pause(job)(connection)
        assert not supervisor.post(f"/v1/jobs/{jobs[0]}/resume")["changed"]
        assert store.find(connection).jobs == {jobs[1]}


def test_a_paused_job_can_be_ended(supervisor):
    """It is let go on so that it can hear of it."""
    call = supervisor.run("sleep 60")
    job = call.job()
    until(lambda: supervisor.get(f"/v1/jobs/{job}")["state"] == "running")
    supervisor.post(f"/v1/jobs/{job}/pause")
    assert supervisor.post(f"/v1/jobs/{job}/cancel")["cancelled"]
    assert call.end()["result"]["state"] == "cancelled"


def test_a_critical_job_takes_the_slot_of_a_lesser_one(made, tmp_path):
    """Which is frozen, says so, and goes on afterwards; without preemption the critical job waits."""
    supervisor = made.start("--idle-exit", "120", INSTANCES_TOTAL_CAPACITY_MAX="1")
    lesser = supervisor.run(until_told(tmp_path / "go"))
    job = lesser.job()
    critical = supervisor.run("sleep 60", ("priority", b"critical"))
    critical.job()
    assert supervisor.get("/v1/queue")["frozen"] == [job]
    assert "for a critical job" in supervisor.get(f"/v1/jobs/{job}/why")["waits_for"][0]["text"]
    assert supervisor.get("/v1/queue")["running"] == 2
    critical.send(("kind", b"kill"))
    critical.end()
    (tmp_path / "go").touch()
    assert lesser.end()["status"] == 0
    assert supervisor.get("/v1/queue")["frozen"] == []


@pytest.mark.parametrize("secret", [b"NAME=plain", b"API_TOKEN=secret"])
def test_another_priority_outlives_the_supervisor(made, secret):
    """Also of a job whose text is kept apart; the control is the job that came first, and starts last."""
    settings = {"INSTANCES_TOTAL_CAPACITY_MAX": "1"}
    supervisor = made.start("--idle-exit", "120", **settings)
    supervisor.post("/v1/queue", {"paused": True})
    first, urgent = (supervisor.run("true", ("detach", b"1"), ("setenv", secret), fds={}).job() for _ in range(2))
    assert supervisor.post(f"/v1/jobs/{urgent}/priority", {"priority": "high"})["changed"]
    supervisor.stop(9)
    supervisor.start("--idle-exit", "120", **settings)
    until(lambda: supervisor.get("/v1/queue")["waiting"] == 2)
    supervisor.post("/v1/queue", {"paused": False})
    ended = [supervisor.get(f"/v1/jobs/{job}/wait?timeout=60") for job in (first, urgent)]
    assert [result["status"] for result in ended] == [0, 0]
    assert ended[1]["started"] < ended[0]["started"]
    assert not supervisor.post(f"/v1/jobs/{urgent}/priority", {"priority": "low"})["changed"]


def test_states_that_there_are_not_are_no_empty_list(supervisor):
    """Who asks for one is told which there are; those that there are, the control, are listed."""
    job = supervisor.run("exit 3").end()["result"]["job"]
    status, told = supervisor.http("GET", "/v1/jobs?state=running,finished")
    assert (status, told["title"]) == (400, "there is no state finished")
    assert "exited" in told["hint"]
    assert [one["job"] for one in supervisor.get("/v1/jobs?state=running,exited")["jobs"]] == [job]


def test_without_preemption_a_critical_job_waits(made):
    """The control."""
    supervisor = made.start("--idle-exit", "120", INSTANCES_TOTAL_CAPACITY_MAX="1", SCHEDULING_PREEMPTION="false")
    lesser = supervisor.run("sleep 60")
    lesser.job()
    critical = supervisor.run("true", ("priority", b"critical"))
    job = critical.job()
    assert supervisor.get(f"/v1/jobs/{job}/why")["waits_for"][0]["kind"] == "slot"
    lesser.send(("kind", b"kill"))
    assert critical.end()["status"] == 0


def test_the_queue_is_paused_and_changed_at_run_time(made, tmp_path):
    """Nothing is started meanwhile; a job that is paused waits longer, one with another priority goes first."""
    supervisor = made.start("--idle-exit", "120", INSTANCES_TOTAL_CAPACITY_MAX="1")
    assert supervisor.get("/v1/queue")["strategy"] == "weighted-round-robin"
    supervisor.post("/v1/queue", {"paused": True, "strategy": "shortest-first"})
    log = tmp_path / "log"
    log.write_text("")
    calls = {name: supervisor.run(f"echo {name} >> {log}", ("cwd", os.fsencode(tmp_path))) for name in "abc"}
    numbers = {name: call.job() for name, call in calls.items()}
    kinds = [why["kind"] for why in supervisor.get(f"/v1/jobs/{numbers['a']}/why")["waits_for"]]
    assert kinds == ["queue"]
    assert supervisor.post(f"/v1/jobs/{numbers['a']}/pause")["changed"]
    assert supervisor.post(f"/v1/jobs/{numbers['c']}/priority", {"priority": "high"})["changed"]
    supervisor.post(f"/v1/jobs/{numbers['b']}/priority", {"priority": "deferred"})
    found = supervisor.post("/v1/queue", {"paused": False})
    assert (found["strategy"], found["paused"]) == ("shortest-first", False)
    assert [calls[name].end()["status"] for name in "bc"] == [0, 0]
    (why,) = supervisor.get(f"/v1/jobs/{numbers['a']}/why")["waits_for"]
    assert why["kind"] == "resume"
    assert supervisor.post(f"/v1/jobs/{numbers['a']}/resume")["changed"]
    assert calls["a"].end()["status"] == 0
    assert log.read_text().split() == ["c", "b", "a"]


def test_a_waiting_job_is_moved_before_others(made, tmp_path):
    """And the answers where it cannot be: not waiting, in another line, two wishes at once."""
    supervisor = made.start("--idle-exit", "120", INSTANCES_TOTAL_CAPACITY_MAX="1")
    supervisor.post("/v1/queue", {"paused": True})
    log = tmp_path / "log"
    log.write_text("")
    calls = {name: supervisor.run(f"echo {name} >> {log}", ("cwd", os.fsencode(tmp_path))) for name in "abc"}
    numbers = {name: call.job() for name, call in calls.items()}
    reader = supervisor.run("true")
    other = reader.job()
    assert supervisor.post(f"/v1/jobs/{numbers['c']}/move", {"before": numbers["a"]})["changed"]
    assert supervisor.post(f"/v1/jobs/{numbers['a']}/move", {"last": True})["changed"]
    for wrong in ({"before": other}, {"before": 999}, {"first": True, "last": True}, {}):
        assert supervisor.http("POST", f"/v1/jobs/{numbers['c']}/move", wrong)[0] == 400
    supervisor.post("/v1/queue", {"paused": False})
    assert [call.end()["status"] for call in (*calls.values(), reader)] == [0] * 4
    assert log.read_text().split() == ["c", "b", "a"]
    assert not supervisor.post(f"/v1/jobs/{numbers['c']}/move", {"first": True})["changed"]


def test_a_drained_queue_takes_nothing_and_ends_what_it_took(made, tmp_path):
    """Also what only waits; resumed, it takes jobs again."""
    supervisor = made.start("--idle-exit", "120", INSTANCES_TOTAL_CAPACITY_MAX="1")
    running = supervisor.run(until_told(tmp_path / "go"))
    running.job()
    waiting = supervisor.run("true")
    waiting.job()
    assert supervisor.post("/v1/queue", {"draining": True})["draining"]
    refused = supervisor.run("true").end()
    assert refused["kind"] == b"error"
    assert refused["status"] == 75
    (tmp_path / "go").touch()
    assert [running.end()["status"], waiting.end()["status"]] == [0, 0]
    assert not supervisor.post("/v1/queue", {"draining": False})["draining"]
    assert supervisor.run("true").end()["status"] == 0


def test_a_job_is_paused_and_goes_on_wherever_it_is(made, tmp_path):
    """Being analysed, waiting for others, or for its turn; each keeps that until it is resumed, and twice is once."""
    supervisor = made.start("--idle-exit", "120", INSTANCES_TOTAL_CAPACITY_MAX="1")
    holder = supervisor.run(until_told(tmp_path / "go"))
    before = holder.job()
    waits = supervisor.run("exit 3", ("detach", b"1"), fds={}).job()
    after = supervisor.run("exit 4", ("detach", b"1"), ("after", str(before).encode()), fds={}).job()
    long = "; ".join(f"cat {number}" for number in range(4000)) + "; exit 5"
    analysed = supervisor.http("POST", "/v1/jobs", {"cwd": str(tmp_path), "line": long, "env": {"PATH": "/usr/bin"}})
    jobs = {waits: 3, after: 4, analysed[1]["job"]: 5}
    for job in jobs:
        assert supervisor.post(f"/v1/jobs/{job}/pause")["changed"]
        assert not supervisor.post(f"/v1/jobs/{job}/pause")["changed"]
    (tmp_path / "go").touch()
    assert holder.end()["status"] == 0
    for job in jobs:
        until(lambda job=job: [why["kind"] for why in supervisor.get(f"/v1/jobs/{job}/why")["waits_for"]] == ["resume"])
    for job, status in jobs.items():
        assert supervisor.post(f"/v1/jobs/{job}/resume")["changed"]
        assert not supervisor.post(f"/v1/jobs/{job}/resume")["changed"]
        assert supervisor.get(f"/v1/jobs/{job}/wait?timeout=60")["status"] == status


def test_very_little_of_a_processor_is_no_error(supervisor):
    """The kernel counts in periods, of which so little would be less than nothing if they were the usual ones."""
    for cpus in (b"0.009", b"0.5"):
        assert supervisor.run("true", ("cpus", cpus)).end()["status"] == 0


def test_the_output_of_an_attempt_that_there_was_not_is_named(supervisor):
    """The one that there was, the control, has one."""
    job = supervisor.run("echo here", ("detach", b"1"), fds={}).job()
    supervisor.get(f"/v1/jobs/{job}/wait?timeout=60")
    assert supervisor.get(f"/v1/jobs/{job}/log?attempt=1") == b"here\n"
    status, problem = supervisor.http("GET", f"/v1/jobs/{job}/log?attempt=7")
    assert (status, problem["title"]) == (404, f"no output was kept of attempt 7 of job {job}"), problem
