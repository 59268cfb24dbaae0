"""Jobs that wait on disk, through a real supervisor that keeps none that waits in memory."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import shutil

import pytest
from tests.daemon.conftest import until

pytestmark = pytest.mark.root

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "NAME": "value"}


@pytest.fixture
def parking(made):
    """No job is started until the queue goes on, and none that waits stays in memory."""
    return paused(made, "0")


def paused(made, in_memory):
    supervisor = made.start("--idle-exit", "120", SCHEDULING_WAITING_IN_MEMORY_MAX=in_memory)
    supervisor.post("/v1/queue", {"paused": True})
    return supervisor


def submit(supervisor, line, directory, **body):
    """The job's number, when the engine knows it."""
    status, answer = supervisor.http(
        "POST", "/v1/jobs", {"cwd": str(directory), "line": line, "env": ENVIRONMENT, **body}
    )
    assert status in {200, 201}, answer
    until(lambda: supervisor.get(f"/v1/jobs/{answer['job']}/why")["waits_for"])
    return answer["job"]


def go_on(supervisor):
    supervisor.post("/v1/queue", {"paused": False})


def ended(supervisor, job):
    return supervisor.get(f"/v1/jobs/{job}/wait?timeout=60")


def held_open(supervisor, directory):
    """How many descriptors of a directory the supervisor has."""
    found, fds = 0, f"/proc/{supervisor.process.pid}/fd"
    for fd in os.listdir(fds):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"{fds}/{fd}") == str(directory)
    return found


@pytest.mark.parametrize("in_memory", ["0", "1000"])
def test_only_what_waits_in_memory_holds_descriptors(made, project, in_memory):
    """Both run in the end, one after the other, with what was asked for; without the limit they are the control."""
    supervisor = paused(made, in_memory)
    jobs = [submit(supervisor, f"echo $NAME {number} >> out", project) for number in (1, 2)]
    until(lambda: (held_open(supervisor, project) > 0) is (in_memory != "0"))
    go_on(supervisor)
    assert [ended(supervisor, job)["status"] for job in jobs] == [0, 0]
    assert (project / "out").read_text() == "value 1\nvalue 2\n"
    until(lambda: held_open(supervisor, project) == 0)


def test_a_parked_job_is_steered_as_any_other(parking, tmp_path):
    """Shown, paused, cancelled, put elsewhere; its key is taken; who comes after one that is withdrawn is refused."""
    asked = {"idempotency_key": "one"}
    first = submit(parking, "exit 3", tmp_path, **asked)
    again = parking.http("POST", "/v1/jobs", {"cwd": str(tmp_path), "line": "exit 3", "env": ENVIRONMENT, **asked})[1]
    assert (again["job"], again["duplicate"]) == (first, True)
    kept, withdrawn = submit(parking, "exit 4", tmp_path), submit(parking, "exit 5", tmp_path)
    after = submit(parking, "exit 6", tmp_path, after=[withdrawn])
    assert parking.post(f"/v1/jobs/{kept}/pause")["changed"]
    assert parking.post(f"/v1/jobs/{first}/priority", {"priority": "high"})["changed"]
    assert parking.post(f"/v1/jobs/{withdrawn}/cancel")["cancelled"]
    assert [ended(parking, job)["state"] for job in (withdrawn, after)] == ["cancelled", "not-started"]
    assert parking.get("/v1/status")["jobs"] == {"running": 0, "waiting": 2}
    assert {job["state"] for job in parking.get("/v1/jobs?state=queued")["jobs"]} == {"queued"}
    go_on(parking)
    assert ended(parking, first)["status"] == 3
    assert parking.get(f"/v1/jobs/{kept}")["state"] == "queued"
    parking.post(f"/v1/jobs/{kept}/resume")
    assert ended(parking, kept)["status"] == 4


