"""A job that calls its supervisor is frozen, looked at and told of, and its changes are held; others go on."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.daemon.conftest import until

from cbx_supervisor.model.redaction import REDACTED

pytestmark = pytest.mark.root

# It gets into the group of a job, as somebody with root's rights could, and calls from there.
CALLER = """
import socket, sys
with open(sys.argv[1], "w") as group: group.write("0")
with socket.socket(socket.AF_UNIX) as caller:
    caller.connect(sys.argv[2])
    try:
        while caller.recv(4096): pass
    except ConnectionResetError: pass
"""


def begin(made, project):
    """A job that changes its project and waits, and its group, once it does."""
    words = "_ --password hunter2hunter2"
    line = f"echo text > made; sh -c 'until [ -e {project}.go ]; do sleep 0.1; done' {words}"
    job = made.run(line, ("cwd", os.fsencode(project)), ("detach", b"1"), fds={}).job()
    return job, until(lambda: group_of(f"{project}.go"))


def group_of(mark):
    """The group on the unified hierarchy of the payload whose command line has this."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            known = mark in Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except OSError:
            continue
        group = next((line[3:] for line in lines if line.startswith("0::")), "")
        found = [Path(f"{root}{group}") for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")]
        if known and group.endswith("/payload") and (there := [path for path in found if path.exists()]):
            return there[0]
    return None


@contextlib.contextmanager
def caller_in(group, path):
    """Who calls from a group is frozen with it, and ends with it."""
    caller = subprocess.Popen([sys.executable, "-c", CALLER, group / "cgroup.procs", path])
    try:
        yield
    finally:
        caller.kill()
        caller.wait()


def incidents(made):
    return made.get("/v1/incidents")["incidents"]


@pytest.mark.vm
@pytest.mark.parametrize("door", ["exec_socket", "http_socket"])
def test_a_job_that_calls_is_frozen_and_looked_at_and_its_changes_are_held(supervisor, project, door):
    """By either door. A person lets it go on; the control, which calls nobody, is committed."""
    job, group = begin(supervisor, project)
    assert not incidents(supervisor)
    with caller_in(group, getattr(supervisor.paths, door)):
        (entry,) = until(lambda: incidents(supervisor))
        assert (entry["subject"], entry["detail"]["frozen"]) == (f"job {job}", True)
        assert "called the supervisor" in entry["detail"]["what"]
        until(lambda: (group / "cgroup.freeze").read_text() == "1\n")
        until(lambda: "processes" in supervisor.http("GET", f"/v1/incidents/{job}")[1])
        kept = supervisor.get(f"/v1/incidents/{job}")
        assert any(f"{project}.go" in " ".join(process["command"]) for process in kept["processes"])
        commands = str([process["command"] for process in kept["processes"]])
        assert f"--password {REDACTED}" in commands
        assert "hunter2hunter2" not in commands
        assert any(process["open"] for process in kept["processes"])
        assert any(f" {project} " in line for line in kept["mounts"]), "its overlay"
        assert kept["counters"], kept
        assert stat.S_IMODE(os.stat(entry["detail"]["evidence"]).st_mode) == 0o600
        Path(f"{project}.go").touch()
        supervisor.post(f"/v1/jobs/{job}/resume")
        ended = until(lambda: (found := supervisor.get(f"/v1/jobs/{job}"))["state"] == "exited" and found)
        assert ended["checkpoint"]["state"] == "held", ended
        assert "incident" in ended["message"]
        assert not (project / "made").exists()
    Path(f"{project}.go").unlink()
    control, _ = begin(supervisor, project)
    Path(f"{project}.go").touch()
    until(lambda: supervisor.get(f"/v1/jobs/{control}")["state"] == "exited")
    assert (project / "made").read_text() == "text\n"
    assert len(incidents(supervisor)) == 1


def test_the_changes_are_held_also_after_a_supervisor_was_killed(made, project):
    """The next one knows which jobs had an incident; where it is so configured they were not frozen."""
    made.start("--idle-exit", "120", INCIDENTS_FREEZE="false")
    job, group = begin(made, project)
    with caller_in(group, made.paths.exec_socket):
        (entry,) = until(lambda: incidents(made))
        assert entry["detail"]["frozen"] is False
        made.stop(9)
        made.start("--idle-exit", "120", INCIDENTS_FREEZE="false")
        Path(f"{project}.go").touch()
        ended = until(lambda: (found := made.get(f"/v1/jobs/{job}"))["state"] == "exited" and found)
        assert ended["checkpoint"]["state"] == "held", ended


def test_an_incident_is_told_also_where_nothing_can_be_kept_of_it(supervisor, project):
    """It is frozen all the same, which is written down: a person who resumes it has it go on for good."""
    job, group = begin(supervisor, project)
    os.mkdir(f"{supervisor.paths.incidents}/{job}.json.new")
    with caller_in(group, supervisor.paths.exec_socket):
        (entry,) = until(lambda: incidents(supervisor))
        assert (entry["subject"], entry["detail"]["frozen"]) == (f"job {job}", True)
        until(lambda: (group / "cgroup.freeze").read_text() == "1\n")
        until(lambda: "incident not looked at" in supervisor.log.read_text())
        assert supervisor.http("GET", f"/v1/incidents/{job}")[0] == 404
        Path(f"{project}.go").touch()
        assert supervisor.post(f"/v1/jobs/{job}/resume")["changed"]
        ended = until(lambda: (found := supervisor.get(f"/v1/jobs/{job}"))["state"] == "exited" and found)
        assert ended["checkpoint"]["state"] == "held", ended
