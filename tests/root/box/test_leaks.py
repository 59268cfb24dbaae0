"""What a job has left on the host is found by its namespaces and ids; what others did is not."""

import os
import subprocess
import time

import pytest
from tests.root.box.harness import PATIENCE

from cbx_sandbox.box import leaks, userns
from cbx_sandbox.linux import cgroupfs, namespaces

pytestmark = pytest.mark.root


@pytest.fixture
def apart(tmp_path):
    """A process in namespaces of its own, as an init is, and the way to end it."""
    with subprocess.Popen(["unshare", "-munip", "--fork", "--kill-child", "sleep", "300"]) as process:
        own = set(leaks.namespaces(os.getpid()))
        while len(leaks.namespaces(process.pid)) < 4:
            assert process.poll() is None
        yield process, own
        process.kill()


def test_a_process_in_a_namespace_is_named(apart):
    """Nothing is told of the host's, of one that nobody is in, or of a job that was over before (the controls)."""
    process, own = apart
    assert own == set()
    names, now = leaks.namespaces(process.pid), time.clock_gettime(time.CLOCK_BOOTTIME)
    marks, before = leaks.Marks("7", names, now), leaks.Marks("6", names, now - 3600)
    told = leaks.sweep([marks, before, leaks.Marks("8", frozenset({"net:[1]"}), now)])
    assert list(told) == ["7"]
    assert any(text.startswith(f"process {process.pid} (") for text in told["7"])
    process.kill()
    process.wait()
    end = time.monotonic() + 30
    while leaks.sweep([marks]):  # the namespace's last process dies with its init
        assert time.monotonic() < end


def test_files_of_shifted_ids_are_named(tmp_path):
    """Of jobs that had such ids and ran when they were made; a file of somebody else's is not (the control)."""
    now = time.time()
    (tmp_path / "other").touch()
    left = tmp_path / "left"
    left.touch()
    os.chown(left, userns.FIRST_ID + 5, 0)
    over = [leaks.Marks(name, frozenset(), 0, since) for name, since in (("7", now), ("8", None), ("9", now + 60))]
    assert leaks.sweep(over, [str(tmp_path)]) == {"7": [f"file {left}"]}


OBJECT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.setresuid(*[int(sys.argv[1])] * 3)
print(libc.shmget(0, 4096, 0o1600))
"""


@pytest.fixture
def own_ipc():
    """A namespace that stands for the host's: other tests look there for what their jobs have left."""
    before = os.open("/proc/thread-self/ns/ipc", os.O_RDONLY | os.O_CLOEXEC)
    namespaces.unshare(namespaces.CLONE_NEWIPC)
    yield
    namespaces.setns(before, namespaces.CLONE_NEWIPC)
    os.close(before)


@pytest.mark.usefixtures("own_ipc")
def test_ipc_objects_of_shifted_ids_are_named(tmp_path):
    """In the host's namespace; one of another user's is not (the control)."""
    since = time.time()
    made = {}
    for uid in (userns.FIRST_ID + 5, 65534):
        ran = subprocess.run(["python3", "-c", OBJECT, str(uid)], capture_output=True, text=True, check=True)
        made[uid] = int(ran.stdout)
    try:
        over = [leaks.Marks("7", frozenset(), 0, since), leaks.Marks("8", frozenset(), 0, None)]
        told = leaks.sweep(over, [str(tmp_path)])
        assert list(told) == ["7"]
        assert f"IPC object shm {made[userns.FIRST_ID + 5]}" in told["7"]
        assert f"IPC object shm {made[65534]}" not in told["7"]
    finally:
        for number in made.values():
            subprocess.run(["ipcrm", "-m", str(number)], check=True)


def test_a_group_that_something_lives_in_is_named(box):
    """A process of the host's in a group of the job's; the control's groups are gone."""
    control = box.start(["sleep", "600"], box.policy())
    control.control.kill()
    control.wait()  # asserts that nothing was left
    job = box.start(["sleep", "600"], box.policy())
    (group,) = [path for path in box.groups(job.group) if os.path.exists(f"{path}/cgroup.freeze")]
    with subprocess.Popen(["sleep", "600"]) as stays:
        with open(f"{group}/init/cgroup.procs", "w") as file:
            file.write(str(stays.pid))
        job.control.kill()
        job.reaped = until_reaped(box, job)
        assert f"{group}/init" in job.reaped.leaks
        stays.kill()
    job.close()
    for path in sorted(job.reaped.leaks, key=len, reverse=True):
        assert cgroupfs.remove(path, patience=PATIENCE)


def until_reaped(box, job):
    """What the launcher says of a job that is over."""
    end = time.monotonic() + PATIENCE
    while job.name not in box.reaped:
        assert time.monotonic() < end
        box.receive()
        time.sleep(0.02)
    return box.reaped.pop(job.name)
