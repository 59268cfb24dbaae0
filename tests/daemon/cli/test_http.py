"""The verbs that ask over HTTP, against answers that the test writes."""

import http.server
import json
import os
import socketserver
import subprocess
import threading

import pytest

pytestmark = pytest.mark.root

RESULT = {
    "job": 12, "command": "make", "state": "exited", "reason": "exited", "status": 3, "exit_code": 3, "signal": None,
    "tier": "SEQUENTIAL_REQUIRED", "reasons": [{"code": "unknown", "text": "not known", "tier": "SEQUENTIAL_REQUIRED"}],
    "usage": {"wall_seconds": 1.5}, "guarantees": {"in_force": ["memory-limit"], "missing": []},
    "changes": {"added": 1, "changed": 2, "deleted": 0, "bytes": 10}, "checkpoint": {"id": 4, "state": "rolled-back"},
    "leaks": [], "identity": {"uid": 0, "gid": 0}, "workdir": "/srv", "started": None, "ended": None,
    "message": "job 12 exited with 3",
}  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers from a list, and remembers what was asked."""

    def respond(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.command, self.path, body))
        answer = self.server.answers.pop(0)
        if answer is None:
            self.connection.close()
            return
        status, content = answer
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = respond  # noqa: N815 - the base class calls these names

    def address_string(self):
        return "client"

    def log_message(self, *arguments):
        """Say nothing."""


class Server(socketserver.ThreadingUnixStreamServer):
    """An HTTP server on cbx.sock."""

    daemon_threads = True

    def __init__(self, directory, client):
        super().__init__(str(directory / "cbx.sock"), Handler)
        self.answers, self.asked, self._client = [], [], client
        self._environment = {**os.environ, "CBX_RUNTIME_DIR": str(directory)}

    def call(self, *arguments, answers, text=True, redirection=None):
        """Run the client with these answers waiting for it."""
        self.answers[:] = answers
        command = [self._client, *arguments]
        if redirection is not None:
            command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command]
        return subprocess.run(
            command,
            env=self._environment,
            capture_output=True,
            text=text,
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture
def api(tmp_path, client):
    """A server to ask."""
    server = Server(tmp_path, client)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_wait_asks_until_the_job_has_ended_and_takes_its_status(api):
    """204 means: not yet."""
    run = api.call("wait", "12", answers=[(204, b""), (204, b""), (200, RESULT)])
    assert (run.returncode, run.stdout, run.stderr) == (3, "", "cbx: job 12 exited with 3\n")
    assert api.asked == [("GET", "/v1/jobs/12/wait?timeout=50", None)] * 3


def test_wait_for_several_takes_the_last_ones_status(api):
    """As the shell's own wait does."""
    run = api.call(
        "wait", "-q", "--json", "12", "13", answers=[(200, RESULT), (200, {**RESULT, "job": 13, "status": 0})]
    )
    assert run.returncode == 0
    assert [json.loads(line)["job"] for line in run.stdout.splitlines()] == [12, 13]
    assert run.stderr == ""


def test_show_and_list(api):
    """For people and as JSON."""
    assert json.loads(api.call("show", "--json", "12", answers=[(200, RESULT)]).stdout) == RESULT
    assert "exited with 3" in api.call("show", "12", answers=[(200, RESULT)]).stdout
    run = api.call("list", "--state", "running", "-n", "3", answers=[(200, {"jobs": [RESULT]})])
    assert run.stdout.splitlines()[1].split() == ["12", "exited", "3", "sequential", "1.5", "s", "4", "make"]
    assert api.asked[-1] == ("GET", "/v1/jobs?state=running&limit=3", None)


def test_a_log_is_passed_on_as_it_is(api):
    """Bytes that are no text too."""
    run = api.call("logs", "12", answers=[(200, b"\xff\x1b[31m\n")], text=False)
    assert run.stdout == b"\xff\x1b[31m\n"


