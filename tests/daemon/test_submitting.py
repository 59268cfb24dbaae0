"""Jobs that are submitted over HTTP."""

from __future__ import annotations

import pytest

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
