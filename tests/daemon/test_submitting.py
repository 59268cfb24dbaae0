"""Jobs that are submitted over HTTP."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import sqlite3
import subprocess
import sysconfig
import threading
from pathlib import Path

import pytest
from tests.daemon.conftest import until

pytestmark = pytest.mark.root


def submit(supervisor, **body):
    return supervisor.http("POST", "/v1/jobs", {"cwd": "/", **body})


def ended(supervisor, job):
    return supervisor.http("GET", f"/v1/jobs/{job}/wait?timeout=60")[1]


def test_it_runs_with_what_was_said_and_its_output_is_kept(supervisor):
    """Words or a line, its own environment and directory, and nothing of the supervisor's."""
    environment = {"PATH": "/usr/bin:/bin", "NAME": "value"}
    status, answer = submit(supervisor, line="echo $NAME; pwd; exit 3", cwd="/usr", env=environment)
    assert (status, answer["duplicate"]) == (201, False)
    result = ended(supervisor, answer["job"])
    assert (result["status"], result["workdir"]) == (3, "/usr")
    assert supervisor.get(f"/v1/jobs/{answer['job']}/log") == b"value\n/usr\n"
    words = submit(supervisor, argv=["env"], env=environment)[1]["job"]
    assert ended(supervisor, words)["status"] == 0
    assert b"CBX_" not in supervisor.get(f"/v1/jobs/{words}/log")


def test_it_is_on_disk_when_it_is_answered(supervisor):
    """Killed at once, the next supervisor knows it and brings it to its end."""
    job = submit(supervisor, line="sleep 1; exit 5", env={"PATH": "/bin"})[1]["job"]
    supervisor.stop(9)
    supervisor.start("--idle-exit", "120")
    assert ended(supervisor, job)["status"] == 5


