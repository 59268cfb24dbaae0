"""What is kept of a job as text is read back as it was."""

from __future__ import annotations

import pytest

from cbx_supervisor.daemon import requests
from cbx_supervisor.daemon.peers import Peer
from cbx_supervisor.execution import kept, secrets


@pytest.mark.parametrize(
    "word", [b"plain", "größe \u2028 \U0001f600".encode(), b"no \xff text \xed\xb3\xbf", b'\x7f\n"\\\x01']
)
def test_what_was_asked_for_is_read_back_as_it_was(word):
    """Also where an argument, a path and a variable hold bytes that are no text."""
    asked = [("kind", b"run"), ("version", b"1"), ("cwd", b"/tmp/" + word), ("arg", b"cat"), ("arg", word)]
    asked += [("env", b"NAME=" + word), ("detach", b"1"), ("timeout", b"0.1"), ("memory", b"4611686018427387904")]
    asked += [("lock_timeout", b"1e9"), ("after", b"7"), ("resource", b"gpu:2"), ("tier", b"sequential")]
    submission = requests.submission(requests.Fields(asked), Peer(1, 0, 0), lambda: True)
    text, more = kept.submission_texts(submission)
    assert more is None
    assert kept.submission_of(text) == submission


@pytest.mark.parametrize("word", ["plain", "größe \u2028", "\U0001f600"])
def test_what_holds_secrets_is_read_back_from_its_file(tmp_path, word):
    """Whatever letters it is written in."""
    asked = [("kind", b"run"), ("version", b"1"), ("cwd", b"/"), ("arg", b"cat"), ("arg", word.encode())]
    asked += [("setenv", b"API_TOKEN=hunter2secretvalue"), ("detach", b"1")]
    submission = requests.submission(requests.Fields(asked), Peer(1, 0, 0), lambda: True)
    bare, true = kept.submission_texts(submission)
    assert "hunter2" not in bare
    secrets.keep(str(tmp_path), 1, true)
    assert kept.submission_of(secrets.find(str(tmp_path), 1)) == submission
