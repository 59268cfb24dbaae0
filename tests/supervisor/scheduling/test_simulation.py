"""The simulation: every job is served once and none before it came, in any day; figures by hand on small ones."""

import dataclasses
import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbx_sandbox.shell.estimate import Bound
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.capacity import Capacity
from cbx_supervisor.scheduling.engine import Engine
from cbx_supervisor.scheduling.order import Entry
from cbx_supervisor.scheduling.reasons import ForTurn
from cbx_supervisor.scheduling.simulation import host, trace, workload
from cbx_supervisor.scheduling.simulation.figures import Collector, jain
from cbx_supervisor.scheduling.simulation.workload import SimulatedJob
from cbx_supervisor.scheduling.strategies import Strategy

CAPACITY = Capacity(dict(zip(Tier, (4, 2, 2, 1), strict=True)), 6)


def job(number, at, seconds, tier=Tier.SAFE_PARALLEL, **more):
    wants = workload.wants(tier, more.pop("writes", ()))
    return SimulatedJob(Entry(number, 1000, tier, wants, submitted=at, seconds=seconds, **more), seconds)


def one_slot():
    return Capacity(dict.fromkeys(Tier, 1), 4)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 120), st.integers(1, 5), st.sampled_from(Strategy), st.floats(0.1, 3))
def test_every_job_is_served_once_within_the_capacity(seed, jobs, users, strategy, load):
    """In any day by any strategy; nobody starts before it came, no tier has more than its slots, no lock two owners."""
    day = workload.synthetic(Random(seed), jobs=jobs, users=users, capacity=CAPACITY, load=load)
    served = host.run(day, CAPACITY, strategy).served
    assert sorted(one.job.entry.number for one in served) == list(range(1, jobs + 1))
    assert all(one.waited >= 0 for one in served)
    for at in {one.started for one in served}:
        running = [one.job.entry for one in served if one.started <= at < one.started + one.job.seconds]
        assert len(running) <= CAPACITY.total
        for tier in Tier:
            assert sum(entry.tier is tier for entry in running) <= CAPACITY.slots[tier]
        keys = [key for entry in running for key, _ in entry.wants]
        assert len(keys) == len(set(keys))