def test_checkpoints(api):
    """The verbs of the group and what they send."""
    held = {"id": 4, "state": "held", "job": 12, "changes": RESULT["changes"], "created": 1_000_000_000.5}
    assert "+1 ~2" in api.call("checkpoint", "list", answers=[(200, {"checkpoints": [held]})]).stdout
    assert "2001-09-0" in api.call("checkpoint", "show", "4", answers=[(200, held)]).stdout
    assert api.call("checkpoint", "diff", "4", "--name-status", answers=[(200, b"M\tx\n")]).stdout == "M\tx\n"
    api.call("checkpoint", "commit", "4", "--allow-privileged", "--on-conflict", "ours", answers=[(200, held)])
    api.call("checkpoint", "rollback", "4", answers=[(200, held)])
    assert api.asked[2:] == [
        ("GET", "/v1/checkpoints/4/diff?format=name-status", None),
        ("POST", "/v1/checkpoints/4/commit", {"allow_privileged": True, "on_conflict": "ours"}),
        ("POST", "/v1/checkpoints/4/rollback", {}),
    ]


def test_cancel(api):
    """Ask first, or kill."""
    api.call("cancel", "3", "4", answers=[(200, {}), (200, {})])
    api.call("cancel", "--kill", "5", answers=[(200, {})])
    assert [(path, body["signal"]) for _method, path, body in api.asked] == [
        ("/v1/jobs/3/cancel", "TERM"),
        ("/v1/jobs/4/cancel", "TERM"),
        ("/v1/jobs/5/cancel", "KILL"),
    ]


def test_a_problem_is_told_with_its_hint_and_status(api):
    """application/problem+json."""
    problem = {"title": "no such job", "detail": "job \x1b12", "status": 404, "hint": "see list", "exit_status": 126}
    run = api.call("show", "12", answers=[(404, problem)])
    assert run.returncode == 126
    assert run.stderr == "cbx-sandbox: no such job\njob \\x1b12\n  see list\n"


@pytest.mark.parametrize("answer", [(500, b"oops"), (500, b"[]"), (200, b"oops"), None])
def test_an_answer_that_is_none(api, answer):
    """One line and 125, whatever comes."""
    run = api.call("show", "12", answers=[answer])
    assert run.returncode == 125
    assert run.stderr.startswith("cbx-sandbox: ")
    assert "Traceback" not in run.stderr


def test_the_status_of_the_supervisor(api):
    """Its process id, also in JSON."""
    status = {
        "supervisor": {"pid": 7, "version": "1", "started": "now", "idle_exit_seconds": 300},
        "jobs": {"running": 2},
    }
    assert json.loads(api.call("status", "--json", answers=[(200, status)]).stdout)["supervisor"]["pid"] == 7
    assert "2 running" in api.call("status", answers=[(200, status)]).stdout


@pytest.mark.parametrize(
    ("state", "said"), [("queued", "is paused already (queued)"), ("exited", "is over already (exited)")]
)
def test_a_pause_that_changes_nothing_says_why(api, state, said):
    done = api.call("pause", "12", answers=[(200, {"job": 12, "state": state, "changed": False})])
    assert (done.returncode, done.stdout) == (0, "")
    assert f"job 12 {said}" in done.stderr


@pytest.mark.parametrize(
    ("redirection", "why"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
@pytest.mark.parametrize(
    ("words", "answers"),
    [
        ("logs 12", [(200, b"little")]),
        ("logs --raw 12", [(200, b"x" * 100_000)]),
        ("checkpoint diff 4", [(200, b"x" * 100_000)]),
        ("list --watch", [(200, b"retry: 1\n\n"), (200, {"jobs": [RESULT]})]),
    ],
)
def test_what_is_passed_on_and_cannot_be_written(api, words, answers, redirection, why):
    """Is told as of any other answer: cbx is not at fault."""
    run = api.call(*words.split(), answers=answers, redirection=redirection)
    assert (run.returncode, run.stderr) == (125, f"cbx-sandbox: cannot write to standard output: {why}\n")
