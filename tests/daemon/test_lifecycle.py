"""Start, race, idle exit, stop, crash."""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.daemon.conftest import until

pytestmark = pytest.mark.root


def test_two_starters_end_with_one_daemon(made):
    """The second says who holds the lock and exits 0."""
    first, second = made.spawn(), made.spawn()
    made.process = first
    until(lambda: first.poll() is not None or second.poll() is not None)
    loser, made.process = (first, second) if first.poll() is not None else (second, first)
    assert loser.wait() == 0
    until(lambda: os.path.exists(made.paths.pid_file))
    assert f"process {made.process.pid} serves" in made.log.read_text()
    assert made.get("/v1/status")["supervisor"]["pid"] == made.process.pid


def test_it_ends_when_idle_and_leaves_no_socket(made):
    """After the last caller and job, not before."""
    made.start("--idle-exit", "0.7")
    call = made.run("sleep 1.2")
    assert call.end()["status"] == 0
    assert made.process.poll() is None
    assert made.process.wait(20) == 0
    assert not os.path.exists(made.paths.exec_socket)
    assert not os.path.exists(made.paths.http_socket)


def test_a_caller_that_comes_at_the_last_moment_is_served(made):
    """One who knocks while it is about to end; and it ends afterwards."""
    made.start("--idle-exit", "0.6")
    for _ in range(3):
        os.kill(made.process.pid, signal.SIGSTOP)
        time.sleep(0.8)
        call = made.run("true")
        os.kill(made.process.pid, signal.SIGCONT)
        assert call.end()["status"] == 0
    assert made.process.wait(20) == 0


def test_what_ended_is_remembered_after_an_idle_exit(made):
    """By the next supervisor; numbers go on."""
    made.start("--idle-exit", "0.3")
    job = made.run("exit 3").end()["result"]["job"]
    made.process.wait(20)
    made.start()
    assert made.get(f"/v1/jobs/{job}")["status"] == 3
    assert made.run("true").end()["result"]["job"] == job + 1


def test_sigterm_ends_jobs_and_records_them(supervisor):
    """Running ones are cancelled and recorded, waiting callers are told."""
    call = supervisor.run("sleep 100")
    job = call.job()
    assert supervisor.stop() == 0
    assert call.end()["result"]["reason"] == "cancelled"
    supervisor.start()
    assert supervisor.get(f"/v1/jobs/{job}")["state"] == "cancelled"


def test_sockets_are_root_s_and_state_is_private(supervisor):
    """Whatever the umask of who started it."""
    for path in (supervisor.paths.exec_socket, supervisor.paths.http_socket):
        status = os.stat(path)
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o660)
    for path in (supervisor.paths.state, supervisor.paths.jobs, supervisor.paths.logs):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700


def test_it_lives_in_a_group_of_its_own(supervisor):
    """Not in its caller's, whose end and limits would be its own."""
    groups = Path(f"/proc/{supervisor.process.pid}/cgroup").read_text()
    assert f"0::/{supervisor.paths.cgroup}/supervisor" in groups


def test_its_group_weighs_more_than_a_jobs(supervisor):
    """Or a supervisor that was killed would be long in coming on a busy host."""
    name = supervisor.paths.cgroup
    files = [*glob.glob(f"/sys/fs/cgroup/{name}/cpu.weight"), *glob.glob(f"/sys/fs/cgroup/*/{name}/cpu.shares")]
    assert files
    for file in files:
        root, kind = os.path.split(file)
        usual = {"cpu.weight": 100, "cpu.shares": 1024}[kind]
        jobs = until(lambda root=root, kind=kind: glob.glob(f"{root}/**/spare-*/{kind}", recursive=True))
        found = [int(Path(each).read_text()) / usual for each in (file, f"{root}/supervisor/{kind}", *jobs)]
        assert found[:2] == [4, 16]
        assert set(found[2:]) == {1}


def test_a_stale_socket_is_replaced(made):
    """Left behind by a crash."""
    os.makedirs(made.paths.runtime)
    left = socket.socket(socket.AF_UNIX)
    left.bind(made.paths.exec_socket)
    left.close()
    made.start()
    assert made.run("true").end()["status"] == 0


def test_a_newer_database_stops_the_start(made):
    """Before anything was changed, with a clear word."""
    os.makedirs(made.paths.state)
    connection = sqlite3.connect(made.paths.database)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert made.spawn().wait(30) == 125
    assert "newer cbx" in made.log.read_text()
    assert not os.path.exists(made.paths.exec_socket)


def test_bad_settings_stop_the_start(made):
    """They are named."""
    assert made.spawn(TIMEOUTS_COMMAND_TIMEOUT_SECONDS="soon").wait(30) == 125
    assert "CBX_TIMEOUTS_COMMAND_TIMEOUT_SECONDS" in made.log.read_text()


def test_only_root_starts_one(made):
    """Nobody else gets as far as a directory."""
    command = [sys.executable, "-I", "-m", "cbx_supervisor.daemon.main"]
    done = subprocess.run(command, user=65534, group=65534, env={}, capture_output=True, text=True, check=False)
    if "Permission denied" in done.stderr and "cbx-supervisor" not in done.stderr:
        pytest.skip("nobody cannot execute this interpreter")
    assert done.returncode == 125
    assert "only root" in done.stderr


