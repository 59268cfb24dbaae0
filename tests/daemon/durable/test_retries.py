"""Jobs that are tried again: what is, how often, what is kept of each try; supervisors killed meanwhile."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import sqlite3

import pytest
from tests.daemon.conftest import until
from tests.daemon.durable.conftest import crash, detached, ended, processes, state

pytestmark = pytest.mark.root

SOON = {"RETRIES_BASE_SECONDS": "0.02", "RETRIES_CAP_SECONDS": "0.05"}
LATE = {"RETRIES_BASE_SECONDS": "100000", "RETRIES_CAP_SECONDS": "100000"}


def tries(supervisor, job):
    return supervisor.get(f"/v1/jobs/{job}")["attempts"]


def test_a_job_is_tried_again_until_it_succeeds(made, tmp_path):
    """Each attempt is kept with its reason and its output; who follows the output gets all of it."""
    made.start(**SOON)
    line = f"echo trying; test -e {tmp_path}/go"
    job = detached(made, line, ("retries", b"100")).job()
    until(lambda: len(tries(made, job)) > 2)
    (tmp_path / "go").touch()
    result = ended(made, job)
    assert (result["state"], result["status"]) == ("exited", 0)
    *failed, last = result["attempts"]
    assert [one["attempt"] for one in result["attempts"]] == list(range(1, len(failed) + 2))
    assert {(one["state"], one["status"], one["again"]) for one in failed} == {("exited", 1, "exit status 1")}
    assert (last["status"], last["again"]) == (0, None)
    assert all(made.get(f"/v1/jobs/{job}/log?attempt={one['attempt']}") == b"trying\n" for one in result["attempts"])
    assert made.get(f"/v1/jobs/{job}/log") == b"trying\n"
    shown = made.get(f"/v1/jobs/{job}/log?follow=1&attempt=1")
    assert shown == b"trying\n"


def test_retries_are_counted_and_not_more(made):
    """Unasked only what says that it failed for now; none if the submitter wants none."""
    made.start(**SOON)
    counts = {}
    for line, wanted in (("exit 1", b"2"), ("exit 75", None), ("exit 75", b"0"), ("exit 1", None)):
        job = detached(made, line, *([] if wanted is None else [("retries", wanted)])).job()
        ended(made, job)
        counts[line, wanted] = len(tries(made, job))
    assert counts == {("exit 1", b"2"): 3, ("exit 75", None): 4, ("exit 75", b"0"): 1, ("exit 1", None): 1}


def test_a_job_between_two_attempts_counts_as_one_that_waits(made, tmp_path):
    """While it runs it does not, also after its supervisor died; when all are over there are none of either."""
    made.start(**LATE)
    line = f"test -e {tmp_path}/go || {{ sleep 600; exit 1; }}"
    job, running = (detached(made, line, ("retries", b"1")).job() for _ in range(2))
    until(lambda: counts(made) == {"running": 2, "waiting": 0})
    crash(made)
    made.start(**LATE)
    until(lambda: counts(made) == {"running": 2, "waiting": 0})
    (tmp_path / "go").touch()
    made.post(f"/v1/jobs/{job}/kill", {"signal": "USR1"})
    until(lambda: counts(made) == {"running": 1, "waiting": 1})
    assert made.get(f"/v1/jobs/{job}")["state"] == "queued"
    for number in (job, running):
        made.post(f"/v1/jobs/{number}/cancel")
        ended(made, number)
    until(lambda: counts(made) == {"running": 0, "waiting": 0})


def counts(supervisor):
    return supervisor.get("/v1/status")["jobs"]


def test_what_writes_in_place_is_never_tried_again(made, counted):
    """However much it is wanted; over an overlay it is, since nothing of the attempt is left."""
    made.start(**SOON)
    line = f"echo x >> {counted}/mark; exit 75"
    wanted = (("retries", b"3"), ("cwd", os.fsencode(counted)))
    in_place = detached(made, line, *wanted, ("tier", b"conditional")).job()
    result = ended(made, in_place)
    assert result["tier"] == "CONDITIONAL_PARALLEL"
    assert len(result["attempts"]) == 1
    assert (counted / "mark").read_text() == "x\n"
    layered = detached(made, line, *wanted, ("tier", b"sequential")).job()
    result = ended(made, layered)
    assert [one["tier"] for one in result["attempts"]] == ["SEQUENTIAL_REQUIRED"] * 4
    assert (counted / "mark").read_text() == "x\n"


def test_what_somebody_ends_is_not_tried_again(made):
    """Neither while it runs nor while it waits for its next attempt."""
    made.start(**LATE)
    running = detached(made, "sleep 600", ("retries", b"5")).job()
    waiting = detached(made, "exit 1", ("retries", b"5")).job()
    until(lambda: state(made, running) == "running")
    until(lambda: tries(made, waiting) and tries(made, waiting)[0]["again"])
    (reason,) = made.get(f"/v1/jobs/{waiting}/why")["waits_for"]
    assert reason["kind"] == "retry"
    for job, signalled in ((running, "kill"), (waiting, "cancel")):
        made.post(f"/v1/jobs/{job}/{signalled}", {"signal": "TERM"})
        assert len(ended(made, job)["attempts"]) == 1
    assert made.get(f"/v1/jobs/{waiting}")["state"] == "cancelled"


def test_a_pause_between_two_attempts_can_be_taken_back(made, tmp_path):
    """Who has its disk wait has it stand between the two: by then it was paused, and there it is resumed."""
    made.start(**SOON)
    line = f"test -e {tmp_path}/go || exec sleep 600"
    jobs = [detached(made, line, ("retries", b"1")).job() for _ in range(2)]
    resumed, control = jobs
    until(lambda: len(processes(made, "sleep")) == 2)
    for job in jobs:
        assert made.post(f"/v1/jobs/{job}/pause")["changed"]
    (tmp_path / "go").touch()
    with contextlib.closing(sqlite3.connect(made.paths.database, isolation_level=None, timeout=60)) as disk:
        disk.execute("BEGIN IMMEDIATE")
        for pid in processes(made, "sleep"):
            os.kill(pid, signal.SIGKILL)
        until(lambda: {state(made, job) for job in jobs} == {"queued"})
        assert {kinds(made, job) for job in jobs} == {"resume"}
        with concurrent.futures.ThreadPoolExecutor() as threads:
            answer = threads.submit(made.post, f"/v1/jobs/{resumed}/resume")
            until(lambda: kinds(made, resumed) != "resume")
            disk.execute("ROLLBACK")
            assert answer.result()["changed"]
    assert ended(made, resumed)["status"] == 0
    until(lambda: tries(made, control))
    assert kinds(made, control) == "resume"
    made.post(f"/v1/jobs/{control}/resume")
    assert ended(made, control)["status"] == 0


def kinds(supervisor, job):
    """What keeps a job."""
    return " ".join(why["kind"] for why in supervisor.get(f"/v1/jobs/{job}/why")["waits_for"])


def test_a_retry_survives_the_death_of_its_supervisor(made, tmp_path):
    """While it waits, and while an attempt runs: the next supervisor goes on counting."""
    made.start(**LATE)
    waiting = detached(made, f"test -e {tmp_path}/go", ("retries", b"100")).job()
    until(lambda: tries(made, waiting) and tries(made, waiting)[0]["again"])
    crash(made)
    made.start(**SOON)
    until(lambda: len(tries(made, waiting)) > 1)
    (tmp_path / "go").touch()
    assert ended(made, waiting)["status"] == 0
    wait = f"echo waiting; until [ -e {tmp_path}/end ]; do sleep 0.05; done"
    line = f"test -e {tmp_path}/stop && exit 0; test -e {tmp_path}/second || exit 1; {wait}; exit 1"
    running = detached(made, line, ("retries", b"100")).job()
    until(lambda: len(tries(made, running)) > 1)
    (tmp_path / "second").touch()
    until(lambda: b"waiting" in made.get(f"/v1/jobs/{running}/log"))  # it is past what it asks first
    before = len(tries(made, running))
    crash(made)
    (tmp_path / "stop").touch()
    (tmp_path / "end").touch()
    made.start(**SOON)
    result = ended(made, running)
    assert result["status"] == 0
    assert len(result["attempts"]) == before + 1
    assert result["attempts"][before - 1]["again"] == "exit status 1"


def test_a_stopped_supervisor_leaves_the_next_attempt_to_the_next(made, tmp_path):
    """In order, not killed."""
    made.start(**LATE)
    job = detached(made, f"test -e {tmp_path}/go", ("retries", b"9")).job()
    until(lambda: tries(made, job) and tries(made, job)[0]["again"])
    assert made.stop(signal.SIGTERM) == 0
    (tmp_path / "go").touch()
    made.start(**SOON)
    assert ended(made, job)["status"] == 0


def test_a_storm_of_retries_is_stopped(made):
    """Many jobs of one program that fail together are tried again a few at once; those of another one are, too."""
    made.start(**SOON, RETRIES_PROGRAM_BURST="3", RETRIES_PROGRAM_SECONDS="100000")
    stormy = [detached(made, "python3 -c 'raise SystemExit(75)'").job() for _ in range(5)]

    def waits_longer(job):
        return state(made, job) == "queued" and [one["kind"] for one in made.get(f"/v1/jobs/{job}/why")["waits_for"]]

    until(lambda: all(state(made, job) == "exited" or waits_longer(job) == ["retry"] for job in stormy))
    until(lambda: sum(len(tries(made, job)) for job in stormy) == len(stormy) + 3)
    control = detached(made, "exit 75").job()
    assert len(ended(made, control)["attempts"]) == 4
    assert sum(len(tries(made, job)) for job in stormy) == len(stormy) + 3


def test_a_program_that_says_that_it_has_not_begun_is_tried_again(made):
    """Also with a network, where nothing else is unasked; which statuses say so is configured."""
    made.start(**SOON)
    refused = detached(made, "curl -s http://127.0.0.1:9/", ("network", b"host")).job()
    result = ended(made, refused)
    assert (result["status"], len(result["attempts"])) == (7, 4), result
    unknown = detached(made, "curl -s nonsense://x/", ("network", b"host")).job()
    result = ended(made, unknown)
    assert (result["status"], len(result["attempts"])) == (1, 1), result
