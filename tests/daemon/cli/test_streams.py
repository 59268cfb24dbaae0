"""The job gets the caller's own descriptors, but for those that the law keeps from it."""

import os
import signal
import socket
import stat
import subprocess

import pytest

pytestmark = pytest.mark.root


def running(script):
    """Behave as a supervisor that runs a script and reports its status."""

    def behave(job):
        job.send("result", status=job.run(script), line="", json="{}")

    return behave


def same(one, other):
    """Say if two status results are of one file."""
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def looking(found, *names):
    """Behave as a supervisor that looks at descriptors while they are open."""

    def behave(job):
        for name in names:
            found[name] = os.fstat(job.descriptors[name])
        job.send("result", status=0, line="", json="{}")

    return behave


def test_pipes_are_passed_on(supervisor):
    """Nothing is copied: the job holds the caller's own pipes."""
    found = {}
    supervisor.behave = looking(found, "stdin", "stdout", "stderr")
    ends = [os.pipe() for _ in range(3)]
    supervisor.run("x", stdin=ends[0][0], stdout=ends[1][1], stderr=ends[2][1])
    for name, number in (("stdin", ends[0][0]), ("stdout", ends[1][1]), ("stderr", ends[2][1])):
        assert same(found[name], os.fstat(number))
    for pair in ends:
        os.close(pair[0])
        os.close(pair[1])


def test_a_file_for_reading_is_passed_on(supervisor, tmp_path):
    """Stdin from a file is the file; the launcher makes it read-only."""
    found = {}
    supervisor.behave = looking(found, "stdin", "cwd")
    (tmp_path / "in").write_text("x")
    with (tmp_path / "in").open() as file:
        supervisor.run("x", stdin=file, cwd=tmp_path)
        assert same(found["stdin"], os.fstat(file.fileno()))
    assert same(found["cwd"], tmp_path.stat())


def test_a_file_for_writing_is_not_passed_on_but_copied_to(supervisor, tmp_path):
    """The job writes to a pipe; what it wrote is in the file, in order, at the caller's offset."""
    found = {}

    def behave(job):
        looked = {name: os.fstat(job.descriptors[name]) for name in ("stdout", "stderr")}
        found.update(looked)
        job.send("result", status=job.run("for i in $(seq 500); do echo o$i; echo e$i >&2; done"), line="", json="{}")

    supervisor.behave = behave
    with (tmp_path / "out").open("w") as file:
        file.write("before\n")
        file.flush()
        assert supervisor.run("x", stdout=file, stderr=subprocess.STDOUT).returncode == 0
    assert stat.S_ISFIFO(found["stdout"].st_mode)
    assert same(found["stdout"], found["stderr"])
    expected = ["before"] + [f"{stream}{number}" for number in range(1, 501) for stream in "oe"]
    assert (tmp_path / "out").read_text().split() == expected


def test_two_files_are_two_pipes(supervisor, tmp_path):
    """And much output survives the end of the job."""
    supervisor.behave = running("head -c 3000000 /dev/zero; echo err >&2")
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        assert supervisor.run("x", stdout=out, stderr=err).returncode == 0
    assert (tmp_path / "out").stat().st_size == 3_000_000
    assert (tmp_path / "err").read_text() == "err\n"


def test_sockets_are_copied_both_ways(supervisor):
    """A socket would be a way out of the box."""
    found = {}

    def behave(job):
        found.update({name: os.fstat(job.descriptors[name]) for name in ("stdin", "stdout")})
        job.send("result", status=job.run("tr a-z A-Z"), line="", json="{}")

    supervisor.behave = behave
    ours, theirs = socket.socketpair()
    client = supervisor.start("x", stdin=theirs, stdout=theirs)
    theirs.close()
    ours.sendall(b"hello " * 50_000)
    ours.shutdown(socket.SHUT_WR)
    answer = b""
    while part := ours.recv(1 << 16):
        answer += part
    assert answer == b"HELLO " * 50_000
    assert client.wait(10) == 0
    client.stderr.close()
    assert all(stat.S_ISFIFO(status.st_mode) for status in found.values())


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_directory_is_refused(supervisor, number, tmp_path):
    """fchdir on it would leave the box."""
    directory = os.open(tmp_path, os.O_RDONLY)
    streams = {("stdin", "stdout", "stderr")[number]: directory}
    run = supervisor.run("x", **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams})
    os.close(directory)
    assert run.returncode == 125
    if number != 2:
        assert b"it is a directory" in run.stderr
    assert not supervisor.jobs


def test_a_device_that_is_no_terminal_is_refused(supervisor):
    """Only null, zero, full and the random ones are harmless."""
    with open("/dev/loop-control") as device:
        run = supervisor.run("x", stdin=device)
    assert run.returncode == 125
    assert b"cannot pass stdin to the command: it is the device" in run.stderr
    for name in ("null", "zero", "full", "urandom"):
        with open(f"/dev/{name}") as device:
            assert supervisor.run("x", stdin=device).returncode == 0


def test_a_block_device_is_refused(supervisor, tmp_path):
    """Reading it is reading every file on it."""
    os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    try:
        device = os.open(tmp_path / "disk", os.O_RDONLY | os.O_NONBLOCK)
    except OSError as why:
        pytest.skip(f"no loop device here: {why}")
    run = supervisor.run("x", stdin=device)
    os.close(device)
    assert run.returncode == 125
    assert b"a block device" in run.stderr


def test_closed_descriptors_become_dev_null(supervisor, client):
    """And no file of the client's own lands on their numbers."""
    found = {}
    supervisor.behave = looking(found, "stdin", "stdout", "stderr")
    script = 'exec "$0" run -- x <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", script, client], env=supervisor.environment, check=False).returncode == 0
    null = os.stat("/dev/null")
    assert [status.st_rdev for status in found.values()] == [null.st_rdev] * 3


def test_a_reader_that_goes_away_ends_the_copying_not_the_client(supervisor, tmp_path):
    """A full disk, here: the job's next write fails, the result is still told."""
    supervisor.behave = running("trap '' PIPE; yes | head -c 1000000; echo status $? >&2; exit 5")
    with open("/dev/full", "wb") as full:
        assert supervisor.run("x", stdout=full, stderr=subprocess.PIPE).returncode == 5


def test_the_lease_ends_with_the_client(supervisor):
    """The supervisor's end sees it, also after SIGKILL."""
    ended = []

    def behave(job):
        job.send("accepted", job=1)
        client.kill()
        ended.append(os.read(job.descriptors["lease"], 1))

    supervisor.behave = behave
    client = supervisor.start("x")
    assert client.wait(10) == -signal.SIGKILL
    client.communicate()
    supervisor.close()
    assert ended == [b""]
    supervisor.close = lambda: None
