"""A job that is not over, while what was asked for is on disk alone."""

from __future__ import annotations

from cbx_sandbox.policy import Identity
from cbx_sandbox.runner import Request
from cbx_supervisor.execution.live import BY_HAND, FOR_ANOTHER, LiveJob
from cbx_supervisor.execution.submission import Submission
from cbx_supervisor.scheduling.order import Importance


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


def test_a_signal_from_before_it_was_parked_reaches_its_init():
    """One that ends no job that waits is the command's, whenever it was sent."""

    class Init:
        closed = False

        def __init__(self):
            self.control, self.got = self, []

        def signal(self, number):
            self.got.append(number)

    request = Request(Identity(0, 0, (0,), "root", "/root"), "/", {}, line="true")
    submission = Submission(request, 0, 0, 1, detached=True)
    live, init = LiveJob(1, submission, 0.0, lambda _: None), Init()
    live.signal("USR1", 10)
    live.park(lambda _: None)
    live.signal("USR2", 12)
    live.unpark()
    live.submission = submission
    live.launched(init)
    assert init.got == [10, 12]


def test_a_priority_that_is_said_while_it_is_read_is_that_of_its_start():
    """What was read is older; the control is read without that."""
    request = Request(Identity(0, 0, (0,), "root", "/root"), "/", {}, line="true")
    submission = Submission(request, 0, 0, 1, detached=True)
    found = []
    for said in ([], [Importance.LOW, Importance.HIGH]):
        live = LiveJob(1, submission, 0.0, lambda _: None)
        live.park(lambda _: None)
        live.unpark()
        for importance in said:
            live.prioritise(importance)
        live.submission = submission
        found.append(live.submission.importance)
    assert found == [Importance.NORMAL, Importance.HIGH]
    live.prioritise(Importance.DEFERRED)
    assert live.submission.importance is Importance.DEFERRED


def test_between_two_attempts_only_what_somebody_paused_stays_so():
    """What the engine stopped starts over with its next attempt, and what was resumed meanwhile, too."""
    request = Request(Identity(0, 0, (0,), "root", "/root"), "/", {}, line="true")
    live = LiveJob(1, Submission(request, 0, 0, 1, detached=True), 0.0, lambda _: None)
    for before, meanwhile, paused in (
        ((), (), False),
        ((FOR_ANOTHER,), (), False),
        ((BY_HAND, FOR_ANOTHER), (), True),
        ((BY_HAND,), ((BY_HAND, False),), False),
        ((), ((BY_HAND, True),), True),
        ((), ((FOR_ANOTHER, True),), False),
    ):
        for why in before:
            live.freeze(why, on=True)
        live.waits_again(2)
        for why, on in meanwhile:
            live.freeze(why, on=on)
        assert live.left_its_place() is paused
        assert live.frozen == frozenset()
