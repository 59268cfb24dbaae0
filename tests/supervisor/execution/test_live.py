"""A job that is not over, while what was asked for is on disk alone."""

from __future__ import annotations

from cbx_sandbox.policy import Identity
from cbx_sandbox.runner import Request
from cbx_supervisor.execution.live import LiveJob
from cbx_supervisor.execution.submission import Submission


def test_a_parked_job_can_be_looked_at_also_while_it_is_read():
    """Who stops the supervisor, or looks for a token, comes at any moment; and only one goes on with it."""
    request = Request(Identity(0, 0, (0,), "root", "/root"), "/", {}, line="true")
    submission = Submission(request, 0, 0, 1, detached=True)
    live, woken = LiveJob(1, submission, 0.0, lambda _: None), []
    assert not live.parked
    assert not live.unpark()
    live.park(woken.append)
    assert (live.parked, live.waits_without_client, live.uid) == (True, True, 0)
    assert live.unpark()
    assert (live.parked, live.waits_without_client) == (True, True)
    assert not live.unpark()
    live.submission = submission
    assert not live.parked
    assert woken == []
