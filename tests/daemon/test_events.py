"""What is told while it happens: events with Last-Event-ID, logs that are followed, lists that are watched."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sysconfig

import pytest
from tests.daemon.conftest import PATIENCE, until

pytestmark = pytest.mark.root

CLIENT = f"{sysconfig.get_path('scripts')}/cbx-sandbox"


class Stream:
    """An open answer, read event by event."""

    def __init__(self, made, path, last=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(made.paths.http_socket)
        header = f"Last-Event-ID: {last}\r\n" if last else ""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: cbx\r\n{header}Connection: close\r\n\r\n".encode())
        self.rest, self.last = b"", last
        while b"retry: 1000\n\n" not in self.rest:
            self._more()

    def _more(self):
        data = self.socket.recv(65536)
        self.rest += data
        return data

    def next(self):
        """The next event's data; None once the supervisor has hung up."""
        while (b"\r\ndata: " not in self.rest and b"\ndata: " not in self.rest) or not self.rest.count(b"}\n\n"):
            if not self._more():
                return None
        whole, self.rest = self.rest.split(b"}\n\n", 1)
        lines = (whole + b"}").replace(b"\r\n", b"\n").split(b"\n")
        fields = dict(line.split(b": ", 1) for line in lines if b": " in line)
        self.last = int(fields[b"id"])
        return json.loads(fields[b"data"])

    def until(self, job, status):
        """The states of a job on its way to its end."""
        states = []
        while (event := self.next()) is not None:
            if event["job"] == job:
                states.append(event["state"])
                if event["status"] is not None:
                    assert event["status"] == status
                    return states
        raise AssertionError("the stream ended before the job")

    def close(self):
        self.socket.close()


def test_every_change_is_told_in_order(supervisor):
    """Of all jobs, and of one: that stream ends with it; afterwards it tells the end alone."""
    stream = Stream(supervisor, "/v1/events")
    call = supervisor.run("exit 3")
    job = call.job()
    one = Stream(supervisor, f"/v1/jobs/{job}/events")
    assert one.until(job, 3)[-1] == "exited"
    assert one.next() is None
    states = stream.until(job, 3)
    assert states == [state for state in ("queued", "starting", "running", "exited") if state in states]
    assert states[0] == "queued"
    numbers = stream.last
    late = Stream(supervisor, f"/v1/jobs/{job}/events")
    assert late.until(job, 3) == ["exited"]
    assert late.next() is None
    again = supervisor.run("true").job()
    assert stream.until(again, 0)
    assert stream.last > numbers
    assert supervisor.http("GET", "/v1/events?since=x")[0] == 400
    assert supervisor.http("GET", "/v1/jobs/99999/events")[0] == 404


def test_what_was_missed_is_told_later_even_by_another_supervisor(supervisor):
    """From memory, and after a crash from the store; nothing is left out."""
    stream = Stream(supervisor, "/v1/events")
    first = supervisor.run("true").job()
    stream.until(first, 0)
    last = stream.last
    stream.close()
    missed = [supervisor.run(f"exit {status}").end()["result"]["job"] for status in (1, 2)]
    stream = Stream(supervisor, "/v1/events", last)
    assert [stream.until(job, status)[-1] for job, status in zip(missed, (1, 2), strict=True)] == ["exited", "exited"]
    stream.close()
    supervisor.get("/v1/status")  # everything is on disk
    supervisor.stop(signal.SIGKILL)
    supervisor.hang_up()
    supervisor.start()
    stream = Stream(supervisor, "/v1/events", last)
    assert [stream.until(job, status)[-1] for job, status in zip(missed, (1, 2), strict=True)] == ["exited", "exited"]
    after = supervisor.run("exit 4").job()
    assert stream.until(after, 4)[0] == "queued"


def detached(made, line):
    return made.run(line, ("detach", b"1"), fds={}).job()


def client(made, *words, **options):
    return subprocess.Popen([CLIENT, *map(str, words)], env=made.environment, stdout=subprocess.PIPE, **options)


def test_a_log_is_followed_to_the_jobs_end(supervisor, project):
    """Line by line while it comes; what is there already can be left out but for the last lines."""
    waiting = f"until [ -e {project}/go ]; do sleep 0.1; done"
    job = detached(supervisor, f"for i in 1 2 3; do echo line $i; done; {waiting}; echo end")
    follower = client(supervisor, "logs", "-f", job)
    assert [follower.stdout.readline() for _ in range(3)] == [b"line 1\n", b"line 2\n", b"line 3\n"]
    tail = client(supervisor, "logs", "-f", "--tail", 1, job)
    assert tail.stdout.readline() == b"line 3\n"
    assert supervisor.get(f"/v1/jobs/{job}")["state"] == "running"
    (project / "go").touch()
    assert (follower.stdout.read(), tail.stdout.read()) == (b"end\n", b"end\n")
    assert (follower.wait(PATIENCE), tail.wait(PATIENCE)) == (0, 0)
    for words, expected in (
        ((), b"line 1\nline 2\nline 3\nend\n"), (("--tail", 2), b"line 3\nend\n"), (("--tail", 0), b""),
        (("--tail", 9), b"line 1\nline 2\nline 3\nend\n"),
    ):  # fmt: skip
        assert client(supervisor, "logs", *words, job).communicate(timeout=PATIENCE)[0] == expected
    assert client(supervisor, "logs", 9999, stderr=subprocess.DEVNULL).wait(PATIENCE) == 125


