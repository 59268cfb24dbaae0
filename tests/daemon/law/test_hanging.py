"""A file system whose server does not answer holds up who asks for it, and nobody else."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.daemon.conftest import until
from tests.daemon.law.conftest import CLIENT, NOBODY, mounted, opened, script

from cbx_sandbox.linux import mountinfo

pytestmark = pytest.mark.root
SERVER = Path(__file__).with_name("tinyfuse.py")


class Remote:
    """A mount and its server."""

    def __init__(self, where):
        self.file = where / "file"
        self._server = subprocess.Popen([sys.executable, "-I", SERVER, where], stdout=subprocess.PIPE)
        assert self._server.stdout.readline() == b"ready\n"

    def hang(self):
        self._server.send_signal(signal.SIGSTOP)
        until(lambda: Path(f"/proc/{self._server.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")

    def go_on(self):
        self._server.send_signal(signal.SIGCONT)

    def end(self):
        # Whoever waits for it gets an error.
        self._server.kill()
        self._server.communicate()


@pytest.fixture
def remote(place):
    (place / "remote").mkdir()
    made = Remote(place / "remote")
    yield made
    made.end()
    subprocess.run(["umount", "-l", place / "remote"], check=True)


@pytest.fixture
def patient(made, remote):
    """The command line against a supervisor that waits two seconds for a file system."""
    shell = opened(made.start("--idle-exit", "120", TIMEOUTS_FILE_SYSTEM_SECONDS="2"))
    yield shell
    remote.go_on()
    shell.close()


def serves(shell, place, uid=0):
    """Whether jobs of every tier below DANGEROUS go through, and questions are answered."""
    own = place / f"own-{uid}"
    (own / ".git").mkdir(parents=True, exist_ok=True)
    shutil.chown(own, uid, uid)
    assert shell.run("echo", "hello", uid=uid).stdout == b"hello\n"
    laxer = "sequential" if uid else "conditional"  # which root alone may choose
    ran = shell.run("-c", "echo new > file", tier=laxer, cwd=own, uid=uid)
    assert ran.returncode == 0, ran.stderr
    ran = shell.run("-c", "echo newer > file", tier="sequential", cwd=own, uid=uid)
    assert ran.returncode == 0, ran.stderr
    assert shell.call("status", uid=uid).returncode == 0
    return (own / "file").read_text() == "newer\n"


def hangs(path):
    """The control: what a process that looks there by itself comes to."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(["stat", path], timeout=1, check=False, capture_output=True)
        return False
    return True


ASKING = {
    "an argument": lambda remote: (["cat", remote.file], {}),
    "its directory": lambda remote: (["-w", remote.file.parent, "cat", "file"], {}),
    "a lock": lambda remote: (["--rw", remote.file.parent, "true"], {"tier": "conditional"}),
    "an overlay": lambda remote: (["true"], {"tier": "dangerous"}),
}


@pytest.mark.parametrize("what", ASKING)
def test_who_asks_is_told_and_nobody_else_waits(patient, place, remote, what):
    """While that job waits, and after it was given up; when the server answers, all is as before."""
    words, options = ASKING[what](remote)
    before = patient.run("cat", remote.file)
    assert before.stdout == b"from afar\n", before.stderr
    with contextlib.ExitStack() as stack:
        stack.callback(remote.go_on)
        remote.hang()
        asking = patient.start("run", "--tier", options.get("tier", "safe"), *words)
        assert serves(patient, place)
        error = asking.communicate(timeout=60)[1]
        assert (asking.returncode, b"has not answered for 2 s" in error) == (75, True), error
        assert serves(patient, place)
        assert hangs(remote.file)
    assert not hangs(remote.file)
    assert patient.run("cat", remote.file).stdout == b"from afar\n"


def test_a_user_who_asks_again_and_again(patient, place, remote):
    """He fills the room that he has, not that of others."""
    assert serves(patient, place, uid=NOBODY)
    remote.hang()
    asking = [patient.start("run", "--tier", "safe", "cat", remote.file, uid=NOBODY) for _ in range(24)]
    assert serves(patient, place)
    for one in asking:
        assert one.communicate(timeout=60)[1]
        assert one.returncode == 75
    assert serves(patient, place)
    remote.go_on()
    assert serves(patient, place, uid=NOBODY)


def reading(shell, file, *words):
    """A client whose stdin is ``file``; it starts at a line on the returned pipe. Nothing else looks at the file."""
    read, write = os.pipe()
    code = f"""
    import os
    file = os.open({os.fspath(file)!r}, os.O_RDONLY)
    os.dup2(file, 0)
    os.close(file)
    print("ready", flush=True)
    os.read({read}, 1)
    os.close({read})
    os.execv({CLIENT!r}, [{CLIENT!r}, *{words!r}])
    """
    environment = shell.supervisor.environment
    process = subprocess.Popen(
        script(code), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[read]
    )
    os.close(read)
    assert process.stdout.readline() == b"ready\n"
    return process, write


def test_a_file_there_as_stdin(patient, place, remote):
    """Its caller is told; nobody else waits until the daemon and the launcher have closed it."""
    process, go = reading(patient, remote.file, "run", "--tier", "safe", "cat")
    os.close(go)
    assert process.communicate(timeout=60)[0] == b"from afar\n"
    process, go = reading(patient, remote.file, "run", "--tier", "safe", "cat")
    remote.hang()
    os.close(go)
    assert serves(patient, place)
    assert patient.run("sleep", "3").returncode == 0
    assert serves(patient, place)
    remote.go_on()
    process.communicate(timeout=60)
    assert serves(patient, place)


def test_the_supervisor_ends_while_a_file_system_hangs(patient, remote):
    """A thread that waits there does not keep it."""
    remote.hang()
    asking = patient.start("run", "--tier", "safe", "cat", remote.file)
    assert b"has not answered" in asking.communicate(timeout=60)[1]
    assert patient.supervisor.stop() == 0


@pytest.mark.usefixtures("remote")
def test_covered_mounts_are_found_without_a_look(place):
    """The table's own word on what covers what is the kernel's."""
    for name in ("a/b/c", "d"):
        (place / name).mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        tmpfs = ("-t", "tmpfs", "none")
        stack.enter_context(mounted(*tmpfs, place / "a/b"))
        (place / "a/b/c").mkdir()
        stack.enter_context(mounted(*tmpfs, place / "a/b/c"))
        stack.enter_context(mounted(*tmpfs, place / "d"))
        stack.enter_context(mounted(*tmpfs, place / "d"))
        stack.enter_context(mounted("--bind", place / "a/b", place / "d"))
        stack.enter_context(mounted(*tmpfs, place / "a"))
        table = mountinfo.read()
        by_id = {mount.mount_id: mount for mount in table}
        own = [mount for mount in table if mount.target.startswith(str(place))]
        assert len(own) == 7
        said = {mount.mount_id: mountinfo._uncovered(mount, by_id) for mount in own}
        assert said == {mount.mount_id: mountinfo._found(mount) for mount in own}
        assert set(said.values()) == {True, False}