def test_a_key_is_one_job(supervisor):
    """In the body or in the header's stead; with another body it is an error."""
    first = submit(supervisor, argv=["true"], idempotency_key="one")[1]
    again = submit(supervisor, argv=["true"], idempotency_key="one")
    assert again[1]["job"] == first["job"]
    assert again[1]["duplicate"] is True
    assert submit(supervisor, argv=["false"], idempotency_key="one")[0] in {400, 409}
    assert len(supervisor.get("/v1/jobs")["jobs"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {}, {"argv": ["true"], "line": "true"}, {"argv": []}, {"argv": ["true"], "cwd": "relative"},
        {"argv": ["true"], "unknown": 1}, {"argv": "true"}, {"argv": ["true"], "tier": "none"},
        {"argv": ["true"], "timeout": -1}, {"argv": ["tr\0ue"]}, {"argv": ["true"], "env": {"A=B": "c"}, "after": [0]},
        {"argv": ["true"], "detach": False},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_is_no_job(supervisor, body):
    status, problem = submit(supervisor, **body)
    assert status == 400, problem
    assert supervisor.get("/v1/jobs")["jobs"] == []


def batch(supervisor, jobs, **body):
    jobs = [{"cwd": "/", "env": {"PATH": "/bin"}, **job} for job in jobs]
    return supervisor.http("POST", "/v1/batches", {"jobs": jobs, **body})


def test_a_batch_is_on_disk_when_it_is_answered(supervisor):
    """Killed at once, the next supervisor brings all of it to its end, in the order that was asked for."""
    status, answer = batch(supervisor, [{"line": f"sleep 1; exit {number}"} for number in range(5)])
    assert status == 201
    numbers = [job["job"] for job in answer["jobs"]]
    assert numbers == sorted(numbers)
    supervisor.stop(9)
    supervisor.start("--idle-exit", "120")
    assert [ended(supervisor, job)["status"] for job in numbers] == [0, 1, 2, 3, 4]


def test_a_batch_is_taken_whole_or_not_at_all(supervisor):
    """One that cannot be, or a key for two requests: none is a job; it says which."""
    for bad in ({"argv": []}, {"argv": ["true"], "tier": "none"}, {"argv": ["true"], "after": [0]}):
        status, problem = batch(supervisor, [{"argv": ["true"]}, bad])
        assert status == 400
        assert "job 2 of the batch" in str(problem)
    twice = [{"argv": ["true"], "idempotency_key": "k"}, {"argv": ["false"], "idempotency_key": "k"}]
    assert batch(supervisor, twice)[0] == 400
    assert supervisor.get("/v1/jobs")["jobs"] == []


def test_each_job_of_a_batch_has_its_key(supervisor):
    """Asked again, the same jobs; new ones beside them; one key twice in a batch is one job."""
    jobs = [{"argv": ["true"], "idempotency_key": key} for key in ("a", "b", "a")]
    first = batch(supervisor, jobs)[1]["jobs"]
    assert [job["duplicate"] for job in first] == [False, False, True]
    assert first[0]["job"] == first[2]["job"] != first[1]["job"]
    again = batch(supervisor, [*jobs, {"argv": ["true"], "idempotency_key": "c"}])[1]["jobs"]
    assert [job["job"] for job in again[:3]] == [job["job"] for job in first]
    assert [job["duplicate"] for job in again] == [True, True, True, False]


def test_the_command_line_takes_lines(supervisor, tmp_path):
    """Strings are shell lines; directory and environment are the caller's; a bad line submits nothing."""
    client = Path(sysconfig.get_path("scripts")) / "cbx-sandbox"
    environment = {**supervisor.environment, "NAME": "value"}
    lines = tmp_path / "jobs"
    lines.write_text('"echo $NAME; pwd"\n\n{"argv": ["sh", "-c", "exit 4"], "cwd": "/usr"}\n')

    def call(*arguments, **options):
        return subprocess.run(
            [client, "submit", "--batch", *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True,
            check=False, **options,
        )  # fmt: skip

    numbers = call("jobs").stdout.split()
    assert [ended(supervisor, job)["status"] for job in numbers] == [0, 4]
    assert supervisor.get(f"/v1/jobs/{numbers[0]}/log") == f"value\n{tmp_path}\n".encode()
    bad = call("-", input='"true"\n[]\n')
    assert (bad.returncode, bad.stdout) == (125, "")
    assert "line 2" in bad.stderr
    assert len(supervisor.get("/v1/jobs")["jobs"]) == 2


def _together(*calls):
    """Make calls at the same moment, as near as threads come to it; returns what they return."""
    gate = threading.Barrier(len(calls))

    def one(call):
        gate.wait()
        return call()

    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(one, call) for call in calls]]


def test_a_key_is_one_job_however_many_use_it_at_once(supervisor):
    """One by one and in batches, some of which bring the keys in another order; also when the job is over soon."""
    for number in range(6):
        keys = [f"{number}-{name}" for name in "abc"]
        jobs = [{"argv": ["true"], "cwd": "/", "idempotency_key": key} for key in keys]
        singles = [lambda key=key: submit(supervisor, argv=["true"], idempotency_key=key)[1] for key in keys * 2]
        batches = [
            lambda order=order: supervisor.http("POST", "/v1/batches", {"jobs": order})[1]["jobs"]
            for order in (jobs, jobs[::-1], jobs)
        ]
        *answers, first, backwards, third = _together(*singles, *batches)
        for place, key in enumerate(keys):
            told = [*answers[place::3], first[place], backwards[2 - place], third[place]]
            assert len({answer["job"] for answer in told}) == 1, key
            assert [answer["duplicate"] for answer in told].count(False) == 1, key
    assert len(supervisor.get("/v1/jobs?limit=1000")["jobs"]) == 18


def test_a_key_that_stands_for_something_else_takes_nothing_of_a_batch(supervisor):
    """The others of it are not taken either; without it they are."""
    submit(supervisor, argv=["true"], idempotency_key="known")
    jobs = [{"argv": ["true"], "cwd": "/"}, {"argv": ["false"], "cwd": "/", "idempotency_key": "known"}]
    assert supervisor.http("POST", "/v1/batches", {"jobs": jobs})[0] in {400, 409}
    assert len(supervisor.get("/v1/jobs")["jobs"]) == 1
    assert supervisor.http("POST", "/v1/batches", {"jobs": jobs[:1]})[0] == 201


def test_a_batch_is_taken_once_though_its_answer_was_lost(supervisor):
    """Killed as soon as the batch is on disk: who asks again is told of the same jobs, and there are no others."""
    jobs = [{"argv": ["true"], "cwd": "/", "idempotency_key": f"k{number}"} for number in range(20)]
    body = {"jobs": jobs, "env": {"PATH": "/usr/bin:/bin"}}
    asked = threading.Thread(target=_quietly, args=(supervisor, body))
    asked.start()
    with contextlib.closing(sqlite3.connect(supervisor.paths.database)) as database:
        until(lambda: database.execute("SELECT count(*) FROM keys").fetchone()[0] == len(jobs))
        supervisor.stop(9)
        asked.join()
        supervisor.start("--idle-exit", "120")
        status, answer = supervisor.http("POST", "/v1/batches", body)
        assert (status, [job["duplicate"] for job in answer["jobs"]]) == (201, [True] * len(jobs))
        assert database.execute("SELECT count(*) FROM jobs").fetchone()[0] == len(jobs)


def _quietly(supervisor, body):
    """Ask and take no notice of how that ends: the supervisor is killed meanwhile, or a moment later."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        supervisor.http("POST", "/v1/batches", body)
