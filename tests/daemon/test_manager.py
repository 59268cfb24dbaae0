"""What the daemon and a service manager say to each other: sockets handed over, ready, alive, read anew."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest
from tests.daemon.conftest import PATIENCE, until

pytestmark = pytest.mark.root

# Hands two descriptors over as systemd does: as 3 and 4, with the pid of who is executed.
HAND_OVER = """
import fcntl, os, sys
api, exec_ = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in os.environ["PASSED"].split(","))
os.dup2(api, 3), os.dup2(exec_, 4)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "api:exec"}
os.execv(sys.executable, [sys.executable, "-I", "-m", "cbx_supervisor.daemon.main", *sys.argv[1:]])
"""


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, made):
        self.made = made
        os.makedirs(made.paths.runtime, mode=0o755)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"{made.paths.runtime}/notify")
        self.socket.settimeout(PATIENCE)
        self.seen = []
        self.listeners = []

    def listen(self):
        for path in (self.made.paths.http_socket, self.made.paths.exec_socket):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen(64)
            self.listeners.append(listener)

    def heard(self, word):
        """Wait until this was said."""
        while word not in self.seen:
            self.seen += self.socket.recv(4096).decode().splitlines()
        self.seen = self.seen[self.seen.index(word) + 1 :]
        return True

    def start(self, *arguments, **environment):
        passed = {"PASSED": ",".join(str(listener.fileno()) for listener in self.listeners)}
        everything = {
            **passed,
            **self.made.environment,
            "NOTIFY_SOCKET": f"{self.made.paths.runtime}/notify",
            **environment,
        }
        with open(self.made.log, "ab") as log:
            self.made.process = subprocess.Popen(
                [sys.executable, *arguments, "--idle-exit", "120"],
                env=everything,
                stderr=log,
                pass_fds=[listener.fileno() for listener in self.listeners],
            )
        assert self.heard("READY=1")


@pytest.fixture
def manager(made):
    found = Manager(made)
    yield found
    for opened in (*found.listeners, found.socket):
        opened.close()


def configure(made, text):
    os.makedirs(made.paths.config, mode=0o755, exist_ok=True)
    with open(f"{made.paths.config}/cbx.toml", "w") as file:
        file.write(text)
    os.chmod(file.name, 0o644)


def test_it_serves_on_sockets_that_were_opened_for_it(made, manager):
    """And leaves them: who knocks while it is away is served by the next one."""
    manager.listen()
    manager.start("-c", HAND_OVER)
    assert made.run("true").end()["status"] == 0
    assert made.get("/v1/status")["jobs"]["running"] == 0
    assert os.stat(made.paths.exec_socket).st_mode & 0o777 == 0o660
    assert made.stop() == 0
    assert manager.heard("STOPPING=1")
    call = made.run("exit 4")  # accepted by nobody yet
    manager.start("-c", HAND_OVER)
    assert call.end()["status"] == 4


def test_it_says_that_it_lives_while_its_loop_and_its_store_do(made, manager):
    """A daemon that is stopped, the control, says nothing."""
    manager.start("-I", "-m", "cbx_supervisor.daemon.main", WATCHDOG_USEC="300000")
    assert manager.heard("WATCHDOG=1")
    assert manager.heard("WATCHDOG=1")
    os.kill(made.process.pid, signal.SIGSTOP)
    manager.socket.settimeout(1.0)
    try:
        with pytest.raises(TimeoutError):
            manager.heard("what it never says")
    finally:
        os.kill(made.process.pid, signal.SIGCONT)
    manager.socket.settimeout(PATIENCE)
    manager.seen.clear()
    assert manager.heard("WATCHDOG=1")


# Its scheduler breaks when the file is there.
BREAKS = """
import os, sys
from cbx_supervisor.daemon import main
from cbx_supervisor.scheduling.engine import Engine
real = Engine.decide
def decide(engine, now):
    if os.path.exists(os.environ["BROKEN"]):
        raise RuntimeError("it breaks")
    return real(engine, now)
Engine.decide = decide
main.main(sys.argv[1:])
"""


def test_it_says_nothing_while_its_scheduler_cannot_decide(made, manager, tmp_path):
    """Though its loop turns, and its store writes; before and afterwards, the control, it does."""
    broken = tmp_path / "broken"
    manager.start("-I", "-c", BREAKS, WATCHDOG_USEC="300000", BROKEN=str(broken))
    assert manager.heard("WATCHDOG=1")
    broken.touch()
    until(lambda: "it breaks" in made.log.read_text())
    manager.socket.settimeout(1.0)
    with pytest.raises(TimeoutError):
        manager.heard("what it never says")
    assert made.get("/v1/status")["jobs"]["running"] == 0
    broken.unlink()
    manager.socket.settimeout(PATIENCE)
    manager.seen.clear()
    assert manager.heard("WATCHDOG=1")
    assert made.run("exit 3").end()["status"] == 3


def test_settings_are_read_anew_at_sighup(made, manager, project):
    """The manager is told; jobs that come later get the new limits; a broken file changes nothing and is named."""
    configure(made, "[instances]\nsafe_parallel_max = 3\n")
    manager.start("-I", "-m", "cbx_supervisor.daemon.main")

    def slots():
        return next(pool["slots"] for pool in made.get("/v1/pools")["pools"] if pool["tier"] == "SAFE_PARALLEL")

    assert slots() == 3
    configure(made, "[instances]\nsafe_parallel_max = 5\n[timeouts]\ncommand_timeout_seconds = 1.0\n")
    made.process.send_signal(signal.SIGHUP)
    assert manager.heard("RELOADING=1")
    assert manager.heard("READY=1")
    assert slots() == 5
    assert made.run("sleep 60").end()["result"]["reason"] == "timeout"
    configure(made, "[instances]\nsafe_parallel_max = 0\n")
    made.process.send_signal(signal.SIGHUP)
    until(lambda: "safe_parallel_max" in (made.get("/v1/status")["settings"]["problem"] or ""))
    assert slots() == 5
    configure(made, "[access]\ngroup = 'nogroup'\n")
    made.process.send_signal(signal.SIGHUP)
    until(lambda: made.get("/v1/status")["settings"] == {
        "directory": made.paths.config, "needs_restart": ["access.group"], "problem": None,
    })  # fmt: skip
    assert slots() == 16
