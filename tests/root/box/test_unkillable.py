"""A process of a job that cannot be killed for now: nobody else waits for it, and nothing of it is forgotten."""

import os
import subprocess
import sys
import tempfile
import time

import pytest
from msgspec.structs import replace
from tests.root.box.harness import PATIENCE, SEQUENTIAL, launcher

from cbx_sandbox.box import launcher_client
from cbx_sandbox.linux import mountinfo
from cbx_sandbox.shell.effects import HostKind

pytestmark = [pytest.mark.root, pytest.mark.vm]

# Init gives up soon, the launcher never: what it does meanwhile does not depend on the clock.
PATIENT_LAUNCHER = """
import os
os.dup2({fd}, 3)
from cbx_sandbox.box import cgroup, init, launcher, leaving
leaving.DYING_PATIENCE, init.REAP_PATIENCE = 3600.0, 0.2
launcher.main()
"""


@pytest.fixture
def patient(own_mounts, monkeypatch):
    original = launcher_client.subprocess.Popen

    def popen(argv, **options):
        code = PATIENT_LAUNCHER.format(fd=options["pass_fds"][0])
        return original([sys.executable, "-I", "-c", code, argv[-1]], **options)

    with monkeypatch.context() as patched:
        patched.setattr(launcher_client.subprocess, "Popen", popen)
        made = launcher()
        harness = made.__enter__()
    yield harness
    made.__exit__(None, None, None)


class Freezer:
    """A group of cgroup v1's freezer: what is in it when it freezes does not die of SIGKILL before it thaws."""

    def __init__(self, mount):
        self.path = f"{mount}/cbx-test-{os.getpid()}"
        os.mkdir(self.path)

    def _write(self, name, value):
        with open(f"{self.path}/{name}", "w", encoding="ascii") as file:
            file.write(value)

    def _state(self):
        with open(f"{self.path}/freezer.state", encoding="ascii") as file:
            return file.read().strip()

    def freeze(self, pids):
        for pid in pids:
            self._write("cgroup.procs", pid)
        self._write("freezer.state", "FROZEN")
        _until(lambda: self._state() == "FROZEN")

    def thaw(self):
        self._write("freezer.state", "THAWED")

    def close(self):
        self.thaw()
        _until(self._removed)

    def _removed(self):
        try:
            os.rmdir(self.path)
        except OSError:
            return False
        return True


def _until(done):
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def freezer(own_mounts):
    """The host's, or where it has mounted none, one of this test's own."""
    mounted = [m.target for m in mountinfo.read() if m.kind == "cgroup" and "freezer" in m.super_options]
    with tempfile.TemporaryDirectory(dir="/run") as directory:
        if not mounted:
            subprocess.run(["mount", "-t", "cgroup", "-o", "freezer", "cbx-test", directory], check=True)
        made = Freezer((mounted or [directory])[0])
        yield made
        made.close()
        if not mounted:
            subprocess.run(["umount", directory], check=True)


def payload(job):
    """The job's processes, by the host's numbers."""
    (group,) = [path for path in job.harness.groups(job.group) if os.path.exists(f"{path}/payload/cgroup.kill")]
    with open(f"{group}/payload/cgroup.procs", encoding="ascii") as file:
        return file.read().split()


@pytest.mark.parametrize("shared", [False, True], ids=["own-processes", "the-host-s-processes"])
def test_what_cannot_be_killed_holds_up_no_other_job(patient, freezer, shared):
    """Others begin and end while it is still there; when it dies at last its groups go, and that is told."""
    policy = patient.policy(SEQUENTIAL, overlay=[patient.sacrifice()], shifted=False)
    if shared:
        policy = replace(policy, host_proc=True, host_effects=frozenset({HostKind.PROCESS}))
    job = patient.start(["sh", "-c", "echo up; exec sleep 600"], policy)
    job.read_until("up")
    freezer.freeze(payload(job))
    job.control.kill()
    job._until(lambda: job.outcome, PATIENCE)
    assert job.outcome["unkillable"] == 1
    if shared:
        # Init is gone, and the launcher knows: it is at the groups by now.
        _until(lambda: not os.path.exists(f"/proc/{job.pid}"))
    for _ in range(3):
        assert patient.run(["echo", "other"]).out == "other\n"
    assert job.reaped is None
    assert job.name not in patient.reaped
    freezer.thaw()
    job._until(lambda: job.reaped, PATIENCE)
    assert job.reaped.leaks == []
    job.close_output()
    job.close()
    patient.assert_no_trace(job.name)