def test_a_log_is_followed_past_the_death_of_its_supervisor(supervisor, project):
    """What came before, meanwhile and after comes once, in order."""
    waiting = f"until [ -e {project}/go ]; do sleep 0.1; done"
    job = detached(supervisor, f"printf 'before '; echo it; {waiting}; echo after it")
    follower = client(supervisor, "logs", "-f", job)
    tail = client(supervisor, "logs", "-f", "--tail", 1, job)
    assert follower.stdout.readline() == b"before it\n"
    for process in (follower, tail):
        process.send_signal(signal.SIGSTOP)  # root's clients would start the next supervisor themselves
    supervisor.stop(signal.SIGKILL)
    supervisor.hang_up()
    supervisor.start()
    for process in (follower, tail):
        process.send_signal(signal.SIGCONT)
    until(lambda: supervisor.get(f"/v1/jobs/{job}")["state"] == "running")
    (project / "go").touch()
    assert (follower.communicate(timeout=PATIENCE)[0], follower.returncode) == (b"after it\n", 0)
    assert tail.wait(PATIENCE) == 0
    assert tail.stdout.read().endswith(b"after it\n")


def output_after(made, job, place):
    """The status and the text of an answer."""
    connection = http.client.HTTPConnection("cbx", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(made.paths.http_socket)
    with contextlib.closing(connection):
        connection.request("GET", f"/v1/jobs/{job}/log/events", headers={"Last-Event-ID": place})
        response = connection.getresponse()
        return response.status, response.read().decode()


def test_output_goes_on_after_a_place(supervisor):
    """Of a job that is over, too; a place that cannot be one is a clear error."""
    job = detached(supervisor, "printf 0123456789")
    until(lambda: supervisor.get(f"/v1/jobs/{job}")["state"] == "exited")
    status, text = output_after(supervisor, job, "1:4")
    values = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    assert (status, [(value["attempt"], base64.b64decode(value["data"]), value["over"]) for value in values]) == (
        200, [(1, b"456789", False), (0, b"", True)],
    )  # fmt: skip
    assert "id: 1:10\n" in text
    for wrong in ("0:4", "1", "x:1", "1:-1", "1:1:1"):
        status, text = output_after(supervisor, job, wrong)
        assert (status, "there is no such place" in text) == (400, True)


def test_a_list_is_watched(supervisor):
    """What is there, then a line for each change, or JSON."""
    plain = client(supervisor, "list", "--watch")
    assert plain.stdout.readline().startswith(b"JOB")
    values = client(supervisor, "list", "--watch", "--json")
    until(lambda: supervisor.get("/v1/status"))
    job = supervisor.run("exit 5").end()["result"]["job"]
    while (line := plain.stdout.readline()) != f"job {job}: exited, status 5\n".encode():
        assert line.startswith(b"job ")
    seen = json.loads(values.stdout.readline())
    while seen["status"] is None:
        seen = json.loads(values.stdout.readline())
    assert (seen["job"], seen["status"]) == (job, 5)
    for process in (plain, values):
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130


def test_columns_are_chosen(supervisor):
    """And unknown ones are named."""
    supervisor.run("echo one").end()
    out, _ = client(supervisor, "list", "--columns", "job,user,command").communicate(timeout=PATIENCE)
    assert [line.split() for line in out.decode().splitlines()] == [
        ["JOB", "USER", "COMMAND"],
        ["1", "0", "echo", "one"],
    ]
    assert client(supervisor, "list", "--columns", "nonsense", stderr=subprocess.DEVNULL).wait(PATIENCE) == 125


def test_kill_cancel_and_config_on_the_command_line(supervisor):
    """The verbs reach what they name."""
    os.makedirs(supervisor.paths.config, mode=0o755, exist_ok=True)
    call = supervisor.run("sleep 300")
    assert client(supervisor, "kill", "-s", "SIGTERM", call.job()).wait(PATIENCE) == 0
    assert call.end()["result"]["signal"] == "TERM"
    call = supervisor.run("sleep 300")
    assert client(supervisor, "cancel", "--reason", "enough", call.job()).wait(PATIENCE) == 0
    assert call.end()["result"]["reason"] == "cancelled"
    trail, _ = client(supervisor, "audit").communicate(timeout=PATIENCE)
    assert b'reason="enough"' in trail
    with open(f"{supervisor.paths.config}/cbx.toml", "w") as file:
        file.write("[instances]\nsequential_max = 2\n")
    os.chmod(file.name, 0o644)
    line = b"instances.sequential_max: 4 -> 2\n"
    assert client(supervisor, "config", "diff").communicate(timeout=PATIENCE)[0] == line
    assert client(supervisor, "config", "reload").communicate(timeout=PATIENCE)[0] == line
    assert b"instances.sequential_max = 2\n" in client(supervisor, "config", "show").communicate(timeout=PATIENCE)[0]
    assert client(supervisor, "config", "check").wait(PATIENCE) == 0
    with open(f"{supervisor.paths.config}/cbx.toml", "a") as file:
        file.write("sequential = 2\n")
    for verb in ("check", "diff", "reload"):
        assert client(supervisor, "config", verb, stderr=subprocess.DEVNULL).wait(PATIENCE) == 125
    schema, _ = client(supervisor, "config", "schema").communicate(timeout=PATIENCE)
    assert "Settings" in json.loads(schema)["$defs"]
