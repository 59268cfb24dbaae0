"""Where jobs of a kind run is configured; what one asks for goes before that, and the result says what held."""

import json
import os
import subprocess
import sys

import pytest
from tests.daemon.conftest import until
from tests.daemon.test_manager import configure

from cbx_sandbox.placement import text_of

pytestmark = [pytest.mark.root, pytest.mark.vm]

CPUS = sorted(os.sched_getaffinity(0))
TOLD = "grep allowed_list /proc/self/status; nice"
CONFIGURED = f"""
[placement.usual]
nice = 2
[placement.dangerous_isolated]
cpus_allowed = "{CPUS[0]}-{CPUS[0] + 4000}"
[placement.detached]
nice = 4
[placement.low]
nice = 6
cpus_allowed = "{CPUS[-1]}"
"""


def ran(supervisor, *fields, line=TOLD):
    """What the job saw: its CPUs, nodes and nice value; and its result."""
    call = supervisor.run(line, *fields)
    end = call.end()
    assert end["status"] == 0, end
    with open(call.output, "rb") as output:
        words = output.read().decode().split()
    return words[1], words[3], words[4], end["result"]


def test_the_kind_of_a_job_says_where_it_runs(made):
    """The first of its priority, being detached, its tier and usual that says something; an option before all."""
    configure(made, CONFIGURED)
    made.start("--idle-exit", "120")
    every = ran(made)
    assert every[2] == "2"
    assert {"nice", "cpu-weight"} <= set(every[3]["guarantees"]["in_force"])
    cpus, nodes, nice, result = ran(made, ("priority", b"low"), ("mems_allowed", b"0"))
    assert (cpus, nodes, nice) == (str(CPUS[-1]), "0", "6")
    held = [
        name for name in result["guarantees"]["in_force"] if name.startswith(("cpus-allowed-by", "memory-nodes-by"))
    ]
    assert len(held) == 2
    assert ran(made, ("tier", b"DANGEROUS_ISOLATED"))[:3] == (text_of(tuple(CPUS)), "0", "2")
    assert ran(made, ("priority", b"low"), ("nice", b"9"))[2] == "9"
    number = made.run("nice", ("detach", b"1")).job()
    row = until(lambda: (found := made.get(f"/v1/jobs/{number}")).get("status") is not None and found)
    assert row["status"] == 0
    with open(made.paths.log_of(number, 1), "rb") as log:
        assert b"4" in log.read()


def test_over_http_and_in_what_explain_says(supervisor):
    """The same options as elsewhere; what goes before others is root's, who this is."""
    body = {"cwd": "/", "line": TOLD, "cpus_allowed": str(CPUS[-1]), "nice": -1, "cpu_weight": 200, "io_weight": "idle"}
    status, answer = supervisor.http("POST", "/v1/jobs", body)
    assert status == 201, answer
    number = answer["job"]
    row = until(lambda: (found := supervisor.get(f"/v1/jobs/{number}")).get("status") is not None and found)
    assert row["status"] == 0
    assert {"nice", "cpu-weight"} <= set(row["guarantees"]["in_force"])
    with open(supervisor.paths.log_of(number, 1), "rb") as log:
        assert log.read().decode().split()[1::3] == [str(CPUS[-1]), "-1"]
    explain = [
        f"{os.path.dirname(sys.executable)}/cbx-sandbox",
        "explain",
        "--json",
        "--nice",
        "7",
        "--cpus-allowed",
        "0",
    ]
    ran = subprocess.run([*explain, "true"], env=supervisor.environment, capture_output=True, check=False)
    assert json.loads(ran.stdout)["policy"]["placement"] == {"cpus": "0", "nice": 7}, ran


def test_a_place_that_is_not_there_is_refused_and_status_says_what_is(supervisor):
    """Before anything is started; without an option nothing is placed."""
    there = supervisor.get("/v1/status")["places"]
    assert there["by"] in {"cpuset", "seccomp"}
    assert there["cpus"].startswith(str(CPUS[0]))
    end = supervisor.run("true", ("cpus_allowed", b"5000")).end()
    assert end["status"] == 125
    assert f"this host has {there['cpus']}" in end["text"].decode()
    plain = ran(supervisor)
    assert plain[2] == "0"
    assert not {"nice", "cpu-weight"} & set(plain[3]["guarantees"]["in_force"])
