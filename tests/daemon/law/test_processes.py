"""A job ends when it must, as a whole, and cannot reach the processes that keep it."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import struct
import subprocess
import threading
from pathlib import Path

import pytest
from tests.daemon.conftest import until
from tests.daemon.law.conftest import CLIENT, NOBODY, outside, script

pytestmark = [pytest.mark.root, pytest.mark.vm]


def alive(mark):
    """Host pids of the processes that carry ``mark`` in their command line."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                line = Path(f"/proc/{entry.name}/cmdline").read_bytes()
            except OSError:
                continue
            if mark in line and CLIENT.encode() not in line and b"cbx_supervisor" not in line:
                found.append(int(entry.name))
    return found


@pytest.fixture
def mark(place):
    """What the processes of this test are found by."""
    return os.fsencode(place.name)


SURVIVE = {
    "double fork": "os.fork() or (os.setsid(), os.fork() and os._exit(0))",
    "own session": "os.setsid() if os.fork() == 0 else None",
    "ignores signals": "[signal.signal(n, signal.SIG_IGN) for n in range(1, 32) if n not in (9, 17, 19)]",
    "stopped": "os.fork() or os.kill(os.getpid(), signal.SIGSTOP)",
    "stops all": "os.fork(); os.kill(-1, signal.SIGSTOP)",
    "many": "[os.fork() for _ in range(4)]",
    "closed descriptors": "os.closerange(0, 256)",
}


def survivor(how, mark):
    code = f"import os, signal, time\nprint('up', flush=True)\n{SURVIVE[how]}\nwhile True: time.sleep(600)"
    return [*script(code), os.fsdecode(mark)]


@pytest.mark.parametrize("how", SURVIVE)
def test_nothing_outlives_the_client(shell, mark, how):
    """It is killed without a word to the supervisor; outside the same survives."""
    client = shell.start("run", "-q", "--kill-after", "0.2", "--tier", "safe", "--", *survivor(how, mark))
    assert client.stdout.readline() == b"up\n"
    until(lambda: alive(mark))
    client.kill()
    until(lambda: not alive(mark))


@pytest.mark.parametrize("how", ["double fork", "own session", "stopped"])
def test_control_the_same_survives_outside(mark, how):
    """Its parent's death does not end it."""
    parent = subprocess.Popen(survivor(how, mark), stdout=subprocess.PIPE)
    try:
        assert parent.stdout.readline() == b"up\n"
        until(lambda: len(alive(mark)) > 1)
        parent.kill()
        parent.wait()
        assert alive(mark)
    finally:
        for pid in alive(mark):
            os.kill(pid, signal.SIGKILL)
        parent.stdout.close()


@pytest.mark.parametrize("how", ["double fork", "ignores signals", "stops all"])
def test_nothing_outlives_its_time(shell, mark, how):
    """The time limit is init's, which the job can neither stop nor ignore."""
    line = survivor(how, mark)
    ran = shell.run("--timeout", "1", "--kill-after", "0.2", *line)
    assert ran.returncode == 124
    assert not alive(mark)


def test_nothing_outlives_the_command(shell, mark):
    """What it leaves behind ends with it."""
    code = "import os, sys, time\nif os.fork() == 0:\n os.setsid()\n os.fork()\n time.sleep(600)"
    assert shell.run(*script(code), os.fsdecode(mark)).returncode == 0
    assert not alive(mark)


@pytest.mark.parametrize("tier", ["safe", "dangerous"])
def test_init_cannot_be_limited(shell, tier):
    """Its limits, priority, affinity and signals are out of reach; a process of one's own outside is not."""
    code = """
    import os, resource, signal, sys
    pid = int(sys.argv[1])
    def attempts():
        yield lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, 0))
        yield lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (0, 0))
        yield lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)
        yield lambda: os.sched_setaffinity(pid, [0])
        yield lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
        yield lambda: os.kill(pid, signal.SIGCHLD)
        yield lambda: os.kill(pid, signal.SIGSTOP)
        yield lambda: open(f"/proc/{pid}/oom_score_adj", "w").write("1000")
    for number, attempt in enumerate(attempts()):
        try:
            attempt()
        except OSError:
            continue
        print("reached by", number)
    """
    ran = shell.run(*script(code), "1", tier=tier)
    assert (ran.returncode, ran.stdout) == (0, b""), ran
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        assert outside([*script(code), str(bystander.pid)]).stdout.count(b"reached by") >= 7
    finally:
        bystander.kill()
        bystander.wait()


