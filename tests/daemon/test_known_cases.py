"""How a supervisor behaves in known cases that no other test is about: limits, repeats, orders that come too late."""

from __future__ import annotations

import os

import pytest
from tests.daemon.conftest import until
from tests.daemon.durable.conftest import detached, ended, state
from tests.daemon.people import OWNER, STRANGER, acting, asks, job_of

pytestmark = pytest.mark.root


def configure(supervisor, text):
    """Have the supervisor go by this from now on."""
    path = f"{supervisor.paths.config}/cbx.toml"
    os.makedirs(supervisor.paths.config, mode=0o755, exist_ok=True)
    with open(path, "a") as file:
        file.write(text)
    os.chmod(path, 0o644)
    assert supervisor.http("POST", "/v1/config/reload")[0] == 200


def test_more_jobs_than_a_user_may_have_are_refused(shared):
    """With a status that says to try again later, and the number; others, and he himself later, are served."""
    configure(shared, "queue_per_user_max = 2\n")
    shared.post("/v1/queue", {"paused": True})

    def submits():
        asked = {"cwd": "/", "argv": ["true"]}
        return [shared.http("POST", "/v1/jobs", asked) for _ in range(3)]

    *taken, (status, problem) = acting(shared, OWNER, submits)
    assert [answer[0] for answer in taken] == [201, 201]
    assert (status, problem["exit_status"]) == (503, 75)
    assert "you have 2 unfinished ones" in problem["title"]
    batch = {"jobs": [{"cwd": "/", "argv": ["true"]}] * 3}
    assert asks(shared, STRANGER, "POST", "/v1/batches", batch)[0] == 503  # all or none
    assert asks(shared, STRANGER, "POST", "/v1/jobs", batch["jobs"][0])[0] == 201
    shared.post("/v1/queue", {"paused": False})
    for _, answer in taken:
        ended(shared, answer["job"])
    assert job_of(shared, OWNER)[0] == 0


def test_a_limit_that_is_lowered_ends_nothing_and_starts_nothing(supervisor, tmp_path):
    """Two run where one may by now; who waits is started when both are over, and not when one is."""
    wait = "until [ -e {} ]; do sleep 0.05; done"
    first, second = (supervisor.run(wait.format(tmp_path / name)) for name in ("one", "two"))
    numbers = [first.job(), second.job()]
    until(lambda: [state(supervisor, number) for number in numbers] == ["running"] * 2)
    configure(supervisor, "[instances]\nsafe_parallel_max = 1\n")
    third = supervisor.run("true")
    waits = third.job()
    assert [state(supervisor, number) for number in numbers] == ["running"] * 2
    (tmp_path / "one").touch()
    assert first.end()["status"] == 0
    (why,) = supervisor.get(f"/v1/jobs/{waits}/why")["waits_for"]
    assert why["text"] == "1 jobs of SAFE_PARALLEL are running, the limit is 1"
    (tmp_path / "two").touch()
    assert [second.end()["status"], third.end()["status"]] == [0, 0]


def test_two_dangerous_jobs_do_not_work_in_one_place_at_a_time(supervisor, project):
    """Although there is a slot for either; where they work apart, the control, both run."""
    (project / "d").mkdir()
    where, tier = ("cwd", os.fsencode(project)), ("tier", b"DANGEROUS_ISOLATED")
    line = f"rm -rf {project}/d; sleep 600"
    first = supervisor.run(line, where, tier)
    runs = first.job()
    until(lambda: state(supervisor, runs) == "running")
    second = supervisor.run(line, where, tier)
    (why,) = supervisor.get(f"/v1/jobs/{second.job()}/why")["waits_for"]
    assert why["kind"] == "locks", why
    control = supervisor.run("sleep 0.1", tier)
    assert control.end()["status"] == 0
    for call in (first, second):
        call.send(("kind", b"kill"))
    assert first.end()["result"]["reason"] == "cancelled"


def test_what_does_not_exist_yet_is_locked_where_it_would_be(supervisor, project):
    """Two who are to make the same directory: the second waits, also once the first has made it."""
    made, go = project / "new/deep", project / "go"
    where = (("cwd", os.fsencode(project)), ("tier", b"CONDITIONAL_PARALLEL"))
    line = f"mkdir -p {made} && until [ -e {go} ]; do sleep 0.05; done; echo one >> {made}/order"
    first = supervisor.run(line, *where)
    first.job()
    until(made.exists)
    second = supervisor.run(f"mkdir -p {made} && echo two >> {made}/order", *where)
    (why,) = supervisor.get(f"/v1/jobs/{second.job()}/why")["waits_for"]
    assert why["kind"] == "locks", why
    go.touch()
    assert [first.end()["status"], second.end()["status"]] == [0, 0]
    assert (made / "order").read_text() == "one\ntwo\n"


def test_orders_that_come_too_late_change_nothing_and_say_so(supervisor):
    """Of a job that is over: cancel, kill, pause, resume; its result stays what it was."""
    job = supervisor.run("exit 3").end()["result"]["job"]
    before = supervisor.get(f"/v1/jobs/{job}")
    assert supervisor.post(f"/v1/jobs/{job}/cancel")["cancelled"] is False
    assert supervisor.post(f"/v1/jobs/{job}/kill")["signalled"] is False
    assert supervisor.post(f"/v1/jobs/{job}/pause")["changed"] is False
    assert supervisor.post(f"/v1/jobs/{job}/resume")["changed"] is False
    assert supervisor.get(f"/v1/jobs/{job}") == before


def test_a_job_is_run_once_more_only_when_it_is_over(supervisor):
    """Neither while it runs nor while it waits for another one; both go on as if nobody had asked."""
    first = detached(supervisor, "sleep 600").job()
    second = detached(supervisor, "true", ("after", str(first).encode())).job()
    until(lambda: state(supervisor, first) == "running")
    for job in (first, second):
        for _ in range(2):
            assert supervisor.http("POST", f"/v1/jobs/{job}/retry", {})[0] == 409
    assert len(supervisor.get("/v1/jobs")["jobs"]) == 2
    supervisor.post(f"/v1/jobs/{first}/kill")
    assert ended(supervisor, first)["reason"] == "cancelled"
    assert ended(supervisor, second)["status"] == 75
    assert len(supervisor.get(f"/v1/jobs/{first}")["attempts"]) == 1


def test_who_does_not_listen_to_the_end_is_killed_and_that_is_told(supervisor):
    """By the signal's name: it was asked with SIGTERM, and ended by SIGKILL. One that listens, the control, is not."""
    for line, signal in (("trap '' TERM; echo x; while :; do sleep 0.05; done", "KILL"), ("sleep 600", "TERM")):
        job = detached(supervisor, line, ("kill_after", b"0.3")).job()
        ready = b"x" if "trap" in line else b""
        until(lambda: state(supervisor, job) == "running" and ready in supervisor.get(f"/v1/jobs/{job}/log"))  # noqa: B023
        supervisor.post(f"/v1/jobs/{job}/cancel", {"reason": "not needed"})
        found = ended(supervisor, job)
        assert (found["reason"], found["signal"]) == ("cancelled", signal)
