"""What the tests of restarts share."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from pathlib import Path

import pytest
from tests.daemon.conftest import until


def crash(supervisor):
    """Kill the supervisor as the kernel would, and nothing else."""
    supervisor.stop(signal.SIGKILL)


def state(supervisor, job):
    return supervisor.get(f"/v1/jobs/{job}")["state"]


def ended(supervisor, job):
    """The result of a job, when it has one."""

    def look():
        found = supervisor.get(f"/v1/jobs/{job}")
        return found if found["state"] not in {"queued", "starting", "running"} else None

    return until(look)


def detached(supervisor, line, *fields):
    return supervisor.run(line, ("detach", b"1"), *fields, fds={})


def processes(supervisor, name):
    """The processes called ``name`` that belong to jobs of this supervisor."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if f"{supervisor.paths.cgroup}/jobs" in Path(f"/proc/{pid}/cgroup").read_text():
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if words[0].endswith(name.encode()):
                    found.append(int(pid))
    return found


def launcher(supervisor):
    """The launcher of a supervisor."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if supervisor.paths.launcher_socket.encode() in words and _parent(pid) != _parent_of_nursery(pid):
                return int(pid)
    raise AssertionError("there is no launcher")


def _parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _parent_of_nursery(pid):
    """The launcher's children have its command line: they are those whose parent has it too."""
    parent = _parent(pid)
    with contextlib.suppress(OSError):
        if Path(f"/proc/{parent}/cmdline").read_bytes() == Path(f"/proc/{pid}/cmdline").read_bytes():
            return parent
    return None


@pytest.fixture
def counted(tmp_path):
    """A directory in which each start of a command leaves a mark."""
    directory = tmp_path / "marks"
    directory.mkdir()
    os.chmod(directory, 0o777)
    return directory


@pytest.fixture
def database(made):
    """Change the database while no supervisor has it."""

    def change(statement, *values):
        with contextlib.closing(sqlite3.connect(made.paths.database)) as connection:
            connection.execute(statement, values)
            connection.commit()

    return change
