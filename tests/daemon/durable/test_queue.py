"""What waits: on disk before it is acknowledged, and started once, by whichever supervisor."""

from __future__ import annotations

import os
import signal
import sqlite3

import pytest
from tests.daemon.conftest import until
from tests.daemon.durable.conftest import crash, detached, ended, processes, state

pytestmark = pytest.mark.root

ONE = {"INSTANCES_TOTAL_CAPACITY_MAX": "1"}
TOKEN = ("token", b"0123456789abcdef0123456789abcdef")


@pytest.fixture
def busy(made):
    """A supervisor whose only slot is taken by a job that ends when its caller hangs up."""
    made.start(**ONE)
    made.blocker = made.run("sleep 600")
    made.blocker.number = made.blocker.job()
    until(lambda: processes(made, "sleep"))
    return made


def unblock(supervisor):
    supervisor.http("POST", f"/v1/jobs/{supervisor.blocker.number}/cancel", {"signal": "KILL"})


def test_a_queued_job_is_started_by_the_next_supervisor(busy):
    """With its command, directory, environment, user and options; the number is the same."""
    line = 'echo "$GREETING $PWD $(id -u)"; exit 3'
    jobs = [
        detached(
            busy,
            line,
            ("cwd", b"/usr/share"),
            ("env", b"GREETING=hello \xff"),
            ("user", b"65534"),
        ).job()
        for _ in range(3)
    ]
    crash(busy)
    busy.start(**ONE)
    assert [state(busy, job) for job in jobs] == ["queued"] * 3
    unblock(busy)
    assert [ended(busy, job)["exit_code"] for job in jobs] == [3] * 3
    found = [busy.get(f"/v1/jobs/{job}/log") for job in jobs]
    assert found == [b"hello \xff /usr/share 65534\n"] * 3


def test_a_stop_in_order_leaves_what_waits_to_the_next(busy, counted):
    """Running jobs are ended, those that were not started are not forgotten."""
    job = detached(busy, f"echo once >> {counted}/mark", ("rw", os.fsencode(counted))).job()
    assert busy.stop() == 0
    busy.start(**ONE)
    assert ended(busy, job)["status"] == 0
    assert (counted / "mark").read_text() == "once\n"


def test_secrets_are_forgotten_with_the_end_of_their_job(busy, database):
    """They are kept for as long as the job may have to be started, in root's own file, and in no record or log."""
    secret = b"hunter2hunter2"
    fields = [
        ("setenv", b"API_TOKEN=" + secret),
        ("env", b"PLACE=db://u:" + secret + b"@h"),
        ("env", b"A_KEY=" + secret),
    ]
    line = f"echo --password={secret.decode()} $API_TOKEN $PLACE $A_KEY"
    job = detached(busy, line, *fields).job()
    lost = detached(busy, line, *fields).job()
    crash(busy)
    file = f"{busy.paths.secrets}/{job}"
    assert (os.stat(file).st_mode & 0o777, os.stat(busy.paths.secrets).st_mode & 0o777) == (0o600, 0o700)
    os.unlink(f"{busy.paths.secrets}/{lost}")
    assert holding(busy, secret) == [file]
    busy.start(**ONE)
    unblock(busy)
    assert ended(busy, job)["status"] == 0
    expected = f"--password={secret.decode()} {secret.decode()} db://u:{secret.decode()}@h\n"
    with open(busy.paths.log_of(job)) as log:
        assert log.read() == expected
    os.unlink(log.name)
    assert "holds secrets, is lost" in ended(busy, lost)["message"]
    busy.stop()
    assert holding(busy, secret) == []
    # Of the one that was never started it stays what was asked for, without them.
    assert rows(busy, f"SELECT count(*) FROM kept WHERE job <> {lost}") == 0


@pytest.mark.parametrize(
    "asked",
    [
        {"argv": ["sh", "-c", "sleep 60", "--password", "hunter2hunter2"]},
        {"line": "sleep 60; mysqldump --password hunter2hunter2"},
    ],
)
def test_what_is_kept_of_a_job_that_runs_has_no_secrets(supervisor, asked):
    """Neither what it is called with nor what it is said to do; the rest is there for the next supervisor."""
    status, answer = supervisor.http("POST", "/v1/jobs", {"cwd": "/", "env": {"PATH": "/usr/bin:/bin"}, **asked})
    assert status == 201
    job = answer["job"]
    until(lambda: supervisor.get(f"/v1/jobs/{job}")["state"] == "running")
    assert holding(supervisor, b"hunter2hunter2") == [f"{supervisor.paths.secrets}/{job}"]
    supervisor.stop(9)
    supervisor.start("--idle-exit", "120")
    assert supervisor.get(f"/v1/jobs/{job}")["state"] == "running"
    supervisor.post(f"/v1/jobs/{job}/cancel")
    assert ended(supervisor, job)["state"] != "exited"
    assert holding(supervisor, b"hunter2hunter2") == []


