"""Two jobs never write the same files, by whatever names, and everybody gets a turn."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from tests.daemon.conftest import until

pytestmark = pytest.mark.root

CONDITIONAL = ("tier", b"CONDITIONAL_PARALLEL")
SEQUENTIAL = ("tier", b"SEQUENTIAL_REQUIRED")


def rw(path):
    return ("rw", os.fsencode(path))


def cwd(path):
    return ("cwd", os.fsencode(path))


def running(supervisor, job):
    found = supervisor.get(f"/v1/jobs/{job}")
    assert found["state"] in {"queued", "starting", "running"}, found
    return found["state"] == "running"


def hold(supervisor, path, tier=CONDITIONAL):
    """A job that holds the lock on ``path`` until it is cancelled."""
    call = supervisor.run("sleep 60", rw(path), tier, cwd(path))
    job = call.job()
    until(lambda: running(supervisor, job))
    return call, job


@pytest.mark.parametrize("tier", [CONDITIONAL, SEQUENTIAL])
def test_two_writers_of_one_directory_run_one_after_the_other(supervisor, project, tier):
    """Neither sees the other half done."""
    line = f"cat {project}/log 2>/dev/null; echo in >> {project}/log; sleep 0.4; echo out >> {project}/log"
    calls = [supervisor.run(line, rw(project), tier, cwd(project)) for _ in range(2)]
    assert [call.end()["status"] for call in calls] == [0, 0]
    assert (project / "log").read_text().split() == ["in", "out", "in", "out"]


def test_writers_of_different_directories_run_together(supervisor, tmp_path):
    """Locks are no global queue."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    hold(supervisor, tmp_path / "a")
    call = supervisor.run("true", rw(tmp_path / "b"), CONDITIONAL, cwd(tmp_path / "b"))
    assert call.end()["status"] == 0


def test_a_parent_and_a_child_conflict(supervisor, project):
    """A lock covers what is below."""
    (project / "below").mkdir()
    _, job = hold(supervisor, project)
    call = supervisor.run("true", rw(project / "below"), CONDITIONAL, ("lock_timeout", b"0.3"), cwd(project / "below"))
    last = call.end()
    assert (last["kind"], last["status"]) == (b"error", 75)
    assert f"job {job} holds X on" in last["text"].decode()


def test_two_names_of_one_directory_conflict(supervisor, tmp_path):
    """A bind mount is another name, not another directory."""
    real, alias = tmp_path / "real", tmp_path / "alias"
    real.mkdir()
    alias.mkdir()
    subprocess.run(["mount", "--bind", real, alias], check=True)
    try:
        call, job = hold(supervisor, real)
        blocked = supervisor.run("true", rw(alias), CONDITIONAL, ("lock_timeout", b"0.3"), cwd(alias))
        assert f"job {job} holds" in blocked.end()["text"].decode()
        call.send(("kind", b"kill"))
        call.end()
        free = supervisor.run("true", rw(alias), CONDITIONAL, ("lock_timeout", b"5"), cwd(alias))
        assert free.end()["status"] == 0
    finally:
        subprocess.run(["umount", alias], check=True)


@pytest.mark.parametrize("how", ["exit 1", "kill -9 $$", "/nonexistent/program", "sleep 60"])
def test_locks_are_free_after_every_end(supervisor, project, how):
    """Exit, signal, failed start, time limit."""
    first = supervisor.run(how, rw(project), CONDITIONAL, ("timeout", b"0.5"), ("kill_after", b"0.1"), cwd(project))
    first.end()
    second = supervisor.run("true", rw(project), CONDITIONAL, ("lock_timeout", b"0"), cwd(project))
    assert second.end()["status"] == 0


def test_a_waiting_job_is_told_who_holds_what(made, project):
    """After a while, and again."""
    supervisor = made.start(TIMEOUTS_LOCK_ACQUISITION_TIMEOUT_SECONDS="0.3")
    _, job = hold(supervisor, project)
    call = supervisor.run("true", rw(project), CONDITIONAL, cwd(project))
    assert f"job {job} holds X on" in call.next("waiting")["text"].decode()
    assert f"job {job} holds X on" in call.next("waiting")["text"].decode()


def test_a_caller_that_hangs_up_leaves_the_queue(supervisor, project):
    """Its turn goes to the next."""
    holder, _ = hold(supervisor, project)
    gone = supervisor.run(f"touch {project}/gone", rw(project), CONDITIONAL, cwd(project))
    job = gone.job()
    gone.close()
    until(lambda: supervisor.get(f"/v1/jobs/{job}")["state"] == "cancelled")
    waiting = supervisor.run(f"touch {project}/here", rw(project), CONDITIONAL, cwd(project))
    waiting.job()
    holder.send(("kind", b"kill"))
    assert waiting.end()["status"] == 0
    assert sorted(os.listdir(project)) == [".git", "here"]


