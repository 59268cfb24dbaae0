"""How PID 1 ends a job that shares the host's processes."""

import os
import signal
import subprocess

import pytest

from cbx_sandbox.box.cgroup import Meter
from cbx_sandbox.box.init import Init


@pytest.mark.parametrize(
    ("whole", "signalled"), [(True, signal.SIGTERM), (False, signal.SIGKILL)], ids=["cgroup.kill", "none"]
)
def test_a_group_that_was_killed_as_a_whole_is_not_killed_by_numbers_too(tmp_path, whole, signalled):
    """They may be others' by then. Where the kernel cannot kill a group, they are all there is (the control)."""
    named = subprocess.Popen(["sleep", "600"])
    try:
        (tmp_path / "cgroup.procs").write_text(f"{named.pid}\n")
        if whole:
            (tmp_path / "cgroup.kill").touch()
        group = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            init = Init(0)
            init.meter = Meter(group, {})
            init._kill()
        finally:
            os.close(group)
        assert (tmp_path / "cgroup.kill").exists() is whole
        # What was sent first counts: after SIGKILL no other signal is a process's end.
        named.terminate()
        assert named.wait() == -signalled
    finally:
        named.kill()
        named.wait()
