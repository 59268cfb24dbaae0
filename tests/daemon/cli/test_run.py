"""`cbx-sandbox run` against the real supervisor, from its start by the first client to its end."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cbx_supervisor import paths

pytestmark = pytest.mark.root

PATIENCE = 60


class Domain:
    """A lock domain of its own: its directories, and the client told of them."""

    def __init__(self, client, directory):
        self.client = client
        self.directory = directory
        self.work = directory / "work"
        self.work.mkdir()
        self.environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "CBX_RUNTIME_DIR": str(directory / "run"),
            "CBX_STATE_DIR": str(directory / "state"),
        }

    def call(self, *arguments, text=True, **options):
        """Run the client to its end."""
        options = {"cwd": self.work, "env": self.environment, "stdin": subprocess.DEVNULL, **options}
        if "stdout" not in options:
            options["capture_output"] = True
        return subprocess.run([self.client, *arguments], text=text, timeout=PATIENCE, check=False, **options)

    def run(self, *arguments, **options):
        """Run a command."""
        return self.call("run", *arguments, **options)

    def result(self, *arguments):
        """Run a command and return its result object."""
        done = self.run("--json", *arguments)
        return json.loads(done.stdout.splitlines()[-1])

    def start(self, *arguments, **options):
        """Start the client."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen([self.client, *arguments], cwd=self.work, env=self.environment, text=True, **options)

    @property
    def pid(self):
        """The supervisor's."""
        return json.loads(self.call("status", "--json").stdout)["supervisor"]["pid"]

    def stop(self):
        """End the supervisor, if one runs, and remove its control groups."""
        if not (self.directory / "run" / "exec.sock").exists():
            return
        pid = self.pid
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{pid}").exists())
        name = paths.from_environment(self.environment, uid=0).cgroup
        groups = [group for depth in ("", "*/") for group in Path("/sys/fs/cgroup").glob(depth + name)]
        wait_until(lambda: all(removed(group) for group in groups))


def removed(group):
    """Remove a control group with what is in it; the launcher may need a moment to leave."""
    for directory, _names, _files in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    return not group.exists()


def wait_until(condition):
    """Wait for something to become so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def domain(client):
    """One supervisor for the tests that leave it as it was."""
    with tempfile.TemporaryDirectory(prefix="cbx-", dir="/var/tmp") as name:
        made = Domain(client, Path(name))
        yield made
        made.stop()


@pytest.fixture
def fresh(client):
    """A domain without a supervisor."""
    with tempfile.TemporaryDirectory(prefix="cbx-", dir="/var/tmp") as name:
        made = Domain(client, Path(name))
        yield made
        made.stop()


def test_the_first_client_starts_a_supervisor(fresh):
    """Which the second one finds."""
    assert fresh.run("--", "true").returncode == 0
    pid = fresh.pid
    assert fresh.run("--", "true").returncode == 0
    assert fresh.pid == pid


def test_the_supervisor_inherits_nothing_from_the_client(fresh):
    """Clean environment, directory /, a session of its own, no descriptors of the caller's."""
    fresh.environment["MARK"] = "caller's"
    marked = fresh.directory / "marked"
    with marked.open("w") as file:
        assert fresh.run("--", "true", pass_fds=[file.fileno()]).returncode == 0
        process = Path(f"/proc/{fresh.pid}")
        assert b"MARK" not in (process / "environ").read_bytes()
        assert os.readlink(process / "cwd") == "/"
        session = int((process / "stat").read_text().rpartition(")")[2].split()[3])
        assert session != os.getsid(0)
        opened = {os.readlink(entry) for entry in (process / "fd").iterdir()}
        assert str(marked) not in opened
        assert os.readlink(process / "fd" / "0") == "/dev/null"


def test_racing_clients_end_with_one_supervisor(fresh):
    """All of them run their command, one process serves them."""
    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(lambda number: fresh.run("-q", "-c", f"exit {number}"), range(6)))
    assert [(run.returncode, run.stderr) for run in runs] == [(number, "") for number in range(6)]
    others = [
        pid
        for pid in filter(str.isdigit, os.listdir("/proc"))
        if str(fresh.directory).encode() in _environment(pid) and b"cbx_supervisor.daemon" in _command(pid)
    ]
    assert others == [str(fresh.pid)]


def _environment(pid):
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--", "true"), 0),
        (("-c", "exit 3"), 3),
        (("--", "python3", "-c", "import os; os.kill(os.getpid(), 9)"), 137),
        (("--", "python3", "-c", "import os; os.kill(os.getpid(), 15)"), 143),
        (("--", "no-such-program-here"), 127),
        (("--", "/etc/passwd"), 126),
        (("--timeout", "300ms", "--", "sleep", "30"), 124),
    ],
)
def test_exit_statuses(domain, arguments, status):
    """The command's own, or what docs/cli.md says."""
    assert domain.run(*arguments).returncode == status


def test_the_result_object(domain):
    """After the output, one line."""
    done = domain.run("--json", "-c", "echo out; echo err >&2; exit 5")
    out, line = done.stdout.splitlines()
    result = json.loads(line)
    assert (out, done.returncode) == ("out", 5)
    assert {"job", "state", "exit_code", "signal", "reason", "tier", "usage", "guarantees", "changes"} <= set(result)
    assert (result["state"], result["exit_code"], result["reason"]) == ("exited", 5, "exited")
    assert "err" in done.stderr