def test_a_waiting_job_can_be_cancelled(supervisor, project):
    """By a signal of its caller's, or over HTTP."""
    hold(supervisor, project)
    for cancel in (
        lambda call, _job: call.send(("kind", b"signal"), ("name", b"INT")),
        lambda _call, job: supervisor.http("POST", f"/v1/jobs/{job}/cancel", {"signal": "TERM"}),
    ):
        call = supervisor.run("true", rw(project), CONDITIONAL, cwd(project))
        cancel(call, call.job())
        last = call.end()
        assert (last["status"], last["result"]["state"]) == (75, "cancelled")


def test_a_symlink_swapped_while_queued_is_not_followed(supervisor, tmp_path):
    """The directory that was locked is gone from its path: planned anew, and what the path now means is written."""
    project, victim = tmp_path / "project", tmp_path / "victim"
    project.mkdir()
    victim.mkdir()
    holder, _ = hold(supervisor, project)
    call = supervisor.run("echo x > written", rw(project), CONDITIONAL, cwd(project))
    job = call.job()
    project.rename(tmp_path / "moved")
    project.symlink_to(victim)
    # Control: the swap is real.
    assert os.path.samefile(project, victim)
    victim_holder = supervisor.run("sleep 1; ls", rw(victim), CONDITIONAL, cwd(victim))
    victim_job = victim_holder.job()
    until(lambda: running(supervisor, victim_job))
    holder.send(("kind", b"kill"))
    last = call.end()
    assert not (tmp_path / "moved/written").exists()
    # Either it was refused, or it ran on the victim under the victim's own lock, after its holder.
    if (victim / "written").exists():
        first, second = (supervisor.get(f"/v1/jobs/{number}") for number in (victim_job, job))
        assert first["ended"] <= second["started"]
    else:
        assert last["status"] != 0


def test_a_directory_renamed_while_queued_is_planned_anew(supervisor, tmp_path):
    """The new directory of that name is the one that is written."""
    project = tmp_path / "project"
    project.mkdir()
    holder, _ = hold(supervisor, project)
    call = supervisor.run("echo x > written", rw(project), CONDITIONAL, cwd(project))
    call.job()
    project.rename(tmp_path / "moved")
    project.mkdir()
    holder.send(("kind", b"kill"))
    assert call.end()["status"] == 0
    assert os.listdir(project) == ["written"]
    assert os.listdir(tmp_path / "moved") == []


def test_a_file_with_a_name_elsewhere_is_not_written_in_place(supervisor, tmp_path):
    """The job is planned again, with an overlay; control: without the link it writes directly."""
    project, outside = tmp_path / "project", tmp_path / "outside"
    (project / ".git").mkdir(parents=True)
    outside.mkdir()
    (project / "file").write_text("old")

    def tier():
        line = f"python3 -m compileall -q {project}"
        return supervisor.run(line, cwd(project)).end()["result"]

    control = tier()
    assert control["tier"] == "CONDITIONAL_PARALLEL"
    os.link(project / "file", outside / "file")
    result = tier()
    assert result["tier"] == "SEQUENTIAL_REQUIRED"
    assert "links" in [reason["code"] for reason in result["reasons"]]


def test_a_commit_does_not_wait_for_the_queue(supervisor, project):
    """A job that ends commits before those that wait for its locks."""
    first = supervisor.run(f"sleep 0.3; echo 1 >> {project}/f", SEQUENTIAL, cwd(project), rw(project))
    first.job()
    second = supervisor.run(f"cat {project}/f; echo 2 >> {project}/f", SEQUENTIAL, cwd(project), rw(project))
    assert first.end()["result"]["checkpoint"]["state"] == "committed"
    assert second.end()["result"]["checkpoint"]["state"] == "committed"
    assert (project / "f").read_text() == "1\n2\n"


def test_thirty_at_a_time(supervisor, tmp_path):
    """And the thirty-first when one is done."""
    calls = [supervisor.run("sleep 0.5") for _ in range(35)]
    peak = 0
    end = time.monotonic() + 20
    while supervisor.get("/v1/status")["jobs"] != {"running": 0, "waiting": 0} and time.monotonic() < end:
        peak = max(peak, supervisor.get("/v1/status")["jobs"]["running"])
    assert [call.end()["status"] for call in calls] == [0] * 35
    assert peak <= 30
