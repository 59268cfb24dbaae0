"""Callers that come by the thousand, say nothing, say too much, or all start a supervisor at once."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import subprocess
import textwrap
from pathlib import Path

import pytest
from tests.daemon.conftest import until
from tests.daemon.law.conftest import NOBODY, PYTHON, Shell

pytestmark = pytest.mark.root

FLOOD = """
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000))
kept = []
for number in range(1000):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    try:
        connection.connect(sys.argv[1])
        connection.sendall(sys.argv[2].encode())
    except OSError:
        pass
    kept.append(connection)
print("up", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("sock", ["exec.sock", "cbx.sock"])
@pytest.mark.parametrize("said", ["", "GET /v1/st"], ids=["silent", "half"])
def test_a_thousand_connections_of_a_user(own_shell, sock, said):
    """Others are served meanwhile, the supervisor holds a bounded number, and lets go of them all."""
    shell = own_shell
    assert shell.call("status").returncode == 0
    pid = shell.supervisor.process.pid
    before = len(os.listdir(f"/proc/{pid}/fd"))
    command = [*shell._as(NOBODY, ()), PYTHON, "-I", "-c", textwrap.dedent(FLOOD), f"/run/cbx/{sock}", said]
    flood = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert flood.stdout.readline() == b"up\n"
        assert shell.run("true").returncode == 0
        assert shell.call("status").returncode == 0
        assert len(os.listdir(f"/proc/{pid}/fd")) < before + 200
    finally:
        flood.communicate(b"")
    until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before + 8)


def test_callers_who_say_nothing_are_let_go(made):
    """On both sockets, after the time that a request may take."""
    shell = Shell(made.start("--idle-exit", "120", TIMEOUTS_FIRST_FRAME_SECONDS="1"))
    assert shell.call("status").returncode == 0
    for path in (made.paths.exec_socket, made.paths.http_socket):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(path)
            connection.sendall(b"GET")
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass


def test_garbage(shell):
    """Random bytes, and random changes of a good request, end a connection and nothing else."""
    good = b"\0".join([b"kind=run", b"version=1", b"fds=stdin,stdout,stderr,lease", b"cwd=/", b"line=true"])
    chance = random.Random(4)
    for path in (shell.supervisor.paths.exec_socket, shell.supervisor.paths.http_socket):
        for number in range(150):
            data = bytearray(len(good).to_bytes(4, "big") + good)
            if number % 3 == 0:
                data = bytearray(chance.randbytes(chance.randrange(1, 3000)))
            else:
                for _ in range(chance.randrange(1, 6)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
            with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
                connection.connect(path)
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(0.01)
                connection.recv(4096)
    assert shell.supervisor.process.poll() is None
    assert shell.run("true").returncode == 0
    until(lambda: shell.supervisor.get("/v1/status")["jobs"] == {"running": 0, "waiting": 0})


def test_a_caller_who_never_reads(own_shell):
    """Answers are not kept for ever, and others are served."""
    shell = own_shell
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(shell.supervisor.paths.http_socket)
        connection.settimeout(1)
        with contextlib.suppress(OSError):
            for _ in range(5000):
                connection.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n")
        assert shell.run("true").returncode == 0
        status = Path(f"/proc/{shell.supervisor.process.pid}/status").read_text()
        peak = [int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line]
        assert peak[0] < 300 << 10


def test_clients_that_race_end_with_one_supervisor(made):
    """All are served, by the same one, which forgot what its starter had open and set."""
    shell = Shell(made)
    held = os.open("/etc/hostname", os.O_RDONLY)
    try:
        racers = [shell.start("run", "-q", "--tier", "safe", "--", "true", pass_fds=[held]) for _ in range(8)]
        assert [racer.wait(60) for racer in racers] == [0] * 8
        assert shell.call("status").returncode == 0
        pid = int(Path(made.paths.pid_file).read_text())
        jobs = made.get("/v1/jobs")["jobs"]
        assert sorted(job["job"] for job in jobs) == list(range(1, 9))
        assert not [fd for fd in os.listdir(f"/proc/{pid}/fd") if fd_leads_to(pid, fd, "/etc/hostname")]
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
    finally:
        shell.close()
        os.close(held)
        with contextlib.suppress(OSError, ValueError):
            pid = int(Path(made.paths.pid_file).read_text())
            os.kill(pid, 15)
            until(lambda: not os.path.exists(f"/proc/{pid}"))


def fd_leads_to(pid, fd, path):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/fd/{fd}") == path
    return False


def test_oversize_requests(shell):
    """Refused with a word, by client or daemon; a large one that is allowed is served."""
    for words in (["x" * 120_000] * 40, ["-e", "A=" + "x" * 100_000] * 1):
        options = words if words[0] == "-e" else []
        command = ["true"] if options else ["echo", *words]
        # More than execve takes for one program must be told, too.
        ran = shell.call("run", "--tier", "safe", *options, "--", *command) if len(words) < 15 else None
        assert ran is None or ran.returncode == 0, ran.stderr
    hard = resource.getrlimit(resource.RLIMIT_STACK)
    big = ("x" * 120_000,) * 12
    ran = shell.call("run", "-q", "--tier", "safe", "--", "echo", *big)
    assert ran.returncode in {0, 125, 126}, (hard, ran.stderr[:200])
