"""The exec socket against callers that mean harm: refused with a reason, and nothing stays open."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
import traceback

import pytest
from tests.daemon.conftest import Call, lock_domain, until

from cbx_supervisor.protocol import frame

pytestmark = pytest.mark.root


def descriptors(supervisor):
    return len(os.listdir(f"/proc/{supervisor.process.pid}/fd"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One supervisor for all of these: each must leave it as it was."""
    with lock_domain(tmp_path_factory) as made:
        made.start("--idle-exit", "300")
        made.run("true").end()
        made.get("/v1/status")
        time.sleep(1.5)  # the log opens its own
        yield made


@pytest.fixture
def steady(shared):
    """No descriptor is left behind by what a test does."""
    before = descriptors(shared)
    yield shared
    shared.hang_up()
    until(lambda: descriptors(shared) <= before)


def null_fds(count):
    return [os.open("/dev/null", os.O_RDWR) for _ in range(count)]


def close(fds):
    for fd in fds:
        os.close(fd)


HOSTILE = {
    "no frame at all": b"GET / HTTP/1.1\r\n\r\n",
    "too long": struct.pack(">I", (4 << 20) + 1),
    "empty": struct.pack(">I", 0),
    "no field": struct.pack(">I", 3) + b"abc",
    "bad key": frame.encode([("kind", b"run")]).replace(b"kind", b"KIND"),
    "unknown field": frame.encode([("kind", b"run"), ("version", b"1"), ("colour", b"red")]),
    "wrong kind": frame.encode([("kind", b"kill")]),
    "not a request": frame.encode([("kind", b"run"), ("version", b"1"), ("fds", b"stdin,stdin")]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_is_answered_and_hung_up_on(steady, name):
    """With status 125; the descriptors that came along are closed."""
    fds = null_fds(4)
    call = steady.call(raw=HOSTILE[name], fds=fds)
    close(fds)
    assert call.next("error")["status"] == b"125"
    assert call.hung_up()


@pytest.mark.parametrize("count", [6, 40, 100])
def test_too_many_descriptors_are_refused(steady, count):
    """Also more than the kernel would cut off."""
    fds = null_fds(count)
    call = steady.call(raw=b"\0\0\0", fds=fds)
    close(fds)
    assert call.next("error")["status"] == b"125"


def test_descriptors_in_portions_are_counted_together(steady):
    """Six in two messages are six."""
    fds = null_fds(3)
    call = steady.call(raw=b"\0", fds=fds)
    socket.send_fds(call.socket, [b"\0"], fds)
    close(fds)
    assert call.next("error")["status"] == b"125"


def test_a_request_that_never_ends_is_dropped(made):
    """And holds up nobody meanwhile."""
    supervisor = made.start(TIMEOUTS_FIRST_FRAME_SECONDS="1")
    before = descriptors(supervisor)
    fds = null_fds(5)
    call = supervisor.call(raw=b"\0\0\1\0kind", fds=fds)
    close(fds)
    assert supervisor.run("true").end()["status"] == 0
    assert b"cannot wait longer" in call.next("error")["text"]
    assert call.hung_up()
    call.close()
    until(lambda: descriptors(supervisor) <= before + 8)


def standard(**changes):
    null = os.open("/dev/null", os.O_RDWR)
    read, write = os.pipe()
    fds = {"stdin": null, "stdout": null, "stderr": null, "lease": read}
    return {**fds, **changes}, [null, read, write]


REFUSED = ("directory", "socket", "path only", "block device", "eventfd", "kmsg")
REFUSALS = [(what, name) for what in REFUSED for name in ("stdin", "stdout", "stderr")]


# A writable file on stdin is none of them: it is opened again, for reading only.
@pytest.mark.parametrize(("what", "name"), [*REFUSALS, ("writable file", "stdout"), ("writable file", "stderr")])
def test_what_must_not_reach_a_job_is_refused(steady, tmp_path, name, what):
    """Whatever the client did not check."""
    pair = socket.socketpair()
    (tmp_path / "file").write_text("")
    os.mknod(tmp_path / "disk", 0o60600, os.makedev(7, 0))
    fd = {
        "directory": lambda: os.open("/", os.O_RDONLY),
        "socket": lambda: os.dup(pair[0].fileno()),
        "path only": lambda: os.open("/dev/null", os.O_PATH),
        "block device": lambda: os.open(tmp_path / "disk", os.O_PATH),
        "writable file": lambda: os.open(tmp_path / "file", os.O_RDWR),
        "eventfd": lambda: os.eventfd(0),
        "kmsg": lambda: os.open("/dev/kmsg", os.O_RDONLY),
    }[what]()
    fds, made = standard(**{name: fd})
    call = steady.call(("arg", b"true"), fds=fds)
    close([fd, *made])
    last = call.end()
    assert last["status"] == 125
    assert f"cannot pass {name}" in last["text"].decode()
    for end in pair:
        end.close()


def test_a_request_needs_a_lease_unless_detached(steady):
    """A job that nobody waits for must be asked for as one."""
    fds, made = standard()
    lease = fds.pop("lease")
    call = steady.call(("arg", b"true"), fds=fds)
    assert call.end()["status"] == 125
    writing = steady.call(("arg", b"true"), fds={**fds, "lease": made[2]})
    assert b"reading end" in writing.end()["text"]
    assert lease in made
    close(made)


def test_a_directory_that_is_not_the_callers_is_refused(steady):
    """The path is what counts; the descriptor must mean the same."""
    fds, made = standard(cwd=os.open("/etc", os.O_PATH))
    call = steady.call(("arg", b"true"), ("cwd", b"/usr"), fds=fds)
    assert b"not the caller's directory" in call.end()["text"]
    close([*made, fds["cwd"]])


def test_later_frames_are_signals_and_kills_only(steady):
    """A second request on a connection is none."""
    call = steady.run("sleep 60")
    call.job()
    call.send(("kind", b"run"))
    assert call.next("error")["status"] == b"125"
    until(lambda: steady.get("/v1/status")["jobs"]["running"] == 0)


@pytest.mark.parametrize(
    ("frames", "status", "reason"),
    [
        ([("kind", b"signal"), ("name", b"USR1")], 128 + 10, "exited"),
        ([("kind", b"kill")], 128 + 9, "cancelled"),
    ],
)
def test_signals_reach_the_command(steady, frames, status, reason):
    """As they would without cbx."""
    call = steady.run("sleep 60")
    job = call.job()
    until(lambda: steady.get(f"/v1/jobs/{job}")["state"] == "running")
    call.send(*frames)
    result = call.end()["result"]
    assert (result["status"], result["reason"]) == (status, reason)


def test_the_job_ends_with_its_caller(steady):
    """Hanging up is enough."""
    call = steady.run("sleep 60")
    job = call.job()
    call.close()
    until(lambda: steady.get(f"/v1/jobs/{job}")["state"] == "cancelled")


def test_a_detached_job_outlives_its_caller_and_keeps_its_output(steady):
    """Its stdin is empty."""
    null = os.open("/dev/null", os.O_RDWR)
    call = steady.run("cat; sleep 0.3; echo out; echo err >&2; exit 4", ("detach", b"1"), fds={"stdin": null})
    os.close(null)
    job = call.job()
    assert call.hung_up()
    assert steady.get(f"/v1/jobs/{job}/wait?timeout=20")["status"] == 4
    assert steady.get(f"/v1/jobs/{job}/log") == b"out\nerr\n"


def test_the_output_of_a_detached_job_is_kept_up_to_a_size(made):
    """The job itself goes on."""
    supervisor = made.start(SANDBOX_OUTPUT_LOG_MB="1")
    call = supervisor.run("seq 1000000; exit 5", ("detach", b"1"), fds={})
    job = call.job()
    assert supervisor.get(f"/v1/jobs/{job}/wait?timeout=30")["status"] == 5
    log = supervisor.get(f"/v1/jobs/{job}/log")
    assert os.path.getsize(supervisor.paths.log_of(job)) <= 1 << 20
    assert len(log) < (1 << 20) + 100
    assert log.startswith(b"1\n2\n")
    assert b"bytes were not kept]\n" in log
    assert log.endswith(b"999999\n1000000\n")


def test_a_dry_run_runs_nothing(steady, project):
    """It answers with the plan, and takes no number."""
    before = steady.get("/v1/jobs")["jobs"]
    call = steady.run("touch here", ("dry_run", b"1"), ("cwd", os.fsencode(project)))
    plan = call.end()["result"]
    assert plan["locks"]
    assert plan["mounts"]
    assert not (project / "here").exists()
    assert steady.get("/v1/jobs")["jobs"] == before


def test_a_refusal_is_remembered(steady):
    """126, with a job to show and a line in the audit trail."""
    last = steady.run("reboot").end()
    assert last["status"] == 126
    assert steady.get(f"/v1/jobs/{last['result']['job']}")["state"] == "denied"


CALLER = """
import socket, sys
for path, data in ((sys.argv[1], bytes(4)), (sys.argv[2], b"GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")):
    try:
        s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(path); s.sendall(data)
        print("answer", s.recv(1000))
    except OSError as error:
        print("error", error)
"""


def test_a_process_in_a_job_s_group_cannot_command(steady):
    """By its group, though it is root and can reach the sockets; control: the same caller outside is served."""
    group = f"/sys/fs/cgroup/unified/{steady.paths.cgroup}/jobs/fake"
    if not os.path.isdir(os.path.dirname(group)):
        group = f"/sys/fs/cgroup/{steady.paths.cgroup}/jobs/fake"
    os.mkdir(group)
    command = [sys.executable, "-c", CALLER, steady.paths.exec_socket, steady.paths.http_socket]

    def enter():
        with open(f"{group}/cgroup.procs", "w") as file:
            file.write("0")

    try:
        inside = subprocess.run(
            command, capture_output=True, text=True, preexec_fn=enter, check=True
        ).stdout.splitlines()
    finally:
        until(lambda: not os.path.exists(group) or _rmdir(group))
    outside = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "must not command" in inside[0]
    assert "200 OK" not in inside[1]
    assert "200 OK" in outside


def _rmdir(path):
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


def test_users_touch_their_own_jobs_only(supervisor):
    """Somebody else's look like ones that do not exist."""
    os.chmod(supervisor.paths.runtime, 0o755)
    os.chown(supervisor.paths.http_socket, 0, 65534)
    os.chown(supervisor.paths.exec_socket, 0, 65534)
    parent = supervisor.paths.runtime
    while parent != "/":
        os.chmod(parent, os.stat(parent).st_mode | 0o111)
        parent = os.path.dirname(parent)
    mine = supervisor.run("true").end()["result"]["job"]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            assert supervisor.http("GET", f"/v1/jobs/{mine}")[0] == 404
            assert supervisor.http("POST", f"/v1/jobs/{mine}/cancel", {})[0] == 404
            assert supervisor.http("GET", "/v1/jobs")[1] == {"jobs": []}
            assert supervisor.http("GET", "/v1/reports/operations")[1]["jobs"] == 0
            assert Call(supervisor.paths.exec_socket, [("arg", b"true"), ("user", b"root")]).end()["status"] == 126
            result = Call(supervisor.paths.exec_socket, [("arg", b"true")]).end()["result"]
            assert result["identity"] == {"uid": 65534, "gid": 65534}
            seen = Call(supervisor.paths.exec_socket, [("line", b"rm /root/.*"), ("dry_run", b"1")]).end()
            assert "/root/." not in json.dumps(seen["result"]["effects"]).replace("/root/.*", "")
            assert [job["job"] for job in supervisor.http("GET", "/v1/jobs")[1]["jobs"]][:1] == [result["job"]]
            status = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
