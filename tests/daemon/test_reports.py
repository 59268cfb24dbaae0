"""The report on operations, through a real supervisor."""

from __future__ import annotations

import time
import urllib.parse

import pytest
from tests.daemon.conftest import until

pytestmark = pytest.mark.root


def test_operations_tell_ends_waits_and_times(made, tmp_path):
    """A job that had to wait for a slot has waited; a failure and a time limit are no failures of cbx's own."""
    supervisor = made.start("--idle-exit", "120", INSTANCES_SAFE_PARALLEL_MAX="1")
    first = supervisor.run(f"until [ -e {tmp_path}/go ]; do sleep 0.1; done")
    first_number = first.job()
    until(lambda: supervisor.get(f"/v1/jobs/{first_number}")["state"] == "running")
    second = supervisor.run("exit 3")
    second_number = second.job()
    until(lambda: supervisor.get(f"/v1/jobs/{second_number}")["state"] == "queued")
    time.sleep(0.3)  # so long the second waits, at least, and the first runs
    (tmp_path / "go").touch()
    assert first.end()["status"] == 0
    assert second.end()["status"] == 3
    assert supervisor.run("sleep 60", ("timeout", b"0.1")).end()["status"] == 124
    report = supervisor.get("/v1/reports/operations")
    assert report["own_failures"] == {"jobs": 0, "share": 0.0}
    assert set(report["tiers"]) == {"all", "SAFE_PARALLEL"}
    found = report["tiers"]["SAFE_PARALLEL"]
    assert (found["jobs"], found["succeeded"]) == (3, 1)
    assert found["ends"] == {"exited": 2, "timeout": 1}
    assert found["waited"]["count"] == 3
    assert found["waited"]["longest"] >= 0.1  # the second, behind the first
    assert found["ran"]["longest"] >= 0.3


def test_operations_since_then(made):
    """Only what ended since; a time that is none is refused."""
    supervisor = made.start("--idle-exit", "120")
    assert supervisor.run("true").end()["status"] == 0
    assert supervisor.get("/v1/reports/operations")["jobs"] == 1  # its end is written down by now
    then = urllib.parse.quote(f"{time.time():.6f}")
    assert supervisor.get(f"/v1/reports/operations?since={then}")["jobs"] == 0
    assert supervisor.run("true").end()["status"] == 0
    assert supervisor.get(f"/v1/reports/operations?since={then}")["jobs"] == 1
    assert supervisor.get("/v1/reports/operations")["jobs"] == 2
