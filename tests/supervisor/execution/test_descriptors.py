"""What was passed is closed once, whoever asks for it."""

from __future__ import annotations

import threading

from cbx_supervisor.execution.submission import Descriptors


def test_nothing_is_given_away_twice():
    """Two threads that ask at the same time get all of it between them, and nothing both."""
    for _ in range(50):
        passed = Descriptors({str(number): number for number in range(400)})
        for number in range(0, 400, 2):
            passed.drop(str(number))
        gate, given = threading.Barrier(3), []

        def ask(take, gate=gate, given=given):
            gate.wait()
            given.append(take())

        threads = [
            threading.Thread(target=ask, args=(take,)) for take in (passed.left_out, passed.release, passed.release)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(fd for fds in given for fd in fds) == list(range(400))


def test_what_is_left_out_is_not_there_and_is_given_away():
    """One that is put in the place of another leaves that one out."""
    passed = Descriptors({"stdin": 3, "cwd": 4})
    passed.drop("cwd")
    passed.drop("lease")
    passed.put("stdin", 5)
    assert "cwd" not in passed
    assert passed["stdin"] == 5
    assert sorted(passed.left_out()) == [3, 4]
    assert passed.release() == [5]
    assert passed.release() == []
