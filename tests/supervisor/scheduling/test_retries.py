"""Which failures are tried again, and how long that waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.retries import NOT_EXECUTED, TEMPORARY, Backoff, Failure, Ration, Rations, helps

SAFE, CONDITIONAL, SEQUENTIAL, DANGEROUS = Tier


def failed(status=1, **fields):
    return Failure(**{"tier": SAFE, "state": "exited", "reason": "exited", "status": status, **fields})


@pytest.mark.parametrize(
    ("failure", "asked", "by_itself"),
    [
        (failed(), True, False),
        (failed(TEMPORARY), True, True),
        (failed(0), False, False),
        (failed(1, benign=frozenset({0, 1})), False, False),
        (failed(127), False, False),
        (failed(137, signal="KILL"), True, False),
        (failed(159, signal="SYS"), False, False),
        (failed(124, reason="timeout"), True, False),
        (failed(137, reason="oom"), False, False),
        (failed(1, reason="disk"), False, False),
        (failed(143, state="cancelled", reason="cancelled"), False, False),
        (failed(126, state="denied", reason="denied"), False, False),
        (failed(75, state="not-started", reason="error"), False, False),
        (failed(125, state="failed-to-start", reason="error"), True, True),
        (failed(127, state="failed-to-start", reason="error"), False, False),
        (failed(125, state="lost", reason="lost"), True, True),
        (failed(TEMPORARY, reaches_out=True), True, False),
        (failed(TEMPORARY, tier=SEQUENTIAL), True, True),
        (failed(TEMPORARY, tier=SEQUENTIAL, held=True), False, False),
        (failed(TEMPORARY, tier=CONDITIONAL, in_place=True), False, False),
        (failed(125, tier=CONDITIONAL, in_place=True, state="failed-to-start", reason="error"), True, True),
        (failed(TEMPORARY, tier=DANGEROUS), False, False),
        (failed(6, reaches_out=True, transient=frozenset({6, 7})), True, True),
        (failed(28, reaches_out=True, transient=frozenset({6, 7})), True, False),
        (failed(6, in_place=True, transient=frozenset({6, 7})), False, False),
        (failed(6, tier=DANGEROUS, transient=frozenset({6, 7})), False, False),
    ],
)
def test_only_what_another_try_can_help_is_tried_again(failure, asked, by_itself):
    """With the submitter's wish, and without it."""
    assert bool(helps(failure, asked=True)) is asked
    assert bool(helps(failure, asked=False)) is by_itself


@given(
    st.builds(
        Failure,
        tier=st.sampled_from(list(Tier)),
        state=st.sampled_from(["exited", "lost", "cancelled", "denied", "not-started", "failed-to-start"]),
        reason=st.sampled_from(["exited", "timeout", "oom", "disk", "lost", "cancelled", "denied", "error"]),
        status=st.integers(0, 255),
        signal=st.sampled_from([None, "KILL", "SYS", "SEGV"]),
        in_place=st.booleans(),
        held=st.booleans(),
        reaches_out=st.booleans(),
        transient=st.frozensets(st.integers(0, 255)),
    ),
    st.booleans(),
)
def test_nothing_is_tried_again_that_may_have_written_in_place(failure, asked):
    """Whatever else is true; and what happens unasked would happen asked."""
    why = helps(failure, asked=asked)
    if why is not None:
        assert failure.tier is not DANGEROUS
        assert not failure.held
        assert not failure.in_place or failure.state == "failed-to-start"
        assert failure.state in {"exited", "lost", "failed-to-start"}
        assert not (failure.state == "failed-to-start" and failure.status in NOT_EXECUTED)
        assert helps(failure, asked=True)


@given(st.floats(0.001, 100), st.floats(0.001, 1000), st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_backoff_doubles_is_jittered_in_full_and_capped(base, cap, retry, chance):
    """Anything from nothing to the bound, by the randomness that is handed in."""
    backoff = Backoff(base, cap)
    bound = backoff.delay(retry, lambda: 1.0)
    assert 0 <= backoff.delay(retry, lambda: chance) <= bound <= cap
    assert backoff.delay(retry, lambda: 0.0) == 0
    assert backoff.delay(1, lambda: 1.0) == min(base, cap)
    assert backoff.delay(retry + 1, lambda: 1.0) == min(cap, 2 * bound) or bound == cap or retry > 64


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 100)), max_size=60),
    st.integers(1, 5),
    st.sampled_from([0.5, 2.0, 10.0]),
)
def test_retries_of_a_program_are_rationed(asked, burst, seconds):
    """In no stretch of time are there more than the burst and one for each so many seconds; none comes too early."""
    rations, now, due = Rations(), 0.0, []
    for pause, backoff in asked:
        now += pause
        at = rations.due("curl", now + backoff, Ration(burst, seconds), now)
        assert at >= now + backoff
        due.append(at)
    due.sort()
    for first, one in enumerate(due):
        for last in range(first, len(due)):
            assert last - first + 1 <= burst + (due[last] - one) / seconds + 1e-6
    assert rations.due("wget", now, Ration(burst, seconds), now) == now  # each program has its own


def test_a_ration_that_nobody_uses_is_whole_again():
    """And is not remembered: there may be very many programs."""
    rations = Rations()
    waits = [rations.due("curl", 0.0, Ration(2, 10.0), 0.0) for _ in range(4)]
    assert waits == [0.0, 0.0, 10.0, 20.0]
    assert rations.due("wget", 1000.0, Ration(2, 10.0), 1000.0) == 1000.0
    assert [rations.due("curl", 1000.0, Ration(2, 10.0), 1000.0) for _ in range(2)] == [1000.0, 1000.0]
