"""A job that writes without end: what is kept of it has a bound, and others are served meanwhile."""

import os
import re

import pytest
from tests.daemon.conftest import until

pytestmark = pytest.mark.root

MIB = 1 << 20
_SEGMENT = re.compile(rb"cbx-log start=(\d+) ")


def written(path):
    """How much of the output the log knows of: where its later segment begins."""
    with open(path, "rb") as log:
        return max((int(start) for start in _SEGMENT.findall(log.read())), default=0)


def test_case_100_a_flood_of_output_is_capped_and_another_job_is_served(made):
    """Beginning and end are kept; neither the log nor the supervisor grows with it."""
    supervisor = made.start("--idle-exit", "120", SANDBOX_OUTPUT_LOG_MB="1")
    number = supervisor.run("echo first; exec yes", ("detach", b"1"), ("tier", b"SAFE_PARALLEL")).job()
    path = made.paths.log_of(number, 1)
    until(lambda: os.path.exists(path) and written(path) > 8 * MIB, 60)
    assert supervisor.run("true").end()["status"] == 0
    assert supervisor.get(f"/v1/jobs/{number}")["state"] == "running"
    before = written(path)
    until(lambda: written(path) > before, 60)
    assert os.path.getsize(path) <= MIB
    with open(f"/proc/{supervisor.process.pid}/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak < 300 << 10
    supervisor.post(f"/v1/jobs/{number}/cancel", {"signal": "KILL"})
    until(lambda: supervisor.get(f"/v1/jobs/{number}").get("status") is not None)
    assert os.path.getsize(path) <= MIB
    with open(path, "rb") as log:
        assert log.read(8) == b"first\ny\n"


def test_output_that_fits_is_kept_whole(made):
    """Byte for byte, up to the same bound."""
    supervisor = made.start("--idle-exit", "120", SANDBOX_OUTPUT_LOG_MB="1")
    number = supervisor.run("head -c 500000 /dev/zero | tr '\\0' y", ("detach", b"1")).job()
    until(lambda: supervisor.get(f"/v1/jobs/{number}").get("status") is not None)
    with open(made.paths.log_of(number, 1), "rb") as log:
        assert log.read() == b"y" * 500_000