def test_it_stays_small(supervisor):
    """Under 80 MB, with the HTTP side loaded."""
    for _ in range(5):
        supervisor.run("true").end()
    supervisor.get("/v1/status")
    time.sleep(1.5)
    lines = Path(f"/proc/{supervisor.process.pid}/status").read_text().splitlines()
    size = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    assert size < 80_000


def test_what_a_caller_was_told_is_found_at_once(supervisor):
    """The result of a job that changed nothing is written after its caller was told: who asks waits for that."""
    for _ in range(30):
        told = supervisor.run("true").end()["result"]
        found = supervisor.get(f"/v1/jobs/{told['job']}")
        assert {**found, "attempts": []} == told  # the attempts are the store's to tell
        assert [{**job, "attempts": []} for job in supervisor.get("/v1/jobs?limit=1")["jobs"]] == [told]


def test_what_is_found_left_behind_afterwards_is_added_to_the_result(supervisor):
    """All processes of a job are dead when its caller is told; what keeps its groups from going is found later."""
    call = supervisor.run("sleep 600")
    job = call.job()
    [unified] = [line.split()[1] for line in read("/proc/mounts").splitlines() if line.split()[2] == "cgroup2"]
    init = until(lambda: _init_of(supervisor))
    group = read(f"/proc/{init}/cgroup").rpartition("0::")[2].strip()
    with subprocess.Popen(["sleep", "600"]) as squatter:
        try:
            with open(f"{unified}{group}/cgroup.procs", "w") as file:
                file.write(str(squatter.pid))
            call.send(("kind", b"kill"))
            assert call.end()["result"]["leaks"] == []
            leaks = until(lambda: supervisor.get(f"/v1/jobs/{job}")["leaks"])
            assert f"{unified}{group}" in leaks
        finally:
            squatter.kill()
    assert supervisor.run("true").end()["result"]["leaks"] == []


def read(path):
    return Path(path).read_text(encoding="utf-8")


def _init_of(supervisor):
    """The init that has a command: boxes in waiting have none yet."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if supervisor.paths.cgroup not in read(f"/proc/{pid}/cgroup"):
                continue
            for child in read(f"/proc/{pid}/task/{pid}/children").split():
                if read(f"/proc/{child}/comm") == "sleep\n":
                    return int(pid)
    return None


def test_layers_that_a_crash_left_are_removed(made, project):
    """Those that this supervisor made and has on no record; neither held ones nor those of others (the controls)."""
    made.start("--idle-exit", "120")
    words = (("tier", b"SEQUENTIAL_REQUIRED"), ("commit", b"hold"), ("rw", os.fsencode(project)))
    held = made.run(f"echo x > {project}/file", *words, ("cwd", os.fsencode(project))).end()
    number = held["result"]["checkpoint"]["id"]
    made.hang_up()
    made.stop(signal.SIGKILL)
    layers = Path(made.paths.layers)
    for other in (number + 5, number + 6):
        subprocess.run(["cp", "-a", layers / str(number), layers / str(other)], check=True)
    os.setxattr(layers / str(number + 6), "trusted.cbx.database", b"another")
    (layers / str(number + 7)).mkdir()
    made.start("--idle-exit", "120")
    until(lambda: not (layers / str(number + 5)).exists())
    assert sorted(int(path.name) for path in layers.iterdir()) == [number, number + 6, number + 7]
    shown = made.http("GET", f"/v1/checkpoints/{number}/diff?format=list")
    assert b"file" in shown[1]
    again = made.run(f"echo y > {project}/other", *words, ("cwd", os.fsencode(project))).end()
    assert again["result"]["checkpoint"]["id"] > number + 7


def test_old_jobs_are_forgotten_but_not_held_changes(made, project):
    """At the start, as configured; the number of a forgotten job is not given again."""
    made.start("--idle-exit", "120")
    words = (("tier", b"SEQUENTIAL_REQUIRED"), ("commit", b"hold"), ("rw", os.fsencode(project)))
    held = made.run(f"echo x > {project}/file", *words, ("cwd", os.fsencode(project))).end()["result"]["job"]
    last = [made.run("true").end()["result"]["job"] for _ in range(4)][-1]
    made.hang_up()
    made.stop()
    made.start("--idle-exit", "120", HISTORY_JOBS_MAX="2")
    until(lambda: [job["job"] for job in made.get("/v1/jobs")["jobs"]] == [last, last - 1, held])
    assert made.run("true").end()["result"]["job"] == last + 1


def test_it_does_not_start_where_others_can_write(made):
    """Not beside a directory that they could rename away; once that is mended it does (the control)."""
    above = Path(made.paths.state).parent
    above.chmod(0o777)
    refused = made.spawn()
    assert refused.wait(60) == 125
    assert "others than root can write" in made.log.read_text()
    assert not os.path.exists(made.paths.exec_socket)
    above.chmod(0o755)
    assert made.start().run("true").end()["status"] == 0
