"""The audit trail of a running supervisor: whole, checked by its client, and a copy of it in the journal."""

import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys

import pytest

from cbx_supervisor.daemon.journal import Journal
from cbx_supervisor.store import audit
from cbx_supervisor.store.database import Database

from .conftest import PATIENCE, until


def cli(supervisor, *arguments):
    """Run the client; its exit status and what it printed."""
    command = [sys.executable, "-I", "-m", "cbx_supervisor.cli.main", *map(str, arguments)]
    ran = subprocess.run(
        command, check=False, env=supervisor.environment, capture_output=True, text=True, timeout=PATIENCE
    )
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.root
def test_a_job_s_whole_way_is_in_the_trail_and_tampering_is_named(made, tmp_path):
    """Decision and end; then one entry is rewritten in the file, and told by its number."""
    supervisor = made.start()
    ended = supervisor.run("echo hello").end()
    assert ended["status"] == 0
    job = ended["result"]["job"]

    def entries():
        found = supervisor.get("/v1/audit?after=0")["entries"]
        return [entry for entry in found if entry["subject"] == f"job {job}"]

    until(lambda: [entry["action"] for entry in entries()] == ["started", "ended"])
    started, over = entries()
    assert (started["detail"]["command"], started["detail"]["tier"]) == ("echo hello", "SAFE_PARALLEL")
    assert (over["detail"]["status"], over["uid"]) == (0, 0)
    status, text = cli(supervisor, "audit", "verify")
    assert status == 0, text
    head = text.split("head ")[1].strip()
    copy = tmp_path / "copy"
    status, exported = cli(supervisor, "audit", "export")
    copy.write_text(exported)
    assert cli(supervisor, "audit", "verify", "--file", copy, "--anchor", head)[0] == 0
    copy.write_text(exported.replace("echo hello", "echo harmless"))
    status, text = cli(supervisor, "audit", "verify", "--file", copy)
    assert (status, f"entry {started['id']} was changed" in text) == (1, True)
    with sqlite3.connect(supervisor.paths.database) as connection:
        connection.execute("DROP TRIGGER audit_unchanged")
        connection.execute("UPDATE audit SET detail = replace(detail, 'hello', 'bye') WHERE id = ?", (started["id"],))
    connection.close()
    status, text = cli(supervisor, "audit", "verify", "--json")
    told = json.loads(text)
    assert (status, told["intact"], [found["entry"] for found in told["problems"]]) == (1, False, [started["id"]])


def forge(number):
    """An entry that follows none."""
    rest = "at, uid, pid, action, subject, detail, previous, hash"
    return f"INSERT INTO audit SELECT {number}, {rest} FROM audit WHERE id = 1"


SPOILT = {
    "action": ("UPDATE audit SET action = 'approved' WHERE id = 2", {2}),
    "no JSON": ("UPDATE audit SET detail = 'oops' WHERE id = 2", {2}),
    "a list": ("UPDATE audit SET detail = '[1]' WHERE id = 2", {2}),
    "no time": ("UPDATE audit SET at = 9e999 WHERE id = 2", {2}),
    "a far time": ("UPDATE audit SET at = 1e300 WHERE id = 2", {2}),
    "no hash": ("UPDATE audit SET previous = 'é' WHERE id = 2", {2}),
    "deleted": ("DELETE FROM audit WHERE id = 2", {2}),
    "the first deleted": ("DELETE FROM audit WHERE id = 1", {1}),
    "cut off": ("DELETE FROM audit WHERE id > 2", {3}),
    "all deleted": ("DELETE FROM audit", {1}),
    "appended": (forge(5), {5}),
    "before the first": (forge(-5), {-5}),
    "at zero": (forge(0), {0}),
}