def test_input_and_output_are_the_callers(domain):
    """A pipe in, a file out, much of both."""
    with (domain.work / "out").open("w") as out:
        done = domain.run("-q", "--", "cat", stdin=None, input="x" * 1_000_000, stdout=out, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert (domain.work / "out").stat().st_size == 1_000_000


def test_a_detached_job_is_waited_for_and_shown(domain):
    """Its number alone on stdout; wait takes its status; its output is kept."""
    number = domain.run("-d", "-c", "echo kept; exit 4").stdout
    assert re.fullmatch(r"\d+\n", number)
    assert domain.call("wait", number.strip()).returncode == 4
    assert json.loads(domain.call("show", "--json", number.strip()).stdout)["status"] == 4
    assert domain.call("logs", number.strip()).stdout == "kept\n"
    assert any(json.loads(line)["job"] == int(number) for line in domain.call("list", "--json").stdout.splitlines())


def test_a_detached_job_is_cancelled(domain):
    """By its number."""
    number = domain.run("-d", "--", "sleep", "60").stdout.strip()
    assert domain.call("cancel", number).returncode == 0
    assert domain.call("wait", number).returncode in {75, 143}


def test_an_interrupt_reaches_the_command(domain):
    """As if the terminal had sent it."""
    client = domain.start("run", "-c", "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done")
    assert client.stdout.readline() == "ready\n"
    client.send_signal(signal.SIGINT)
    out, _err = client.communicate(timeout=PATIENCE)
    assert (out, client.returncode) == ("caught\n", 7)


def test_a_second_interrupt_kills_what_does_not_listen(domain):
    """The whole group."""
    client = domain.start("run", "-c", "trap 'echo heard' INT; trap '' TERM; echo ready; while :; do sleep 0.05; done")
    assert client.stdout.readline() == "ready\n"
    client.send_signal(signal.SIGINT)
    assert client.stdout.readline() == "heard\n"
    client.send_signal(signal.SIGINT)
    client.communicate(timeout=PATIENCE)
    assert client.returncode == 137


def test_a_job_ends_with_its_client(domain):
    """The lease: nothing of it is left when the client was killed."""
    client = domain.start("run", "-c", "trap '' TERM HUP; echo ready; while :; do sleep 0.05; done")
    assert client.stdout.readline() == "ready\n"
    client.kill()
    client.communicate()
    jobs = lambda: [json.loads(line) for line in domain.call("list", "--json").stdout.splitlines()]  # noqa: E731
    wait_until(lambda: jobs()[0]["state"] not in {"queued", "starting", "running"})


def test_a_terminal_of_its_own(domain):
    """Its size, its echo, and the exit status."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    client = domain.start("run", "-t", "-c", "stty rows 50; stty size; tty; exit 6", stdin=slave, stdout=slave)
    os.close(slave)
    assert client.wait(PATIENCE) == 6
    client.stderr.close()
    shown = ""
    with contextlib.suppress(OSError):  # nothing more: nobody has the other end any more
        while piece := os.read(master, 4096).decode():  # one read may bring a part
            shown += piece
    os.close(master)
    assert "50 " in shown
    assert "/dev/pts/" in shown


def test_a_held_checkpoint_is_looked_at_and_decided(domain):
    """list, show, diff, commit, rollback."""
    target = domain.work / "file"
    for verb in ("rollback", "commit"):
        result = domain.result("--tier", "sequential", "--commit", "hold", "-c", f"echo new > {target}")
        number = str(result["checkpoint"]["id"])
        assert result["checkpoint"]["state"] == "held"
        assert not target.exists()
        held = [json.loads(line) for line in domain.call("checkpoint", "list", "--json").stdout.splitlines()]
        assert int(number) in {checkpoint["id"] for checkpoint in held}
        assert json.loads(domain.call("checkpoint", "show", "--json", number).stdout)["state"] == "held"
        assert str(target) in domain.call("checkpoint", "diff", "--name-status", number).stdout
        assert "+new" in domain.call("checkpoint", "diff", number).stdout
        assert domain.call("checkpoint", verb, number).returncode == 0
        assert target.exists() == (verb == "commit")


def test_explain_and_a_dry_run_say_the_same(domain):
    """One is made here, the other by the supervisor."""
    line = ("-c", f"rm -r {domain.work}/x; curl https://example.org")
    here = json.loads(domain.call("explain", "--json", *line).stdout)
    there = json.loads(domain.run("--dry-run", "--json", *line).stdout)
    for key in ("tier", "reasons", "locks", "policy", "mounts"):
        assert here[key] == there[key]


def test_a_dry_run_runs_nothing(domain):
    """And says what it would do."""
    done = domain.run("--dry-run", "--json", "-c", f"touch {domain.work}/never")
    assert done.returncode == 0
    assert json.loads(done.stdout)["tier"] == "SEQUENTIAL_REQUIRED"
    shown = domain.run("--dry-run", "-c", f"touch {domain.work}/never").stdout
    assert "tier: SEQUENTIAL_REQUIRED" in shown
    assert f"  U  {domain.work}" in shown
    assert not (domain.work / "never").exists()
