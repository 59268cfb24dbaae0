"""A launcher that is a service of its own, and supervisors that come and go beside it: the units without systemd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest
from tests.daemon.conftest import PATIENCE, until

pytestmark = pytest.mark.root


@pytest.fixture
def launcher(made):
    """A launcher that has said that it is ready, in groups of another name than the supervisor would give them."""
    os.makedirs(made.paths.runtime, mode=0o755)
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.settimeout(PATIENCE)
    notified.bind(f"{made.paths.runtime}/notify")
    name = f"{made.paths.cgroup}/launcher.service"
    command = [sys.executable, "-I", "-m", "cbx_sandbox.box.launcher", "--service", name, made.paths.launcher_socket]
    environment = {"NOTIFY_SOCKET": f"{made.paths.runtime}/notify"}
    with open(made.log, "ab") as log:
        process = subprocess.Popen(command, env=environment, stderr=log, stdin=subprocess.DEVNULL)
    assert notified.recv(100) == b"READY=1"
    notified.close()
    yield process
    made.stop()
    process.kill()
    process.wait()


def group_of(pid):
    with open(f"/proc/{pid}/cgroup") as file:
        return next(line[3:].strip() for line in file if line.startswith("0::"))


def test_jobs_stay_when_the_supervisor_is_stopped(made, launcher, project):
    """The next one goes on with them; they lie in the launcher's groups, and are known as jobs there."""
    made.start("--service", "--idle-exit", "0")
    assert made.run("exit 6").end()["status"] == 6
    line = f"until [ -e {project}/go ]; do sleep 0.2; done; exit 7"
    job = made.run(line, ("detach", b"1"), fds={}).job()
    until(lambda: made.get(f"/v1/jobs/{job}")["state"] == "running")
    below = f"{made.paths.cgroup}/launcher.service"
    assert group_of(launcher.pid).endswith(f"/{below}/supervisor")
    assert made.stop() == 0
    made.start("--service", "--idle-exit", "0")
    assert made.get(f"/v1/jobs/{job}")["state"] == "running"
    jobs = f"/sys/fs/cgroup{group_of(launcher.pid).rpartition('/')[0]}/jobs"
    if not os.path.isdir(jobs):
        jobs = jobs.replace("/sys/fs/cgroup/", "/sys/fs/cgroup/unified/")
    payloads = [f"{jobs}/{name}/payload/cgroup.procs" for name in os.listdir(jobs)]
    [procs] = [path for path in payloads if os.path.exists(path) and b"sleep" in commands(path)]
    assert refused(made, procs, job)
    (project / "go").touch()
    assert made.http("GET", f"/v1/jobs/{job}/wait?timeout=60")[1]["status"] == 7
    assert launcher.poll() is None


def commands(procs):
    """The command lines of a group's processes."""
    found = b""
    with open(procs) as file:
        for pid in file.read().split():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as line:
                    found += line.read()
            except OSError:
                continue
    return found


def refused(made, procs, job):
    """Whether a process in that job's group gets no answer; the control does, from outside."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with open(procs, "w") as file:
                file.write("0")
            made.http("GET", "/v1/status")
        except (OSError, ConnectionError):
            status = 0
        finally:
            os._exit(status)
    assert made.http("GET", "/v1/status")[0] == 200
    until(lambda: made.get("/v1/incidents")["incidents"])  # the job is frozen for it, until somebody lets it go on
    assert made.http("POST", f"/v1/jobs/{job}/resume", {})[0] == 200
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_without_its_launcher_it_does_not_start(made):
    """It says what to start; a supervisor that may start one, the control, does."""
    process = made.spawn("--service")
    assert process.wait(PATIENCE) == 125
    assert "systemctl start cbx-launcher" in made.log.read_text()
    made.start("--idle-exit", "60")
    assert made.run("true").end()["status"] == 0


def test_it_ends_when_the_launcher_does(made, launcher):
    """With a status that has it started again."""
    made.start("--service", "--idle-exit", "0")
    launcher.send_signal(signal.SIGKILL)
    assert made.process.wait(PATIENCE) == 1