def batch(supervisor, lines):
    """The numbers of many jobs."""
    jobs = [{"line": line, "cwd": "/", "env": ENVIRONMENT} for line in lines]
    status, answer = supervisor.http("POST", "/v1/batches", {"jobs": jobs})
    assert status == 201, answer
    return [job["job"] for job in answer["jobs"]]


def test_those_of_an_earlier_supervisor_are_taken_up_while_more_come(parking):
    """More than are taken up at once; all are in one line, so the new ones have their places last."""
    kept = batch(parking, [f"true {number}" for number in range(500)])
    until(lambda: parking.get("/v1/queue")["waiting"] == len(kept))
    parking.stop()
    parking.start("--idle-exit", "120", SCHEDULING_WAITING_IN_MEMORY_MAX="0")
    new = batch(parking, [f"true new {number}" for number in range(100)])
    until(lambda: parking.get("/v1/queue")["waiting"] == len(kept) + len(new))


def test_what_cannot_be_read_just_now_is_read_again(parking, tmp_path):
    """A directory in the place of a file stands for a disk that fails; who comes after that job waits, too."""
    asked = submit(parking, "true --password=hunter2secretvalue", "/")
    after = submit(parking, "exit 7", "/", after=[asked])
    file = f"{parking.paths.secrets}/{asked}"
    parking.stop()
    kept = shutil.move(file, tmp_path / "kept")
    os.mkdir(file)
    parking.start("--idle-exit", "120", SCHEDULING_WAITING_IN_MEMORY_MAX="0")
    until(lambda: "will try again" in parking.log.read_text())
    os.rmdir(file)
    shutil.move(kept, file)
    go_on(parking)
    assert [ended(parking, job)["status"] for job in (asked, after)] == [0, 7]


def test_a_priority_that_is_said_while_a_job_is_read_counts(made):
    """A pipe in the place of a file stands for a slow disk. The one that came first, the control, starts last."""
    settings = {"SCHEDULING_WAITING_IN_MEMORY_MAX": "0", "INSTANCES_TOTAL_CAPACITY_MAX": "1"}
    made.start("--idle-exit", "120", **settings)
    made.post("/v1/queue", {"paused": True})
    first, urgent = (submit(made, "true --password=hunter2secretvalue", "/") for _ in range(2))
    made.stop()
    file = f"{made.paths.secrets}/{urgent}"
    with open(file, "rb") as kept:
        text = kept.read()
    os.unlink(file)
    os.mkfifo(file)
    made.start("--idle-exit", "120", **settings)
    # It opens once somebody reads, and what the database says was read before that.
    pipe = until(lambda: opened(file))
    made.post(f"/v1/jobs/{urgent}/priority", {"priority": "high"})
    with open(f"{file}.new", "wb") as kept:
        kept.write(text)
    os.rename(kept.name, file)  # it is parked again, and read once more
    os.set_blocking(pipe, True)
    with open(pipe, "wb") as writer:
        writer.write(text)
    until(lambda: made.get("/v1/queue")["waiting"] == 2)
    go_on(made)
    results = [ended(made, job) for job in (first, urgent)]
    assert [result["status"] for result in results] == [0, 0]
    assert results[1]["started"] < results[0]["started"]


def opened(pipe):
    """The end to write to, if somebody reads."""
    with contextlib.suppress(OSError):
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    return None


def test_a_job_that_is_cancelled_on_its_way_to_be_parked_is_cancelled(parking):
    """Wherever it is then: that of a batch is on disk long before it is known what it does."""
    job = {"line": "; ".join(f"cat {number}" for number in range(5000)), "cwd": "/", "env": ENVIRONMENT}
    with concurrent.futures.ThreadPoolExecutor(1) as client:
        answer = client.submit(parking.http, "POST", "/v1/batches", {"jobs": [job]})
        (listed,) = until(lambda: parking.get("/v1/jobs")["jobs"])
        assert parking.post(f"/v1/jobs/{listed['job']}/cancel")["cancelled"]
        assert answer.result()[0] == 201
    assert ended(parking, listed["job"])["state"] == "cancelled"