@pytest.mark.root
def test_whatever_is_done_to_one_entry_is_named_and_the_rest_can_be_read(made):
    """Also what cannot be read any more: it must not keep anybody from the other entries. Put back, all is well."""
    supervisor = made.start("--idle-exit", "120")
    for _ in range(2):
        supervisor.run("true").end()
    until(lambda: len(supervisor.get("/v1/audit?after=0")["entries"]) == 4)
    database = sqlite3.connect(supervisor.paths.database, timeout=PATIENCE, isolation_level=None)
    for name in ("audit_unchanged", "audit_kept"):
        database.execute(f"DROP TRIGGER {name}")
    whole = database.execute("SELECT * FROM audit").fetchall()
    for name, (spoil, entries) in SPOILT.items():
        database.execute(spoil)
        status, text = cli(supervisor, "audit", "verify", "--json")
        assert (name, status) == (name, 1), text
        assert (name, {found["entry"] for found in json.loads(text)["problems"]}) == (name, entries)
        for verb in ("show", "export"):
            assert cli(supervisor, "audit", verb)[0] == 0, (name, verb)
        database.execute("DELETE FROM audit")
        database.executemany(f"INSERT INTO audit VALUES ({','.join('?' * len(whole[0]))})", whole)
        database.execute("UPDATE sqlite_sequence SET seq = 4 WHERE name = 'audit'")
        assert cli(supervisor, "audit", "verify")[0] == 0, name
    database.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff\xfe", "no text in UTF-8"), (b"5\n", "line 1 is no entry"), (b"{}\n", "it has no 'action'"),
        (b"{\n", "line 1 is no entry"),
        (b'{"action": 5}', "its 'action' is no text"), (b"[" * 100_000, "line 1 is no entry"),
        (b"", "0 entries, intact"),
    ],
)  # fmt: skip
def test_a_copy_that_cannot_be_read_is_told_by_its_line(tmp_path, text, said):
    """Whatever it holds; it takes no supervisor to say so."""
    (tmp_path / "copy").write_bytes(text)
    command = [sys.executable, "-I", "-m", "cbx_supervisor.cli.main", "audit", "verify", "--file", tmp_path / "copy"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert said in ran.stdout + ran.stderr
    assert ran.returncode == (125 if text else 0)
    assert "internal error" not in ran.stderr


@pytest.mark.root
def test_the_chain_goes_on_after_a_killed_supervisor(made):
    """A job that outlives its supervisor has its end in the trail of the next one."""
    supervisor = made.start()
    job = supervisor.run("sleep 300", ("detach", b"1")).job()
    until(lambda: supervisor.get(f"/v1/jobs/{job}")["state"] == "running")
    os.kill(supervisor.process.pid, signal.SIGKILL)
    supervisor.process.wait()
    supervisor.start()
    assert supervisor.http("POST", f"/v1/jobs/{job}/cancel", {"signal": "KILL"})[1]["cancelled"]
    until(lambda: supervisor.get(f"/v1/jobs/{job}")["state"] == "cancelled")
    entries = supervisor.get("/v1/audit?after=0")["entries"]
    actions = [entry["action"] for entry in entries if entry["subject"] == f"job {job}"]
    assert sorted(actions[-3:]) == ["cancelled", "ended", "started"]
    assert cli(supervisor, "audit", "verify")[0] == 0


@pytest.mark.root
def test_what_a_job_leaves_behind_is_an_incident(supervisor):
    """A process of root's that stays in its namespace: in the result and in the trail. The control left nothing."""
    call, clean = supervisor.run("sleep 300"), supervisor.run("sleep 300")
    job, other = call.job(), clean.job()
    pid = until(lambda: init_of(supervisor, job))
    with subprocess.Popen(["nsenter", "-t", str(pid), "-u", "sleep", "300"]) as stays:
        until(lambda: os.readlink(f"/proc/{stays.pid}/ns/uts") == os.readlink(f"/proc/{pid}/ns/uts"))
        for each in (call, clean):
            each.close()
        leaks = until(lambda: supervisor.get(f"/v1/jobs/{job}").get("leaks"))
        stays.kill()
    assert [leak.partition(":")[0] for leak in leaks] == [f"process {stays.pid} (sleep) in uts"]
    assert supervisor.get(f"/v1/jobs/{other}")["leaks"] == []
    entries = supervisor.get("/v1/audit?after=0")["entries"]
    incidents = [
        (entry["subject"], entry["detail"]["left behind"]) for entry in entries if entry["action"] == "incident"
    ]
    assert incidents == [(f"job {job}", leaks)]


def init_of(supervisor, job):
    """The host's number of a job's init, once it is on record."""
    with sqlite3.connect(supervisor.paths.database) as connection:
        row = connection.execute("SELECT init_pid FROM attempts WHERE job = ?", (job,)).fetchone()
    connection.close()
    return row and row[0]


def parsed(datagram):
    """The fields of one message in journald's native protocol."""
    found = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        (length,) = struct.unpack("<Q", rest[:8])
        found[name.decode()] = rest[8 : 8 + length].decode()
        datagram = rest[8 + length + 1 :]
    return found


def test_the_journal_gets_each_entry_once(tmp_path):
    """Also what was written before it began, and nothing twice after a restart; none without a journal."""
    path = str(tmp_path / "journal")
    database = Database(str(tmp_path / "cbx.db"))
    database.write(audit.record(1.0, "denied", "a\nb", uid=5, detail={"why": "no"})).result()
    assert not Journal(database, str(tmp_path / "sent"), print, path).start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(path)
        journald.settimeout(PATIENCE)
        for count in range(2):
            follower = Journal(database, str(tmp_path / "sent"), print, path)
            assert follower.start()
            database.write(audit.record(2.0, "later", f"job {count}")).result()
            follower.stop()
        messages = [parsed(journald.recv(1 << 16)) for _ in range(3)]
        journald.setblocking(False)
        with pytest.raises(BlockingIOError):
            journald.recv(1)
    assert [message["CBX_AUDIT_ID"] for message in messages] == ["1", "2", "3"]
    assert messages[0]["MESSAGE"] == "audit entry 1: denied a\nb"
    assert messages[1]["CBX_AUDIT_PREVIOUS"] == messages[0]["CBX_AUDIT_HASH"]
    database.close()