def holding(supervisor, secret):
    """The files of a supervisor that hold some bytes."""
    places = (supervisor.paths.state, supervisor.paths.runtime, os.path.dirname(supervisor.log))
    found = set()
    for directory, _, names in (entry for place in places for entry in os.walk(place)):
        for path in (f"{directory}/{name}" for name in names if os.path.isfile(f"{directory}/{name}")):
            with open(path, "rb") as file:
                found |= {path} if secret in file.read() else set()
    return sorted(found)


def rows(supervisor, query):
    connection = sqlite3.connect(supervisor.paths.database)
    try:
        return connection.execute(query).fetchone()[0]
    finally:
        connection.close()


def test_a_client_comes_back_for_its_queued_job(busy):
    """It passes its descriptors again, and gets the number that it had."""
    job = busy.run("echo back", TOKEN).job()
    crash(busy)
    busy.start(**ONE)
    again = busy.run("echo back", TOKEN, ("again", b"1"))
    unblock(busy)
    assert again.end()["result"]["job"] == job
    assert os.read(again.output, 100) == b"back\n"


def test_a_client_comes_back_for_its_running_job(supervisor):
    """What it passes then is not needed; it gets the result, and signals reach the job."""
    call = supervisor.run("trap 'exit 9' TERM; sleep 600 & wait", TOKEN)
    job = call.job()
    until(lambda: processes(supervisor, "sleep"))
    crash(supervisor)
    supervisor.start()
    again = supervisor.run("trap 'exit 9' TERM; sleep 600 & wait", TOKEN, ("again", b"1"))
    frame = again.next("accepted")
    assert (int(frame["job"]), frame["started"]) == (job, b"1")
    again.send(("kind", b"signal"), ("name", b"TERM"))
    assert again.end()["status"] == 9
    over = supervisor.run("true", TOKEN, ("again", b"1"))
    assert over.end()["result"]["job"] == job


def test_a_client_that_never_got_through_is_served_as_new(supervisor):
    """Nothing of the request was written down, so nothing was started."""
    assert supervisor.run("exit 6", TOKEN, ("again", b"1")).end()["status"] == 6


def test_a_token_is_its_users_own(supervisor):
    """Somebody else's job is not found by it."""
    first = supervisor.run("exit 6", TOKEN).end()["result"]["job"]
    other = b"fedcba9876543210fedcba9876543210"
    assert supervisor.run("true", ("token", other), ("again", b"1")).end()["result"]["job"] != first


@pytest.mark.parametrize("restart", [False, True])
def test_the_same_key_runs_once(supervisor, counted, restart):
    """The second call is told the first one's number, running or over, also after a crash."""
    fields = ("idempotency_key", b"deploy-1"), ("rw", os.fsencode(counted)), ("tier", b"CONDITIONAL_PARALLEL")
    line = f"echo run >> {counted}/mark; sleep 1; exit 2"
    job = detached(supervisor, line, *fields).job()
    if restart:
        crash(supervisor)
        supervisor.start()
    frame = detached(supervisor, line, *fields).next("accepted")
    assert (int(frame["job"]), frame["duplicate"]) == (job, b"1")
    assert supervisor.run(line, *fields).end()["status"] == 2
    frame = detached(supervisor, line, *fields).next("accepted")
    assert (int(frame["job"]), frame["duplicate"]) == (job, b"1")
    assert (counted / "mark").read_text() == "run\n"


def test_the_same_key_for_something_else_is_refused(supervisor):
    """Whether the first is over or not."""
    key = ("idempotency_key", b"k")
    job = detached(supervisor, "sleep 1", key).job()
    assert b"something else was asked for" in detached(supervisor, "true", key).next("error")["text"]
    ended(supervisor, job)
    assert b"something else was asked for" in detached(supervisor, "true", key).next("error")["text"]


def test_a_refused_request_leaves_its_key_free(supervisor):
    """It did not run."""
    key = ("idempotency_key", b"k")
    assert detached(supervisor, "sleep 1", key, ("after", b"999")).next("error")["status"] != b"0"
    assert supervisor.run("exit 5", key).end()["status"] == 5


def test_many_at_once_with_one_key_are_one_job(supervisor, counted):
    """Also those that come before the first is on disk."""
    fields = ("idempotency_key", b"k"), ("rw", os.fsencode(counted))
    calls = [detached(supervisor, f"echo run >> {counted}/mark", *fields) for _ in range(12)]
    [job] = {call.job() for call in calls}
    assert ended(supervisor, job)["status"] == 0
    assert (counted / "mark").read_text() == "run\n"


def test_output_is_kept_while_no_supervisor_runs(supervisor):
    """A detached job writes on, and is not ended by it."""
    job = detached(supervisor, "echo one; sleep 1; echo two; sleep 1; echo three").job()
    until(lambda: processes(supervisor, "sleep"))
    supervisor.stop(signal.SIGKILL)
    until(lambda: not processes(supervisor, "bash"))
    supervisor.start()
    assert ended(supervisor, job)["status"] == 0
    assert supervisor.get(f"/v1/jobs/{job}/log") == b"one\ntwo\nthree\n"
