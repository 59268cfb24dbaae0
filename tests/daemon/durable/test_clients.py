"""Clients whose supervisor goes away: they find the next one by themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sysconfig
from pathlib import Path

import pytest
from tests.daemon.conftest import until
from tests.daemon.durable.conftest import processes

pytestmark = pytest.mark.root

CLIENT = [str(Path(sysconfig.get_path("scripts")) / "cbx-sandbox")]


@contextlib.contextmanager
def client(supervisor, *arguments, **options):
    """A running client; its output is taken."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    with subprocess.Popen([*CLIENT, *arguments], env=supervisor.environment, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def killed(supervisor):
    supervisor.process.send_signal(signal.SIGKILL)
    supervisor.process.wait()


def stop_what_clients_started(supervisor):
    """A client may have started a supervisor of its own."""
    with contextlib.suppress(OSError, ValueError):
        with open(supervisor.paths.pid_file) as file:
            pid = int(file.read())
        if pid == supervisor.process.pid:
            supervisor.stop()
            return
        os.kill(pid, signal.SIGTERM)
        until(lambda: not os.path.exists(f"/proc/{pid}"))


@pytest.fixture
def supervised(supervisor):
    yield supervisor
    stop_what_clients_started(supervisor)


@pytest.mark.parametrize("crashes", [1, 3])
def test_run_ends_with_the_status_and_the_output_of_its_job(supervised, crashes):
    """Whatever becomes of the supervisor: root's client starts the next one itself."""
    with client(supervised, "run", "-c", "echo before; sleep 4; echo after; exit 9") as process:
        [pid] = until(lambda: processes(supervised, "sleep"))
        killed(supervised)
        for _ in range(crashes - 1):
            until(lambda: os.path.exists(supervised.paths.exec_socket) and answered(supervised))
            with open(supervised.paths.pid_file) as file:
                os.kill(int(file.read()), signal.SIGKILL)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (9, "before\nafter\n"), err
        assert not os.path.exists(f"/proc/{pid}")


def answered(supervisor):
    with contextlib.suppress(OSError):
        return supervisor.http("GET", "/v1/status")[0] == 200
    return False


def test_run_into_a_file_loses_nothing(supervised, tmp_path):
    """What the client copies through a pipe of its own goes on as well."""
    target = tmp_path / "out"
    with target.open("wb") as out, client(supervised, "run", "-c", "seq 100000; sleep 2; seq 5", stdout=out) as process:
        until(lambda: processes(supervised, "sleep"))
        killed(supervised)
        assert process.wait(60) == 0
    expected = "".join(f"{number}\n" for number in (*range(1, 100001), *range(1, 6)))
    assert target.read_text() == expected


def test_a_waiting_run_is_started_by_the_next_supervisor(made, tmp_path):
    """Its descriptors are passed again."""
    os.makedirs(made.paths.config)
    (Path(made.paths.config) / "cbx.toml").write_text("[instances]\ntotal_capacity_max = 1\n")
    made.start()
    blocker = made.run("sleep 600")
    blocker.job()
    target = tmp_path / "out"
    with target.open("wb") as out, client(made, "run", "-c", "echo late; exit 4", stdout=out) as process:
        until(lambda: len(made.get("/v1/jobs?state=queued")["jobs"]) == 1)
        killed(made)
        until(lambda: os.path.exists(made.paths.exec_socket) and answered(made))
        blocker.close()
        assert process.wait(60) == 4, process.stderr.read()
    assert target.read_text() == "late\n"
    assert len(made.get("/v1/jobs")["jobs"]) == 2
    stop_what_clients_started(made)


def test_wait_goes_on_with_the_next_supervisor(supervised):
    """And ends with the job's status."""
    job = str(supervised.run("sleep 3; exit 6", ("detach", b"1"), fds={}).job())
    until(lambda: processes(supervised, "sleep"))
    with client(supervised, "wait", job) as process:
        until(lambda: supervised.process.poll() is not None or len(os.listdir(f"/proc/{process.pid}/fd")) > 3)
        killed(supervised)
        assert process.wait(60) == 6, process.stderr.read()


def test_the_same_key_twice_from_the_command_line(supervised):
    """The second call says so."""
    first = subprocess.run(
        [*CLIENT, "submit", "--idempotency-key", "k", "true"],
        env=supervised.environment,
        capture_output=True,
        check=False,
        text=True,
    )
    again = subprocess.run(
        [*CLIENT, "submit", "--idempotency-key", "k", "true"],
        env=supervised.environment,
        capture_output=True,
        check=False,
        text=True,
    )
    assert first.returncode == again.returncode == 0
    assert first.stdout == again.stdout
    assert "same key" in again.stderr
    assert "same key" not in first.stderr
