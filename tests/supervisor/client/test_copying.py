"""What the client copies for a job."""

import os
import subprocess

import pytest

from cbx_supervisor.client.copying import Copier


@pytest.mark.parametrize("takes", [True, False])
def test_a_file_that_takes_nothing_ends_the_copy(tmp_path, takes):
    """The memory of a process that has ended takes no byte, without an error; a file takes all (the control)."""
    with subprocess.Popen(["sleep", "600"]) as process:
        path = tmp_path / "file" if takes else f"/proc/{process.pid}/mem"
        target = os.open(path, os.O_WRONLY | os.O_CREAT)
        process.kill()
    read, write = os.pipe()
    os.write(write, b"output")
    copier = Copier(read, target)
    copier.step()
    assert copier.wants() is not None
    copier.step()
    assert copier.done is not takes
    os.close(write)
    if takes:
        copier.step()
        assert copier.done
        assert (tmp_path / "file").read_bytes() == b"output"
