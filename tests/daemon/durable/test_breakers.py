"""Circuit breakers fed by real jobs: they open, are kept, are shown and are reset."""

from __future__ import annotations

import os

import pytest
from tests.daemon.conftest import until
from tests.daemon.durable.conftest import crash, detached, ended

pytestmark = pytest.mark.root

LIMITS = {"BREAKERS_FAILURES_MAX": "2", "BREAKERS_OPEN_SECONDS": "1000"}


@pytest.fixture
def curl(tmp_path, project):
    """A program of that name that works once a file is there; it reaches nobody."""
    path = tmp_path / "bin" / "curl"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\ntest -e {tmp_path}/up\n")
    path.chmod(0o755)
    return (("env", b"PATH=" + os.fsencode(path.parent) + b":/usr/bin:/bin"), ("cwd", os.fsencode(project)))


def test_what_failed_too_often_waits_and_a_reset_lets_it_go_on(made, tmp_path, curl):
    """By program and host; also for the next supervisor. Another host is the control."""
    made.start(**LIMITS)
    for _ in range(2):
        assert ended(made, detached(made, "curl http://one.example/", *curl).job())["status"] == 1
    waiting = detached(made, "curl http://one.example/", *curl).job()
    (reason,) = made.get(f"/v1/jobs/{waiting}/why")["waits_for"]
    assert reason["kind"] == "breaker"
    assert reason["text"].startswith("curl one.example failed too often")
    elsewhere = (curl[0], ("cwd", os.fsencode(tmp_path / "bin")))  # where it does not come after what waits
    assert ended(made, detached(made, "curl http://two.example/", *elsewhere).job())["status"] == 1
    found = {one["name"]: (one["state"], one["failures"]) for one in made.get("/v1/breakers")["breakers"]}
    assert found == {"curl one.example": ("open", 2), "curl two.example": ("closed", 1)}
    crash(made)
    made.start(**LIMITS)
    until(lambda: made.get(f"/v1/jobs/{waiting}/why")["waits_for"])
    assert made.get(f"/v1/jobs/{waiting}/why")["waits_for"][0]["kind"] == "breaker"
    (tmp_path / "up").touch()
    assert made.http("POST", "/v1/breakers/reset", {"name": "curl three.example"})[0] == 404
    left = made.post("/v1/breakers/reset", {"name": "curl one.example"})["breakers"]
    assert [one["name"] for one in left] == ["curl two.example"]
    assert ended(made, waiting)["status"] == 0
