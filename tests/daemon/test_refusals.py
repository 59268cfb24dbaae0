"""A check's word is the supervisor's: denied, asked about, overridden, and written down."""

import json
import os
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest
from tests.daemon.conftest import until

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
    """Of each kind, unless they are asked for by name, since nothing takes them back: it is told why, nothing ran."""
    where, line = ("cwd", str(project).encode()), HOST_EFFECTS[kind].format(victim=victim.pid)
    others = ("host_effects", ",".join(HOST_EFFECTS.keys() - {kind}).encode())
    for asked in ((), (others,), (("yes", b"1"), ("allow_checks", b"all"))):
        ended = supervisor.run(line, where, *asked).end()
        assert ended["status"] == 126, ended
        told = b"".join(value for value in ended.values() if isinstance(value, bytes))
        assert f"changes the host itself ({kind})".encode() in told, ended
        entry = supervisor.get("/v1/audit?limit=1")["entries"][0]
        assert entry["action"] == "refused"
        assert f"({kind})" in entry["record"], entry
    assert victim.poll() is None
    assert socket.gethostname() != "cbx"


# What does nothing, or only to a victim, where it is let through; and the status that says so. The first of them that
# talk to daemons are not there, or find none: tests/root/box/test_host_effects.py talks to one, the guest's to systemd.
LET_THROUGH = {
    "process": ("kill -9 {victim}", {0}),
    "service": ("systemctl stop cbx-no-such.service", range(1, 128)),
    "kernel": ("/usr/sbin/sysctl -w vm.swappiness={swappiness}", {0}),
    "network": ("ip link set lo mtu {mtu}", {0}),
    "daemon": ("docker rm cbx-no-such", range(1, 128)),
}


@pytest.mark.parametrize("kind", LET_THROUGH)
def test_changes_of_the_host_that_are_asked_for_by_name_run_and_are_written_down(supervisor, project, victim, kind):
    """Without that layer alone, as the result and the audit trail say; they are never tried again by themselves."""
    line, statuses = LET_THROUGH[kind]
    now = [Path(path).read_text().strip() for path in ("/proc/sys/vm/swappiness", "/sys/class/net/lo/mtu")]
    line = line.format(victim=victim.pid, swappiness=now[0], mtu=now[1])
    options = (("host_effects", kind.encode()), ("detach", b"1"), ("retries", b"3"), ("commit", b"never"))
    job = supervisor.run(line, ("cwd", str(project).encode()), *options, fds={}).job()
    until(lambda: supervisor.get(f"/v1/jobs/{job}")["state"] not in {"queued", "analysing", "starting", "running"})
    ended = supervisor.get(f"/v1/jobs/{job}")
    assert ended["state"] == "exited", ended
    assert ended["status"] in statuses, ended
    missing = {entry["name"]: entry["why"] for entry in ended["guarantees"]["missing"]}
    assert f"--host-effects {kind}" in missing["reversible"], missing
    assert "no-deputies" in missing
    other = {"process": "own-pid-namespace", "kernel": "own-ipc", "service": "private-run", "daemon": "private-run"}
    for promise in set(other.values()):
        assert (promise in ended["guarantees"]["in_force"]) == (promise != other.get(kind)), ended["guarantees"]
    with sqlite3.connect(supervisor.paths.database) as connection:
        rows = connection.execute("SELECT detail FROM audit WHERE subject = ? ORDER BY id", (f"job {job}",)).fetchall()
    assert {"host_effects": [kind]} in [json.loads(detail).get("loosened") for (detail,) in rows], rows
    if kind == "process":
        assert victim.wait(30) == -9


def test_a_job_that_stops_its_init_ends_at_its_limit_all_the_same(supervisor, project):
    """Root's can, where it shares the host's processes: init, which keeps the limit, is let go on."""
    options = (("host_effects", b"process"), ("timeout", b"1"), ("kill_after", b"1"))
    call = supervisor.run("kill -STOP $PPID && echo stopped; exec sleep 600", ("cwd", str(project).encode()), *options)
    ended = call.end()
    assert os.read(call.output, 100) == b"stopped\n"
    assert ended["status"] == 124, ended


def test_a_kind_that_there_is_not_is_a_mistake(supervisor, project):
    """So that a slip of the pen lifts nothing."""
    asked = supervisor.run("true", ("cwd", str(project).encode()), ("host_effects", b"processes")).end()
    assert asked["status"] == 125, asked
    assert b"there is no such kind" in asked["text"]


def test_looking_at_the_host_s_processes_is_allowed_and_gives_nothing_else(supervisor, victim):
    """`ps` sees it, read-only; the control for `process`: the same signal from outside ends it."""
    call = supervisor.run(f"ps -p {victim.pid} -o comm=")
    ended = call.end()
    assert (ended["status"], ended["result"]["tier"]) == (0, "SAFE_PARALLEL"), ended
    assert os.read(call.output, 100) == b"sleep\n"
    subprocess.run(["kill", "-9", str(victim.pid)], check=True)
    assert victim.wait(30) == -9
