"""The disk of the state directory fills up or becomes read-only while jobs run: nothing that ran is forgotten."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest
from tests.daemon.conftest import Supervisor, until
from tests.daemon.durable.conftest import crash, detached, ended, state

pytestmark = pytest.mark.root

SMALL_MB = 24


@pytest.fixture
def disk(tmp_path_factory):
    """A lock domain whose state lies on a small file system of its own: the supervisor and that directory."""
    directory = tmp_path_factory.mktemp("d")
    supervisor = Supervisor(directory)
    mount = supervisor.environment["CBX_STATE_DIR"]
    os.mkdir(mount, 0o700)
    image = directory / "image"
    with image.open("wb") as file:
        file.truncate(SMALL_MB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        yield supervisor, mount
    finally:
        supervisor.clean()
        until(lambda: subprocess.run(["umount", mount], check=False).returncode == 0)


def fill(mount):
    """Leave no block free."""
    with open(f"{mount}/ballast", "wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
            file.flush()


def waits(go):
    return f"until [ -e {go} ]; do sleep 0.05; done; exit 7"


def refused_for_the_disk(supervisor):
    """A submission that cannot be written down is refused; one that can yet, for the log has room left, runs."""
    last = supervisor.run("true").end()
    assert last["status"] in {0, 125}, last
    return last["status"] == 125


def test_a_full_disk_refuses_new_jobs_and_forgets_nothing_of_running_ones(disk, tmp_path):
    """Their callers are told how they ended; it is written down when there is room, also by the next supervisor."""
    supervisor, mount = disk
    supervisor.start("--idle-exit", "120")
    first, second = supervisor.run(waits(tmp_path / "one")), detached(supervisor, waits(tmp_path / "two")).job()
    number = first.job()
    until(lambda: {state(supervisor, number), state(supervisor, second)} == {"running"})
    fill(mount)
    until(lambda: refused_for_the_disk(supervisor))
    (tmp_path / "one").touch()
    assert first.end()["status"] == 7
    assert supervisor.get("/v1/status")["jobs"]["running"] >= 1
    crash(supervisor)
    (tmp_path / "two").touch()
    os.unlink(f"{mount}/ballast")
    supervisor.start("--idle-exit", "120")
    assert [ended(supervisor, job)["status"] for job in (number, second)] == [7, 7]
    assert supervisor.run("exit 3").end()["status"] == 3


def test_a_disk_that_has_room_again_is_used_again(disk, tmp_path):
    """By the same supervisor: what it could not write down it has written down then."""
    supervisor, mount = disk
    supervisor.start("--idle-exit", "120")
    call = supervisor.run(waits(tmp_path / "one"))
    job = call.job()
    until(lambda: state(supervisor, job) == "running")
    fill(mount)
    until(lambda: refused_for_the_disk(supervisor))
    (tmp_path / "one").touch()
    assert call.end()["status"] == 7
    os.unlink(f"{mount}/ballast")
    until(lambda: not refused_for_the_disk(supervisor))
    assert ended(supervisor, job)["status"] == 7


def test_a_state_directory_that_has_become_read_only(disk, tmp_path):
    """As the kernel makes one whose disk fails: nothing starts, what runs ends and is told of; a start says why not."""
    supervisor, mount = disk
    supervisor.start("--idle-exit", "120")
    call = supervisor.run(waits(tmp_path / "one"))
    job = call.job()
    until(lambda: state(supervisor, job) == "running")
    # As ext4 does it when its journal cannot be written: an orderly remount waits for nobody to have files open.
    subprocess.run(["mount", "-o", "remount,abort", mount], check=False, capture_output=True)
    with pytest.raises(OSError, match="Read-only"):
        os.mkdir(f"{mount}/probe")
    until(lambda: refused_for_the_disk(supervisor))
    (tmp_path / "one").touch()
    assert call.end()["status"] == 7
    crash(supervisor)
    process = supervisor.spawn("--idle-exit", "120")
    assert process.wait(60) == 125
    assert "Read-only file system" in supervisor.log.read_text()
