"""Slots, order and dependencies, through a real supervisor."""

from __future__ import annotations

import os
import time

import pytest
from tests.daemon.conftest import until

pytestmark = pytest.mark.root

TIERS = {"safe_parallel": "SAFE_PARALLEL", "dangerous_isolated": "DANGEROUS_ISOLATED"}


def tier(name):
    return ("tier", name.encode())


def running(supervisor):
    return [pool["running"] for pool in supervisor.get("/v1/pools")["pools"]]


def test_each_tier_runs_as_many_as_it_has_slots(made):
    """Others wait, and say for what; a slot that is free is given away at once."""
    supervisor = made.start("--idle-exit", "120", INSTANCES_DANGEROUS_ISOLATED_MAX="1", INSTANCES_SAFE_PARALLEL_MAX="2")
    first = supervisor.run("sleep 60", tier("DANGEROUS_ISOLATED"))
    first.job()
    second = supervisor.run("true", tier("DANGEROUS_ISOLATED"))
    job = second.job()
    (why,) = supervisor.get(f"/v1/jobs/{job}/why")["waits_for"]
    assert (why["kind"], why["text"]) == ("slot", "1 jobs of DANGEROUS_ISOLATED are running, the limit is 1")
    assert supervisor.run("true").end()["status"] == 0  # another tier's slots are its own
    assert supervisor.get("/v1/pools")["pools"][3] == {
        "tier": "DANGEROUS_ISOLATED", "running": 1, "slots": 1, "waiting": 1,
    }  # fmt: skip
    first.send(("kind", b"kill"))
    assert second.end()["status"] == 0
    assert supervisor.get(f"/v1/jobs/{job}/why")["waits_for"] == []


def test_all_tiers_together_have_their_limit(made):
    """A job may have to wait although its tier has a slot."""
    supervisor = made.start("--idle-exit", "120", INSTANCES_TOTAL_CAPACITY_MAX="1")
    first = supervisor.run("sleep 60")
    first.job()
    second = supervisor.run("true")
    (why,) = supervisor.get(f"/v1/jobs/{second.job()}/why")["waits_for"]
    assert why["text"] == "1 jobs in all are running, the limit is 1"
    first.send(("kind", b"kill"))
    assert second.end()["status"] == 0


def test_starts_can_be_limited_in_rate(made):
    """Three starts at two a second take a second; the control takes no part of one."""
    supervisor = made.start("--idle-exit", "120", INSTANCES_INSTANCE_SPAWN_RATE="2")
    began = time.monotonic()
    for call in [supervisor.run("true") for _ in range(3)]:
        assert call.end()["status"] == 0
    assert time.monotonic() - began >= 1.0  # never faster than allowed, however fast the host


def test_critical_jobs_go_first_and_deferred_ones_last(made, tmp_path):
    """The order in which they run, one at a time."""
    supervisor = made.start("--idle-exit", "120", INSTANCES_TOTAL_CAPACITY_MAX="1")
    log = tmp_path / "log"
    log.write_text("")
    holder = supervisor.run("sleep 60")
    holder.job()
    calls = []
    for importance in ("deferred", "normal", "critical"):
        call = supervisor.run(
            f"echo {importance} >> {log}", ("priority", importance.encode()), ("cwd", os.fsencode(tmp_path))
        )
        call.job()
        calls.append(call)
    holder.send(("kind", b"kill"))
    assert [call.end()["status"] for call in calls] == [0, 0, 0]
    assert log.read_text().split() == ["critical", "normal", "deferred"]


def test_a_job_comes_after_those_that_it_names(supervisor):
    """It waits for them, starts when they have succeeded, and is not started when one has not."""
    first = supervisor.run("sleep 60")
    number = str(first.job()).encode()
    after = supervisor.run("true", ("after", number))
    (why,) = supervisor.get(f"/v1/jobs/{after.job()}/why")["waits_for"]
    assert (why["kind"], why["text"]) == ("jobs", f"it comes after job {number.decode()}")
    first.send(("kind", b"kill"))
    last = after.end()
    assert (last["kind"], last["status"]) == (b"error", 75)
    assert f"to come after job {number.decode()}, which did not succeed" in last["text"].decode()
    assert supervisor.run("true", ("after", number)).end()["status"] == 75
    good = str(supervisor.run("true").end()["result"]["job"]).encode()
    assert supervisor.run("true", ("after", good)).end()["status"] == 0


def test_nobody_comes_after_a_job_that_does_not_exist(supervisor):
    """A slip of the pen must not wait for ever."""
    last = supervisor.run("true", ("after", b"4711")).end()
    assert (last["kind"], last["status"]) == (b"error", 125)
    assert "no job 4711" in last["text"].decode()


def test_the_locks_are_listed_with_their_holders(supervisor, project):
    """And nothing is left when the job is over."""
    path = os.fsencode(project)
    call = supervisor.run("sleep 60", ("rw", path), tier("CONDITIONAL_PARALLEL"), ("cwd", path))
    job = call.job()
    (lock,) = supervisor.get("/v1/locks")["locks"]
    assert (lock["owner"], lock["mode"]) == (job, "X")
    assert str(project).endswith(lock["path"]) or lock["path"].endswith(str(project))
    call.send(("kind", b"kill"))
    call.end()
    until(lambda: supervisor.get("/v1/locks")["locks"] == [])
    assert sum(running(supervisor)) == 0
