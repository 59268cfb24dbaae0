"""What a job has left on the host is found by its namespaces and ids; what others did is not."""

import os
import subprocess
import time

import pytest

from cbx_sandbox.box import leaks, userns

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