def test_a_fork_bomb_ends_at_its_limit(shell, mark):
    """And the host never has more of its processes."""
    code = """
    import os, time
    made = 0
    for _ in range(200):
        try:
            if os.fork() == 0:
                time.sleep(600)
            made += 1
        except OSError:
            break
    print(made)
    """
    ran = shell.run("--pids", "20", *script(code), os.fsdecode(mark))
    assert 10 <= int(ran.stdout) < 20
    assert not alive(mark)


def test_kills_reach_nobody_else(shell):
    """kill(-1) of a job of the same user."""
    bystander = subprocess.Popen(["sleep", "600"], user=NOBODY, group=NOBODY)
    try:
        shell.run("-c", "kill -9 -1; kill -STOP -1", uid=NOBODY, tier=None)
        assert bystander.poll() is None
        outside(["sh", "-c", "kill -9 -1"], uid=NOBODY) if os.environ.get("CBX_IN_GUEST") else None
    finally:
        bystander.kill()
        bystander.wait()


class SilentFiles:
    """A FUSE file system that a user could mount: it says what its root is, then answers nothing any more."""

    def __init__(self, directory):
        self.directory = directory
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.device},rootmode=40000,user_id={NOBODY},group_id={NOBODY}"
        kernel = ctypes.CDLL(None, use_errno=True)
        if kernel.mount(b"silent", os.fsencode(directory), b"fuse", 6, options.encode()):
            os.close(self.device)
            pytest.skip(f"no FUSE here: {os.strerror(ctypes.get_errno())}")
        self.asked = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                request = os.read(self.device, 1 << 20)
            except OSError:
                return
            operation, unique = struct.unpack_from("=IQ", request, 4)
            if operation == 26:  # INIT
                body = struct.pack("=IIIIHHIIHHIIHHI", 7, 31, 0, 0, 12, 9, 1 << 16, 1, 0, 0, 0, 0, 0, 0, 0)
                body = body.ljust(64, b"\0")
            elif operation == 3:  # GETATTR
                attributes = struct.pack("=6Q10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, NOBODY, NOBODY, 0, 4096, 0)
                body = struct.pack("=QII", 60, 0, 0) + attributes
            else:
                self.asked.set()
                continue
            os.write(self.device, struct.pack("=IiQ", 16 + len(body), 0, unique) + body)

    def close(self):
        subprocess.run(["umount", "-f", "-l", self.directory], check=True)
        os.close(self.device)


@pytest.mark.parametrize("how", ["timeout", "client"])
def test_a_start_that_hangs_ends_when_it_must(own_shell, place, how):
    """The working directory lies on a file system that does not answer: the time limit and the lease count.

    Linux cannot kill who waits for such a file system: the job ends without it, and its result says so.
    """
    (place / "silent").mkdir()
    shutil.chown(place / "silent", NOBODY, NOBODY)
    files, shell = SilentFiles(place / "silent"), own_shell
    try:
        words = [
            "-q",
            "--kill-after",
            "0.2",
            "-w",
            place / "silent/x",
            *(["--timeout", "20" if os.environ.get("CBX_IN_GUEST") else "2"] if how == "timeout" else []),
        ]
        client = shell.start("run", *words, "--", "true", uid=NOBODY)
        until(files.asked.is_set)
        job = shell.supervisor.get("/v1/jobs?limit=1")["jobs"][0]["job"]
        if how == "client":
            client.kill()
        until(lambda: shell.supervisor.get(f"/v1/jobs/{job}")["state"] not in {"queued", "starting", "running"})
        client.wait(60)
        missing = shell.supervisor.get(f"/v1/jobs/{job}")["guarantees"]["missing"]
        assert "process-cleanup" in [entry["name"] for entry in missing]
    finally:
        files.close()
