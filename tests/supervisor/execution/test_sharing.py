"""Who may go by what others looked up: only a job that came before the look, of the same user."""

from __future__ import annotations

from cbx_supervisor.execution.sharing import LONGEST, MOST, SharedAnswers


class _Clocks:
    def __init__(self):
        self.unix = 1000.0
        self.monotonic = 50.0

    def go(self, seconds):
        self.unix += seconds
        self.monotonic += seconds

    def shared(self):
        return SharedAnswers(lambda: self.unix, lambda: self.monotonic)


def test_jobs_that_came_before_the_look_share_it():
    """Many that come together are decided by one look."""
    clocks = _Clocks()
    shared = clocks.shared()
    first = shared.of("user", 999.0)
    clocks.go(0.1)
    assert shared.of("user", 999.5) is first
    assert shared.of("user", 1000.0) is first


def test_a_job_that_came_after_the_look_has_its_own():
    """What its submitter did a moment before he submitted it is seen; those before it may use that look."""
    clocks = _Clocks()
    shared = clocks.shared()
    first = shared.of("user", 999.0)
    clocks.go(0.1)
    second = shared.of("user", 1000.05)
    assert second is not first
    assert shared.of("user", 999.5) is second


def test_users_share_nothing():
    """Each sees what his rights show him."""
    shared = _Clocks().shared()
    assert shared.of("user", 1.0) is not shared.of("other", 1.0)


def test_who_did_not_just_come_has_its_own():
    """A job that is planned once more goes by what is there now."""
    shared = _Clocks().shared()
    first = shared.of("user", 1.0)
    assert shared.of("user", None) is not first
    assert shared.of("user", 1.0) is first


def test_answers_are_not_shared_for_long():
    """Also when the Unix clock was set back, and every job seems to have come before the look."""
    clocks = _Clocks()
    shared = clocks.shared()
    first = shared.of("user", 1.0)
    clocks.unix -= 3600
    clocks.monotonic += LONGEST * 2
    assert shared.of("user", clocks.unix) is not first


def test_answers_have_a_bound():
    """However many paths one user's jobs name."""
    shared = _Clocks().shared()
    first = shared.of("user", 1.0)
    first.kinds |= {f"/{number}": "missing" for number in range(MOST + 1)}
    assert shared.of("user", 1.0) is not first