class Watched(host._Host):
    """A host where somebody asks each waiting job, between all events, whether anything keeps it from a free slot."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.lost = 0.0
        self.at = 0.0

    def _account(self, seconds):
        super()._account(seconds)
        engine = self.engine
        free = engine.capacity.total - engine.usage.total
        waiting = (entry for entry in engine.waiters.entries() if free > 0)
        could = sum(isinstance(why, ForTurn) for entry in waiting for why in engine.why(entry.number, self.at))
        self.lost += seconds * min(free, could)
        self.at += seconds


@settings(max_examples=25)
@given(
    st.integers(0, 10**6), st.integers(20, 80), st.sampled_from(Strategy), st.floats(0.5, 3), st.sampled_from([0, 2])
)
def test_slots_are_busy_while_somebody_could_have_one(seed, jobs, strategy, load, rate):
    """At least 999 of 1,000 slot-seconds that jobs, locks and limits allow; what the engine itself says is the same."""
    capacity = dataclasses.replace(CAPACITY, rate=rate / 3600)
    day = workload.synthetic(Random(seed), jobs=jobs, users=3, capacity=capacity, load=load)
    watched = Watched(day, capacity, strategy)
    made = watched.run()
    engine = watched.engine.utilisation
    assert made.busy >= 0.999 * (made.busy + watched.lost)
    assert engine.share >= 0.999
    assert engine.busy == pytest.approx(made.busy)
    assert engine.backlogged == pytest.approx(made.backlogged)


def test_a_late_decision_is_time_that_was_lost():
    """Control: a clock that nobody looks at in time."""
    engine = Engine(Capacity(dict.fromkeys(Tier, 5), 5, rate=1))
    for number in range(1, 4):
        engine.submit(Entry(number, 0, Tier.SAFE_PARALLEL), 0.0)
    engine.decide(3.0)
    assert (engine.utilisation.busy, engine.utilisation.idle) == (3.0, 2.0)
    assert engine.utilisation.share == pytest.approx(0.6)


def test_the_same_seed_makes_the_same_day():
    """And another seed another one."""
    days = [workload.synthetic(Random(s), jobs=50, users=3, capacity=CAPACITY, load=1) for s in (1, 1, 2)]
    assert days[0] == days[1] != days[2]


def test_what_a_made_up_day_asks_for():
    """As much of the slots as was said; in the order of arrival, within the day."""
    day = workload.synthetic(Random(3), jobs=2000, users=3, capacity=CAPACITY, load=0.5)
    assert sum(one.seconds for one in day) == pytest.approx(0.5 * CAPACITY.total * workload.DAY)
    arrivals = [one.entry.submitted for one in day]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] >= 0
    assert arrivals[-1] <= workload.DAY
    assert {one.entry.bound for one in day} == set(Bound)
    after = [one.entry for one in day if one.entry.after]
    assert 0.02 < len(after) / len(day) < 0.15
    assert all(max(entry.after) < entry.number for entry in after)
    assert all(day[min(entry.after) - 1].entry.submitted == entry.submitted for entry in after)
    afternoon = sum(12 <= at / 3600 < 18 for at in arrivals)
    assert afternoon > 2 * sum(at / 3600 < 6 for at in arrivals)


def test_waits_and_use_by_hand():
    """Three jobs for one slot: the second waits 10 s, the third 15 s; while they wait the slot is in use."""
    found = host.run([job(1, 0, 10), job(2, 0, 5), job(3, 0, 5)], one_slot(), Strategy.WEIGHTED)
    assert [(one.job.entry.number, one.waited) for one in found.served] == [(1, 0), (2, 10), (3, 15)]
    assert (found.backlogged, found.busy, found.ended) == (15, 15, 20)
    collector = Collector(4)
    collector.add(found)
    figures = collector.figures()
    assert (figures.waits.mean, figures.waits.p50, figures.waits.longest) == (pytest.approx(25 / 3), 10, 15)
    assert figures.busy == 0.25
    assert figures.slowdown == pytest.approx((1 + 1.5 + 2) / 3)


def test_shortest_first_waits_less_than_by_priority():
    """What the comparison is for: a long job that came first, and short ones behind it."""
    day = [job(1, 0, 50), *(job(number, 1, 100 if number == 2 else 1, score=5.0) for number in range(2, 8))]
    means = {}
    for strategy in (Strategy.WEIGHTED, Strategy.SHORTEST_FIRST):
        collector = Collector(4)
        collector.add(host.run(day, one_slot(), strategy))
        means[strategy] = collector.figures().waits.mean
    assert means[Strategy.SHORTEST_FIRST] < means[Strategy.WEIGHTED]


def test_locks_and_order_hold_in_the_simulation():
    """Two that write the same directory run one after the other; who comes after another starts when that is over."""
    day = [
        job(1, 0, 10, Tier.CONDITIONAL_PARALLEL, writes=("/p",)),
        job(2, 0, 10, Tier.CONDITIONAL_PARALLEL, writes=("/p/q",)),
        job(3, 0, 1, Tier.CONDITIONAL_PARALLEL, writes=("/r",)),
        job(4, 0, 1, after=frozenset({2})),
        job(5, 50, 1, after=frozenset({2})),
    ]
    capacity = Capacity(dict.fromkeys(Tier, 8), 8)
    started = {one.job.entry.number: one.started for one in host.run(day, capacity, Strategy.WEIGHTED).served}
    assert started == {1: 0, 2: 10, 3: 0, 4: 20, 5: 50}


def test_fairness():
    """Alike is 1, all for one of four is a quarter."""
    assert jain([3, 3, 3]) == 1
    assert jain([8, 0, 0, 0]) == 0.25
    assert jain([]) == 1


def test_a_trace_of_what_list_prints():
    """Wall time, user, forecast and predicted writes; a job that never ran is left out."""
    row = {
        "job": 7, "tier": "SEQUENTIAL_REQUIRED", "usage": {"wall_seconds": 2.5}, "identity": {"uid": 1001},
        "started": "2030-01-31T10:00:00.000Z",
        "prediction": {
            "forecast": {"seconds": 5.0, "memory_mb": 64, "bound": "io"},
            "writes": [{"path": "/src/a"}, {"path": "/src/b"}],
        },
    }  # fmt: skip
    name, found = trace.read(row, 1)
    entry = found.entry
    assert (name, entry.number, entry.uid, entry.tier) == ("", 7, 1001, Tier.SEQUENTIAL_REQUIRED)
    assert (found.seconds, entry.seconds, entry.bound) == (2.5, 5.0, Bound.IO)
    assert [key.path for key, _ in entry.wants] == ["/src"]
    assert trace.read({**row, "usage": {}}, 1) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": "x"}, {"seconds": -1}, {"tier": "quick"}, {"tier": None}, {"submitted": "noon"},
        {"submitted": None}, {"importance": "urgent"}, {"writes": "/a"}, {"after": 3},
        {"uid": []}, {"memory_mb": True}, {"tier": []},
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_named(wrong):
    """By the field that is wrong."""
    row = {"submitted": 0, "seconds": 1, "tier": "safe"}
    assert trace.read(row, 1) is not None
    with pytest.raises(ValueError, match=next(iter(wrong))):
        trace.read({**row, **wrong}, 1)


def test_a_trace_goes_through_json():
    """Numbers and lists as JSON has them."""
    line = json.dumps(
        {"submitted": 1.5, "seconds": 2, "tier": "conditional", "writes": ["/a"], "after": [1], "host": "h"}
    )
    name, found = trace.read(json.loads(line), 3)
    assert (name, found.entry.number, found.entry.after, found.entry.submitted) == ("h", 3, frozenset({1}), 1.5)
    assert dataclasses.replace(found.entry, number=4).wants == found.entry.wants
