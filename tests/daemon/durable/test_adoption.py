"""The supervisor is killed, its jobs are not: the next one goes on with them as if nothing had been."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.daemon.conftest import until
from tests.daemon.durable.conftest import crash, detached, ended, launcher, processes, state

pytestmark = pytest.mark.root


def test_a_running_job_goes_on_and_is_ended_by_the_next_supervisor(supervisor, tmp_path):
    """The same process, and its own exit status."""
    call = supervisor.run(f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; exit 7")
    job = call.job()
    [pid] = until(lambda: processes(supervisor, "bash"))
    crash(supervisor)
    supervisor.start()
    assert state(supervisor, job) == "running"
    assert processes(supervisor, "bash") == [pid]
    (tmp_path / "go").touch()
    found = ended(supervisor, job)
    assert (found["state"], found["status"], found["exit_code"]) == ("exited", 7, 7)
    assert found["usage"]["wall_seconds"] > 0


def test_one_whose_init_is_stopped_is_ended_by_the_next_supervisor(supervisor, project):
    """As a job among the host's processes can do: init hears the order once it is let go on."""
    job = supervisor.run("exec sleep 600", ("cwd", os.fsencode(project)), ("host_effects", b"process")).job()
    [pid] = until(lambda: processes(supervisor, "sleep"))
    crash(supervisor)
    supervisor.start()
    init = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(init, signal.SIGSTOP)
    assert supervisor.post(f"/v1/jobs/{job}/cancel")["cancelled"]
    assert ended(supervisor, job)["state"] == "cancelled"
    assert not processes(supervisor, "sleep")


def test_one_that_ended_while_no_supervisor_ran_keeps_its_status(supervisor):
    """The launcher, and what init said to it, outlive the supervisor."""
    call = supervisor.run("sleep 1; exit 5")
    job = call.job()
    until(lambda: processes(supervisor, "sleep"))
    crash(supervisor)
    until(lambda: not processes(supervisor, "sleep"))
    supervisor.start()
    found = ended(supervisor, job)
    assert (found["state"], found["status"]) == ("exited", 5)


def test_its_changes_are_committed_by_the_next_supervisor(supervisor, project, tmp_path):
    """What follows the end of a job over an overlay is what was decided when it was started."""
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"
    line = f"echo changed > {project}/file; {wait}; echo more >> {project}/file"
    where = ("cwd", os.fsencode(project))
    job = supervisor.run(line, where, ("tier", b"SEQUENTIAL_REQUIRED")).job()
    until(lambda: processes(supervisor, "sleep"))
    crash(supervisor)
    supervisor.start()
    assert not (project / "file").exists()
    (tmp_path / "go").touch()
    found = ended(supervisor, job)
    assert found["checkpoint"]["state"] == "committed", found
    assert found["prediction"]["observed"] is not None
    assert (project / "file").read_text() == "changed\nmore\n"


def test_changes_of_one_that_failed_meanwhile_are_rolled_back(supervisor, project):
    """Its record says how it ended, the plan that was kept what becomes of it then."""
    line = f"echo changed > {project}/file; sleep 1; false"
    job = supervisor.run(line, ("cwd", os.fsencode(project)), ("tier", b"SEQUENTIAL_REQUIRED")).job()
    until(lambda: processes(supervisor, "sleep"))
    crash(supervisor)
    until(lambda: not processes(supervisor, "sleep"))
    supervisor.start()
    assert ended(supervisor, job)["checkpoint"]["state"] == "rolled-back"
    assert not (project / "file").exists()