def test_who_sends_more_waits_for_those_that_have_no_place_yet(made):
    """They are in memory as a whole, also if they are planned and only wait for an earlier one that is not."""
    supervisor = made.start("--idle-exit", "120", TIMEOUTS_FILE_SYSTEM_SECONDS="300")
    supervisor.post("/v1/queue", {"paused": True})
    large = ["cat", *(f"directory/of/{number}" for number in range(60_000))]  # to be looked at, one by one
    answers = []
    for commands in ([large, *[["true"]] * 300], [["true"]] * 300, [["true"]]):
        jobs = [{"argv": command, "cwd": "/", "env": ENVIRONMENT} for command in commands]
        status, answer = supervisor.http("POST", "/v1/batches", {"jobs": jobs})
        assert status == 201, answer
        answers.append(answer["jobs"])
    assert supervisor.get(f"/v1/jobs/{answers[0][0]['job']}/why")["waits_for"]


def test_a_parked_job_is_planned_by_what_is_there_when_it_is_started(parking, tmp_path):
    """A link leads elsewhere meanwhile: it gets no lock of where it led, waits for the other one, and writes there."""
    for name in ("old", "new"):
        (tmp_path / name / ".git").mkdir(parents=True)
    (tmp_path / "current").symlink_to("old")
    job = submit(parking, "echo written > current/out", tmp_path)
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("new")
    held = parking.run(f"echo first > {tmp_path}/new/out; sleep 60", ("tier", b"SEQUENTIAL_REQUIRED"))
    holder = held.job()
    go_on(parking)
    until(lambda: parking.get(f"/v1/jobs/{holder}")["state"] == "running")
    until(lambda: [why["kind"] for why in parking.get(f"/v1/jobs/{job}/why")["waits_for"]] == ["locks"])
    held.send(("kind", b"kill"))
    assert held.end()["status"] != 0
    assert ended(parking, job)["status"] == 0
    assert (tmp_path / "new/out").read_text() == "written\n"
    assert not (tmp_path / "old/out").exists()


def test_the_next_supervisor_has_the_parked_jobs(parking, tmp_path):
    """Killed or not: they are on disk as all that wait."""
    jobs = [submit(parking, f"exit {number}", tmp_path) for number in (1, 2, 3)]
    parking.stop(9)
    parking.start("--idle-exit", "120", SCHEDULING_WAITING_IN_MEMORY_MAX="0")
    go_on(parking)
    assert [ended(parking, job)["status"] for job in jobs] == [1, 2, 3]


def test_many_that_were_left_waiting_are_taken_up_while_others_are_served(parking, tmp_path):
    """More than at once: whoever asks is answered meanwhile, and what is ordered holds, wherever a job is then."""
    wanted = [{"line": f"exit {number % 3}", "cwd": str(tmp_path), "env": ENVIRONMENT} for number in range(200)]
    status, answer = parking.http("POST", "/v1/batches", {"jobs": wanted})
    assert status == 201, answer
    first, *others, withdrawn, paused = [job["job"] for job in answer["jobs"]]
    parking.stop(9)
    parking.start("--idle-exit", "120", SCHEDULING_WAITING_IN_MEMORY_MAX="0")
    assert parking.post(f"/v1/jobs/{withdrawn}/cancel")["cancelled"]
    assert parking.post(f"/v1/jobs/{paused}/pause")["changed"]
    assert ended(parking, withdrawn)["state"] == "cancelled"
    until(lambda: parking.get("/v1/queue")["waiting"] == len(wanted) - 1)
    for job in others:
        assert parking.post(f"/v1/jobs/{job}/cancel")["cancelled"]
    go_on(parking)
    assert ended(parking, first)["status"] == 0
    assert [why["kind"] for why in parking.get(f"/v1/jobs/{paused}/why")["waits_for"]] == ["resume"]
    parking.post(f"/v1/jobs/{paused}/resume")
    assert ended(parking, paused)["status"] == 199 % 3
