"""No starvation: by every strategy, under any mix, each job is started after a bounded number of others."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbx_sandbox.policy import LockMode
from cbx_sandbox.shell.estimate import Bound
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling import queue
from cbx_supervisor.scheduling.actions import Start
from cbx_supervisor.scheduling.budgets import MEMORY, PASSED_AT_MOST
from cbx_supervisor.scheduling.capacity import Capacity
from cbx_supervisor.scheduling.engine import Engine
from cbx_supervisor.scheduling.lock_modes import LockKey
from cbx_supervisor.scheduling.order import Entry, Importance
from cbx_supervisor.scheduling.queue import OLDEST_EVERY
from cbx_supervisor.scheduling.strategies import Strategy

SAFE = Tier.SAFE_PARALLEL
SLOTS = dict.fromkeys(Tier, 2)
CAPACITY = Capacity(SLOTS, 3, budgets={MEMORY: 100}, cores=2)
# So many others may be started before the oldest: by age, by its locks, by its memory, and who ran already.
LONGEST = 4  # ends of others that a job sees while it runs
BOUND = 2 * OLDEST_EVERY + 2 * PASSED_AT_MOST + CAPACITY.total

rivals = st.fixed_dictionaries(
    {
        "tier": st.sampled_from(list(Tier)),
        "score": st.floats(1, 10),
        "importance": st.sampled_from(list(Importance)),
        "uid": st.integers(1, 4),
        "seconds": st.floats(0, 1000),
        "bound": st.sampled_from(list(Bound)),
        "memory": st.integers(1, 60),
        "wants": st.sets(st.tuples(st.sampled_from(("/a", "/b", "/a/c")), st.sampled_from("SUX")), max_size=2),
    }
)


def entry(number, at, *, memory, wants, **said):
    locks = tuple((LockKey(1, path), LockMode(mode)) for path, mode in sorted(wants))
    return Entry(number, wants=locks, uses=((MEMORY, memory),), submitted=at, **said)


def started_before(engine, oldest, mix, order):
    """How many are started before ``oldest`` while others keep coming, two for each that ends."""
    numbers, at, others, ends = itertools.count(1), 0.0, 0, {}
    coming = itertools.cycle(mix)
    actions = []
    for _ in range(6):
        actions += engine.submit(entry(next(numbers), at, **next(coming)), at)
    number = next(numbers)
    actions += engine.submit(entry(number, at, **oldest), at)
    before = {one.number for one in actions if isinstance(one, Start)}
    if number in before:
        return 0
    for turn in itertools.cycle(order):
        at += 1.0
        ends = {one: ends.get(one, 0) + 1 for one in engine.running}
        running = list(engine.running)  # in the order of their starts
        over = running[0] if ends[running[0]] > LONGEST else running[turn % len(running)]
        actions = engine.ended(over, at, succeeded=True)
        for _ in range(2):
            actions += engine.submit(entry(next(numbers), at, **next(coming)), at)
        started = [one.number for one in actions if isinstance(one, Start)]
        if number in started:
            return others
        others += len(started)
        if others > 40 * BOUND:
            return others
    raise AssertionError("the cycle has no end")


@pytest.mark.parametrize("strategy", list(Strategy))
@settings(max_examples=60, deadline=None)
@given(oldest=rivals, mix=st.lists(rivals, min_size=1, max_size=6), order=st.lists(st.integers(0, 2), min_size=1))
def test_each_job_is_started_after_a_bounded_number_of_others(strategy, oldest, mix, order):
    """Six came before it, any number comes after it; whoever they are and whoever ends when."""
    assert started_before(Engine(CAPACITY, strategy), oldest, mix, order) <= 7 * BOUND


def test_without_the_turn_of_the_oldest_a_job_starves(monkeypatch):
    """The control: the bound above is not one that nothing could break."""
    monkeypatch.setattr(queue, "OLDEST_EVERY", 10**9)
    last = {"tier": SAFE, "importance": Importance.DEFERRED, "uid": 1, "memory": 1, "wants": set()}
    first = {**last, "importance": Importance.CRITICAL}
    assert started_before(Engine(CAPACITY), last, [first], [0]) > 7 * BOUND


def test_a_tier_that_others_crowd_out_gets_its_turn():
    """All slots together are fewer than those of the tiers: the oldest of all counts, not only that of its tier."""
    crowd = {"tier": SAFE, "importance": Importance.CRITICAL, "uid": 1, "memory": 1, "wants": set()}
    lonely = {**crowd, "tier": Tier.DANGEROUS_ISOLATED, "importance": Importance.DEFERRED}
    assert started_before(Engine(Capacity(SLOTS, 1)), lonely, [crowd], [0]) <= OLDEST_EVERY + 6


def test_a_large_job_is_not_starved_by_small_ones_that_fit():
    """Small ones pass it so often, then the memory is kept for it."""
    small = {"tier": SAFE, "uid": 1, "memory": 40, "wants": set(), "score": 9.0}
    large = {**small, "memory": 100, "score": 2.0}
    assert started_before(Engine(CAPACITY), large, [small], [0]) <= OLDEST_EVERY + PASSED_AT_MOST + 6


def test_a_writer_of_much_is_not_starved_by_writers_of_little():
    """It needs both directories at once; others need one and are more important."""
    little = [
        {"tier": SAFE, "uid": 1, "memory": 1, "wants": {(path, "X")}, "importance": Importance.CRITICAL}
        for path in ("/a", "/b")
    ]
    much = {"tier": SAFE, "uid": 1, "memory": 1, "wants": {("/a", "X"), ("/b", "X")}}
    assert started_before(Engine(CAPACITY), much, little, [0, 1]) <= 2 * PASSED_AT_MOST + OLDEST_EVERY