def test_its_locks_and_its_slot_are_its_own_still(supervisor, project, tmp_path):
    """Who wants the same waits for it, also behind the next supervisor."""
    where = ("cwd", os.fsencode(project)), ("tier", b"CONDITIONAL_PARALLEL"), ("rw", os.fsencode(project))
    first = supervisor.run(
        f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo one >> {project}/order", *where
    ).job()
    until(lambda: processes(supervisor, "sleep"))
    crash(supervisor)
    supervisor.start()
    assert {lock["owner"] for lock in supervisor.get("/v1/locks")["locks"]} == {first}
    pools = {pool["tier"]: pool["running"] for pool in supervisor.get("/v1/pools")["pools"]}
    assert pools["CONDITIONAL_PARALLEL"] == 1
    second = supervisor.run(f"echo two >> {project}/order", *where)
    assert state(supervisor, second.job()) == "queued"
    (tmp_path / "go").touch()
    assert second.end()["status"] == 0
    assert (project / "order").read_text() == "one\ntwo\n"


def test_it_can_be_cancelled_by_the_next_supervisor(supervisor):
    """Orders reach the init."""
    job = supervisor.run("sleep 600").job()
    until(lambda: processes(supervisor, "sleep"))
    crash(supervisor)
    supervisor.start()
    status, answer = supervisor.http("POST", f"/v1/jobs/{job}/cancel", {"signal": "TERM"})
    assert (status, answer["cancelled"]) == (200, True)
    assert ended(supervisor, job)["reason"] == "cancelled"


def test_the_lease_is_held_while_no_supervisor_runs(supervisor):
    """Init ends the job of a caller that is gone; the next supervisor finds it so."""
    call = supervisor.run("sleep 600")
    job = call.job()
    until(lambda: processes(supervisor, "sleep"))
    crash(supervisor)
    call.close()
    until(lambda: not processes(supervisor, "sleep"))
    supervisor.start()
    assert ended(supervisor, job)["reason"] == "cancelled"


def test_without_its_launcher_a_job_is_lost_and_its_changes_are_held(supervisor, project):
    """Nobody knows how it ended: that is never a success."""
    line = f"echo changed > {project}/file; sleep 600"
    job = supervisor.run(line, ("cwd", os.fsencode(project)), ("tier", b"SEQUENTIAL_REQUIRED")).job()
    until(lambda: processes(supervisor, "sleep"))
    until(lambda: any("file" in names for _, _, names in os.walk(supervisor.paths.layers)))
    crash(supervisor)
    os.kill(launcher(supervisor), signal.SIGKILL)
    supervisor.start()
    found = supervisor.get(f"/v1/jobs/{job}")
    assert (found["state"], found["status"]) == ("lost", 125)
    assert supervisor.get(f"/v1/checkpoints/{found['checkpoint']['id']}")["state"] == "held"
    assert not (project / "file").exists()
    assert not processes(supervisor, "sleep")


def test_of_another_boot_a_job_is_lost_whatever_was_left_of_it(supervisor, database):
    """Not even a record speaks for it: it may have been cut off with everything else."""
    job = supervisor.run("sleep 600").job()
    until(lambda: state(supervisor, job) == "running")
    crash(supervisor)
    os.kill(launcher(supervisor), signal.SIGKILL)
    database("UPDATE attempts SET boot_id = 'another'")
    Path(f"{supervisor.paths.jobs}/{job}.json").write_text('{"reason": "exited", "exit_code": 0}')
    supervisor.start()
    assert state(supervisor, job) == "lost"


def test_many_restarts_leave_one_launcher_and_no_box(supervisor):
    """Each supervisor finds the same launcher; it ends with the last one."""
    first = launcher(supervisor)
    job = detached(supervisor, "sleep 600").job()
    until(lambda: processes(supervisor, "sleep"))
    for _ in range(3):
        crash(supervisor)
        supervisor.start()
        assert launcher(supervisor) == first
        assert supervisor.run("exit 4").end()["status"] == 4
    supervisor.http("POST", f"/v1/jobs/{job}/cancel", {"signal": "KILL"})
    assert ended(supervisor, job)["reason"] == "cancelled"
    supervisor.stop()
    until(lambda: not os.path.exists(f"/proc/{first}"))
