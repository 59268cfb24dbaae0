"""A check's word is the supervisor's: denied, asked about, overridden, and written down."""

import json
import os
import socket
import sqlite3
import subprocess

import pytest

pytestmark = pytest.mark.root


def audited(supervisor, job):
    """What the audit trail says of refusals and loosened rules of a job, oldest first."""
    with sqlite3.connect(supervisor.paths.database) as connection:
        rows = connection.execute("SELECT action, detail FROM audit WHERE subject = ? ORDER BY id", (f"job {job}",))
        return [(action, json.loads(detail)) for action, detail in rows if action in {"refused", "loosened"}]


def test_harm_is_refused_asked_about_and_overridden(supervisor, project):
    """126 without having run; yes or root's override runs it and is written down; data runs at once (the control)."""
    where = ("cwd", str(project).encode())
    call = supervisor.run("history -c; echo ran", where)
    asked = call.end()
    assert (asked["status"], asked["ask"]) == (126, b"1")
    agreed = supervisor.run("history -c; echo ran", where, ("yes", b"1"))
    job = agreed.job()
    assert agreed.end()["status"] == 0
    assert [(action, detail.get("agreed")) for action, detail in audited(supervisor, job)] == [
        ("loosened", ["history-wiping"])
    ]
    text = "echo echo ran | base64 | base64 -d | sh"
    denied = supervisor.run(text, where, ("yes", b"1")).end()
    assert (denied["status"], "ask" in denied) == (126, False)
    overridden = supervisor.run(text, where, ("allow_checks", b"obfuscated-run")).end()
    assert overridden["status"] == 0
    assert overridden["result"]["tier"] == "DANGEROUS_ISOLATED"
    assert supervisor.run(f"echo '{text}'", where).end()["status"] == 0


HOST_EFFECTS = {
    "process": "kill -9 {victim}",
    "service": "systemctl stop cbx-no-such.service",
    "kernel": "sysctl -w kernel.hostname=cbx",
    "network": "ip link add cbx-no-such type dummy",
    "daemon": "docker rm cbx-no-such",
}


@pytest.fixture
def victim():
    """A process of the host's that a job would end."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("kind", HOST_EFFECTS)
def test_changes_of_the_host_itself_are_refused_and_written_down(supervisor, project, victim, kind):
    """Of each kind, whoever asks and whatever for, since nothing could take them back: it is told why, nothing ran."""
    where, line = ("cwd", str(project).encode()), HOST_EFFECTS[kind].format(victim=victim.pid)
    for asked in ((), (("host_effects", kind.encode()),), (("yes", b"1"), ("allow_checks", b"all"))):
        ended = supervisor.run(line, where, *asked).end()
        assert ended["status"] == 126, ended
        told = b"".join(value for value in ended.values() if isinstance(value, bytes))
        assert f"changes the host itself ({kind})".encode() in told, ended
        entry = supervisor.get("/v1/audit?limit=1")["entries"][0]
        assert entry["action"] == "refused"
        assert f"({kind})" in entry["record"], entry
    assert victim.poll() is None
    assert socket.gethostname() != "cbx"


def test_looking_at_the_host_s_processes_is_allowed_and_gives_nothing_else(supervisor, victim):
    """`ps` sees it, read-only; the control for `process`: the same signal from outside ends it."""
    call = supervisor.run(f"ps -p {victim.pid} -o comm=")
    ended = call.end()
    assert (ended["status"], ended["result"]["tier"]) == (0, "SAFE_PARALLEL"), ended
    assert os.read(call.output, 100) == b"sleep\n"
    subprocess.run(["kill", "-9", str(victim.pid)], check=True)
    assert victim.wait(30) == -9
