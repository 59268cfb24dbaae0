"""What the client makes of a supervisor that goes away, over a real socket."""

from __future__ import annotations

import itertools
import socket
import threading

import pytest

from cbx_supervisor.client import http
from cbx_supervisor.client.failure import UnreachableError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 500\n\n"


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Answer one connection after the other with these bytes, then hang up; returns what was asked."""
    monkeypatch.setenv("CBX_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(http, "RETRY_SECONDS", 0.01)
    tmp_path.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "cbx.sock"))
        listening.listen()
        asked, threads = [], []

        def serve(answers):
            for answer in answers:
                connection, _ = listening.accept()
                with connection:
                    asked.append(connection.recv(1 << 16))
                    connection.sendall(answer)
            listening.close()

        def start(*answers):
            threads.append(threading.Thread(target=serve, args=(answers,)))
            threads[0].start()
            return asked

        yield start
        threads[0].join()


def test_a_stream_that_is_lost_before_its_first_answer_is_asked_for_again(served):
    """A supervisor was there, so the next one is waited for; from then on the stream goes on where it was."""
    first, second = b'id: 1:3\ndata: {"n": 1}\n\n', b'data: {"n": 2}\n\n'
    asked = served(b"", HEAD + first, b"", HEAD + second)
    events = (event for event in http.Api().events("/v1/events") if event is not None)
    assert list(itertools.islice(events, 2)) == [{"n": 1}, {"n": 2}]
    assert [b"Last-Event-ID: 1:3" in request for request in asked] == [False, False, True, True]


def test_one_request_that_is_lost_is_an_error(served):
    """Whether it was carried out is not known."""
    served(b"")
    with pytest.raises(UnreachableError):
        http.Api().get("/v1/status")


def test_a_wait_outlives_any_number_of_supervisors(served, monkeypatch):
    """The patience is with the next one to come: it begins anew with each that is lost, however long it was asked."""
    monkeypatch.setattr(http, "PATIENCE", 0.0)
    monkeypatch.setattr(http, "BETWEEN_SECONDS", 0.01)
    clock = itertools.count(0, 1000)
    monkeypatch.setattr(http.time, "monotonic", lambda: next(clock))
    body = b'{"job": 7}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    asked = served(b"", b"", b"", answer)
    assert http.Api().wait(7) == {"job": 7}
    assert len(asked) == 4


def test_a_wait_that_was_never_answered_is_an_error_at_once(tmp_path, monkeypatch):
    """A user, who starts no supervisor, finds no socket: there is nobody to be patient with."""
    monkeypatch.setenv("CBX_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(http, "_UnixConnection", _nowhere)
    with pytest.raises(UnreachableError):
        http.Api().wait(7)


def _nowhere(*_args, **_more):
    raise UnreachableError("cannot reach the supervisor")
