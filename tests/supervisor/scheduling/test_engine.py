"""The engine: no two conflicting holders, no capacity exceeded, nobody forgotten; and who is first."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cbx_sandbox.policy import LockMode
from cbx_sandbox.shell.estimate import Bound
from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.actions import Freeze, Grant, Refuse, Start, Thaw
from cbx_supervisor.scheduling.breakers import Tolerance
from cbx_supervisor.scheduling.budgets import MEMORY
from cbx_supervisor.scheduling.capacity import Capacity, Share
from cbx_supervisor.scheduling.engine import Engine
from cbx_supervisor.scheduling.lock_modes import LockKey, compatible
from cbx_supervisor.scheduling.moving import Before, First, Last, OtherLineError
from cbx_supervisor.scheduling.order import Entry, Importance, Rank
from cbx_supervisor.scheduling.queue import OLDEST_EVERY
from cbx_supervisor.scheduling.reasons import ForCircuit, ForJobs, ForLocks, ForRate, ForSlot, ForTurn
from cbx_supervisor.scheduling.strategies import Strategy

SAFE, CONDITIONAL, SEQUENTIAL, DANGEROUS = Tier
SLOTS = {SAFE: 16, CONDITIONAL: 8, SEQUENTIAL: 4, DANGEROUS: 2}


def one_slot(**options):
    return Engine(Capacity(dict.fromkeys(Tier, 1), 1, **options))


def x(path):
    return (LockKey(1, path), LockMode.X)


def numbers(actions):
    return [action.number for action in actions if isinstance(action, Start)]


def drain(engine, now=0.0):
    """End what runs, one by one, until nothing is left; the order in which they were started."""
    order = []
    while engine.running:
        order += numbers(engine.ended(min(engine.running), now, succeeded=True))
    return order


# ── slots ──


def test_each_tier_has_its_slots_and_all_together_have_theirs():
    """200 of each: the peak is exactly 16, 8, 4 and 2, and 30 in all."""
    engine, counter = Engine(Capacity(SLOTS, 30)), itertools.count(1)
    for _ in range(200):
        for tier in Tier:
            engine.submit(Entry(next(counter), 0, tier), 0.0)
    assert {tier: used for tier, (used, _, _) in engine.pools().items()} == SLOTS
    assert len(engine.running) == 30
    engine.resize(Capacity(SLOTS, 5), 0.0)
    assert len(engine.running) == 30  # nothing that runs is ended
    assert engine.ended(next(iter(engine.running)), 0.0, succeeded=True) == []
    assert len(drain(engine)) == 800 - 30


def test_a_full_tier_does_not_hold_up_the_others():
    engine = Engine(Capacity(SLOTS, 30))
    for number in range(3):
        engine.submit(Entry(number, 0, DANGEROUS), 0.0)
    assert numbers(engine.submit(Entry(3, 0, SAFE), 0.0)) == [3]
    assert engine.why(2, 0.0) == (ForSlot(DANGEROUS, 2, 2, of_all=False),)


def test_starts_are_limited_in_rate():
    engine = Engine(Capacity(SLOTS, 30, rate=10.0))
    assert numbers(engine.submit(Entry(1, 0, SAFE), 5.0)) == [1]
    assert engine.submit(Entry(2, 0, SAFE), 5.0) == []
    assert engine.next_time(5.0) == pytest.approx(5.1)
    assert engine.why(2, 5.0) == (ForRate(engine.next_time(5.0)),)
    assert numbers(engine.decide(5.11)) == [2]
    assert engine.next_time(5.11) is None


# ── locks ──


def test_locks_and_the_slot_are_taken_in_one_step():
    """Who waits for a slot holds nothing that somebody else could use meanwhile."""
    engine = Engine(Capacity({**SLOTS, DANGEROUS: 1}, 30))
    engine.submit(Entry(1, 0, DANGEROUS), 0.0)
    assert engine.submit(Entry(2, 0, DANGEROUS, wants=(x("/a"),)), 0.0) == []
    assert numbers(engine.submit(Entry(3, 0, SAFE, wants=(x("/a"),)), 0.0)) == [3]


def test_the_oldest_that_waits_for_locks_reserves_its_set():
    """Else a job that wants much would never find all of it free."""
    engine = Engine(Capacity(SLOTS, 30))
    engine.submit(Entry(1, 0, SAFE, wants=(x("/a"),)), 0.0)
    assert engine.submit(Entry(2, 0, SAFE, wants=(x("/a"), x("/b"))), 0.0) == []
    assert engine.submit(Entry(3, 0, SAFE, wants=(x("/b"),)), 0.0) == []
    (waits,) = engine.why(3, 0.0)
    assert isinstance(waits, ForLocks)
    assert [(b.owner, b.waiting) for b in waits.blockers] == [(2, True)]
    assert numbers(engine.submit(Entry(4, 0, SAFE, wants=(x("/c"),)), 0.0)) == [4]
    assert numbers(engine.ended(1, 0.0, succeeded=True)) == [2]
    assert numbers(engine.ended(2, 0.0, succeeded=True)) == [3]


def test_what_the_withdrawn_had_reserved_is_free():
    engine = Engine(Capacity(SLOTS, 30))
    engine.submit(Entry(1, 0, SAFE, wants=(x("/a"),)), 0.0)
    engine.submit(Entry(2, 0, SAFE, wants=(x("/a"), x("/b"))), 0.0)
    engine.submit(Entry(3, 0, SAFE, wants=(x("/b"),)), 0.0)
    assert numbers(engine.ended(2, 0.0, succeeded=False)) == [3]


def test_a_job_that_steps_back_may_ask_again():
    """What it found had changed: those that come after it are not told anything."""
    engine = one_slot()
    engine.submit(Entry(1, 0, SAFE, wants=(x("/a"),)), 0.0)
    engine.submit(Entry(2, 0, SAFE, after=frozenset({1})), 0.0)
    assert engine.postponed(1, 0.0) == []
    assert numbers(engine.submit(Entry(1, 0, SAFE, wants=(x("/b"),)), 0.0)) == [1]
    assert numbers(engine.ended(1, 0.0, succeeded=True)) == [2]


# ── dependencies ──


def test_a_diamond_starts_its_join_once():
    engine = Engine(Capacity(SLOTS, 30))
    engine.submit(Entry(1, 0, SAFE), 0.0)
    for number, after in ((2, {1}), (3, {1}), (4, {2, 3})):
        assert engine.submit(Entry(number, 0, SAFE, after=frozenset(after)), 0.0) == []
    assert engine.why(4, 0.0) == (ForJobs((2, 3), frozenset({2, 3})),)
    assert numbers(engine.ended(1, 0.0, succeeded=True)) == [2, 3]
    assert numbers(engine.ended(2, 0.0, succeeded=True)) == []
    assert numbers(engine.ended(3, 0.0, succeeded=True)) == [4]


def test_what_comes_after_a_failure_never_runs():
    engine = Engine(Capacity(SLOTS, 30))
    engine.submit(Entry(1, 0, SAFE), 0.0)
    engine.submit(Entry(2, 0, SAFE, after=frozenset({1})), 0.0)
    engine.submit(Entry(3, 0, SAFE, after=frozenset({1, 2})), 0.0)
    assert engine.ended(1, 0.0, succeeded=False) == [Refuse(2, 1), Refuse(3, 1)]
    assert engine.waiting() == 0


# ── order ──


def test_who_follows_a_job_that_is_withdrawn_comes_after_what_that_came_after():
    """However many of a chain are withdrawn; who needed its success is refused."""
    engine = Engine(Capacity(SLOTS, 30))
    engine.submit(Entry(1, 0, SAFE), 0.0)
    for number in (2, 3, 4):
        engine.submit(Entry(number, 0, SAFE, follows=frozenset({number - 1})), 0.0)
    engine.submit(Entry(5, 0, SAFE, after=frozenset({2})), 0.0)
    assert engine.ended(2, 0.0, succeeded=False) == [Refuse(5, 2)]
    assert engine.ended(3, 0.0, succeeded=False) == []
    assert engine.why(4, 0.0) == (ForJobs((1,)),)
    assert numbers(engine.ended(1, 0.0, succeeded=False)) == [4]


def test_equals_are_first_come_first_served():
    engine = one_slot()
    for number in range(8):
        engine.submit(Entry(number, 0, SAFE), 0.0)
    assert drain(engine) == list(range(1, 8))


def test_the_higher_score_goes_first_in_its_class():
    engine = one_slot()
    engine.submit(Entry(0, 0, SAFE), 0.0)
    for number, score in ((1, 5.0), (2, 6.0), (3, 7.0)):
        engine.submit(Entry(number, 0, SAFE, score=score), 0.0)
    assert drain(engine)[0] == 3


def test_critical_goes_before_all_and_deferred_after_all():
    engine = one_slot()
    engine.submit(Entry(0, 0, SAFE), 0.0)
    for number, importance in enumerate((Importance.DEFERRED, Importance.NORMAL, Importance.CRITICAL), 1):
        engine.submit(Entry(number, 0, SAFE, importance=importance), 0.0)
    assert drain(engine) == [3, 2, 1]


def test_a_job_that_is_put_elsewhere_leaves_its_place():
    """Its key may be the same there: it must not be offered from the place that it left."""
    engine = Engine(Capacity(dict.fromkeys(Tier, 1), 1), Strategy.SHORTEST_FIRST)
    engine.pause()
    entries = [Entry(number, 0, SAFE, submitted=float(number)) for number in (1, 2)]
    for entry in entries:
        engine.submit(entry, 0.0)
    engine.change(dataclasses.replace(entries[0], importance=Importance.DEFERRED), 0.0)
    assert numbers(engine.resume(0.0)) == [2]


def test_a_job_is_moved_within_its_line_and_nobody_else_changes_places():
    """Before another, to the front, to the end; jobs that sleep for locks are moved, too."""
    for where, order in (
        (Before(3), [1, 2, 5, 3, 4]),
        (First(), [5, 1, 2, 3, 4]),
        (Before(1), [5, 1, 2, 3, 4]),
    ):
        engine = one_slot()
        for number in range(6):
            engine.submit(Entry(number, 0, SAFE, wants=(x("/a"),)), 0.0)
        engine.move(5, where, 0.0)
        assert drain(engine) == order
    engine = one_slot()
    for number in range(4):
        engine.submit(Entry(number, 0, SAFE), 0.0)
    engine.move(1, Last(), 0.0)
    engine.move(3, Before(2), 0.0)
    assert drain(engine) == [3, 2, 1]


def test_a_job_is_not_moved_before_those_of_others():
    """The line is the user's own: nobody passes somebody else by hand."""
    engine = one_slot()
    for number, uid in ((0, 1), (1, 1), (2, 2), (3, 1)):
        engine.submit(Entry(number, uid, SAFE), 0.0)
    with pytest.raises(OtherLineError):
        engine.move(3, Before(2), 0.0)
    with pytest.raises(KeyError):
        engine.move(3, Before(9), 0.0)
    with pytest.raises(KeyError):
        engine.move(0, First(), 0.0)
    engine.move(3, First(), 0.0)
    assert engine.find(2).place == engine.find(1).place == 0


def test_classes_share_the_starts_while_all_have_somebody_waiting():
    """60/30/10 within five points over 1,000 starts."""
    engine, counter = one_slot(), itertools.count(1)
    scores = {Rank.HIGH: 9.0, Rank.MEDIUM: 6.0, Rank.LOW: 2.0}
    ranks = {}

    def refill(rank):
        number = next(counter)
        ranks[number] = rank
        engine.submit(Entry(number, 0, SAFE, score=scores[rank]), 0.0)

    for _ in range(20):
        for rank in scores:
            refill(rank)
    started = []
    while len(started) < 1000:
        for number in numbers(engine.ended(next(iter(engine.running)), 0.0, succeeded=True)):
            started.append(ranks[number])
            refill(ranks[number])
    for rank, share in ((Rank.HIGH, 60), (Rank.MEDIUM, 30), (Rank.LOW, 10)):
        assert abs(started.count(rank) / 10 - share) <= 5


def test_the_share_of_a_class_that_is_empty_goes_to_the_others():
    engine = one_slot()
    for number in range(6):
        engine.submit(Entry(number, 0, SAFE, score=2.0), 0.0)
    assert drain(engine) == [1, 2, 3, 4, 5]


def test_users_take_turns_however_many_jobs_they_have():
    engine = one_slot()
    engine.submit(Entry(0, 9, SAFE), 0.0)
    for number in range(1, 41):
        engine.submit(Entry(number, 1, SAFE), 0.0)
    for number in range(41, 46):
        engine.submit(Entry(number, 2, SAFE), 0.0)
    first = drain(engine)[:12]
    assert sum(1 for number in first if number > 40) >= 4


def test_the_shortest_goes_first_and_the_long_one_ages():
    engine = Engine(Capacity(dict.fromkeys(Tier, 1), 1), Strategy.SHORTEST_FIRST)
    engine.submit(Entry(0, 0, SAFE, submitted=0.0), 0.0)
    engine.submit(Entry(1, 0, SAFE, seconds=100.0, submitted=0.0), 0.0)
    engine.submit(Entry(2, 0, SAFE, seconds=1.0, submitted=1.0), 1.0)
    engine.submit(Entry(3, 0, SAFE, seconds=1.0, submitted=500.0), 500.0)
    assert drain(engine) == [2, 1, 3]


def test_on_the_critical_path_goes_first():
    """What others come after, before an older one that nobody comes after; without that, the control, age decides."""
    for strategy, order in ((Strategy.CRITICAL_PATH, [3, 2, 4]), (Strategy.SHORTEST_FIRST, [2, 3, 4])):
        engine = Engine(Capacity(dict.fromkeys(Tier, 1), 1), strategy)
        engine.submit(Entry(1, 0, SAFE, seconds=1.0), 0.0)
        engine.submit(Entry(2, 0, SAFE, seconds=1.0), 0.0)
        engine.submit(Entry(3, 0, SAFE, seconds=1.0), 0.0)
        engine.submit(Entry(4, 0, SAFE, seconds=1.0, after=frozenset({3})), 0.0)
        assert drain(engine) == order


def test_another_strategy_at_run_time_keeps_everybody():
    engine = one_slot()
    engine.submit(Entry(0, 0, SAFE), 0.0)
    for number, seconds in ((1, 50.0), (2, 5.0)):
        engine.submit(Entry(number, 0, SAFE, seconds=seconds), 0.0)
    engine.reorder(Strategy.SHORTEST_FIRST, 0.0)
    assert drain(engine) == [2, 1]


def test_nobody_starves_under_an_endless_stream_of_better_jobs():
    """The bound: the oldest of a tier is started after at most OLDEST_EVERY others."""
    engine, counter = one_slot(), itertools.count(2)
    engine.submit(Entry(0, 0, SAFE), 0.0)
    engine.submit(Entry(1, 0, SAFE, importance=Importance.DEFERRED), 0.0)
    started = []
    for _ in range(3 * OLDEST_EVERY):
        engine.submit(Entry(next(counter), 0, SAFE, importance=Importance.CRITICAL), 0.0)
        started += numbers(engine.ended(next(iter(engine.running)), 0.0, succeeded=True))
    assert started.index(1) < OLDEST_EVERY


# ── what fails too often ──


def test_a_breaker_opens_and_one_job_tries_it_then_all_go_on():
    """The others wait meanwhile; those that do not depend on it do not."""
    engine, counter = Engine(Capacity(SLOTS, 30), tolerance=Tolerance(failures=2, seconds=30)), itertools.count(1)

    def fails(now, healthy=False):
        number = next(counter)
        engine.submit(Entry(number, 0, SAFE, circuit="curl host"), now)
        engine.ended(number, now, succeeded=False, healthy=healthy)

    fails(0.0)
    fails(0.0, healthy=None)  # says nothing
    assert numbers(engine.submit(Entry(90, 0, SAFE, circuit="curl host"), 0.0)) == [90]
    engine.ended(90, 0.0, succeeded=False, healthy=False)
    waiting = [Entry(number, 0, SAFE, circuit="curl host") for number in (91, 92, 93)]
    assert [engine.submit(entry, 1.0) for entry in waiting] == [[], [], []]
    assert engine.why(91, 1.0) == (ForCircuit("curl host", 30.0),)
    assert numbers(engine.submit(Entry(94, 0, SAFE), 1.0)) == [94]
    assert engine.next_time(1.0) == 30.0
    assert numbers(engine.decide(30.0)) == [91]
    assert engine.why(92, 30.0) == (ForCircuit("curl host", None),)
    assert engine.ended(91, 31.0, succeeded=False, healthy=False) == []
    assert numbers(engine.decide(61.0)) == [92]
    assert numbers(engine.ended(92, 62.0, succeeded=True, healthy=True)) == [93]
    assert engine.breakers.known() == {}


def test_a_reset_breaker_lets_everybody_go_on():
    """By somebody who knows that it works again."""
    engine = Engine(Capacity(SLOTS, 30), tolerance=Tolerance(failures=1, seconds=30))
    engine.submit(Entry(1, 0, SAFE, circuit="curl host"), 0.0)
    engine.ended(1, 0.0, succeeded=False, healthy=False)
    for number in (2, 3):
        assert engine.submit(Entry(number, 0, SAFE, circuit="curl host"), 0.0) == []
    assert engine.reset_breaker("curl other", 0.0) is None
    assert numbers(engine.reset_breaker("curl host", 0.0)) == [2, 3]


def test_an_adopted_job_tries_an_open_breaker():
    """What a supervisor before this one had running tells whether it works; no second one tries beside it."""
    engine = Engine(Capacity(SLOTS, 30), tolerance=Tolerance(failures=2, seconds=30))
    engine.breakers.restore("curl host", 2, -5.0)
    engine.adopt(Entry(1, 0, SAFE, circuit="curl host"))
    assert engine.submit(Entry(2, 0, SAFE, circuit="curl host"), 0.0) == []
    assert numbers(engine.ended(1, 0.0, succeeded=True, healthy=True)) == [2]


# ── anything, in any order ──

PATHS = ("/", "/a", "/a/b", "/a/c", "/d")
MODES = (LockMode.S, LockMode.U, LockMode.X)


def conflict(one, other):
    """Whether two locks may not be held by two owners, from the definition."""
    (first, first_mode), (second, second_mode) = one, other
    nested = first.path == second.path or any(
        above == "/" or below.startswith(above + "/")
        for above, below in ((first.path, second.path), (second.path, first.path))
    )
    return nested and not compatible(first_mode, second_mode)


class EngineMachine(RuleBasedStateMachine):
    """Submit, end, withdraw, step back, fail, commit, pause, change: against what must always hold."""

    def __init__(self):
        super().__init__()
        self.capacity = Capacity(
            {SAFE: 3, CONDITIONAL: 2, SEQUENTIAL: 1, DANGEROUS: 1},
            5,
            budgets={MEMORY: 100, "db": 2},
            share=Share(slots=3, memory=90),
            cores=2,
        )
        self.engine = Engine(self.capacity, tolerance=Tolerance(failures=2, seconds=30), preemption=True)
        self.now = 0.0
        self.counter = itertools.count(1)
        self.entries = {}
        self.running = set()
        self.frozen = set()
        self.over = {}
        self.commits = set()
        self.held = set()

    def take(self, actions):
        for action in actions:
            number = action.number
            match action:
                case Grant():
                    assert number in self.commits
                case Start():
                    self.take_start(number)
                case Refuse(because=because):
                    assert number not in self.running
                    assert self.over[because] is False
                    assert because in self.entries[number].after
                    self.over[number] = False
                case Freeze(for_=for_):
                    assert number in self.running - self.frozen
                    assert self.entries[for_].importance is Importance.CRITICAL
                    assert self.entries[number].importance is not Importance.CRITICAL
                    self.frozen.add(number)
                case Thaw():
                    assert number in self.frozen
                    self.frozen.discard(number)
            if not isinstance(action, Grant):
                self.within_capacity()

    def take_start(self, number):
        assert number in self.entries
        assert number not in self.running
        assert number not in self.over
        assert number not in self.held
        assert not self.engine.paused
        entry = self.entries[number]
        assert all(self.over.get(before) for before in entry.after)
        assert all(before in self.over for before in entry.follows)
        assert entry.not_before <= self.now
        self.running.add(number)
        self.first_of_equals(entry)

    def first_of_equals(self, entry):
        """Nobody older, of whom all the same is true, was passed."""
        if self.engine.waiters.coming.tail(entry.number):
            return  # what comes after it may make it more urgent
        for older in self.waiting():
            # One that has stepped back waits for nothing until it asks again.
            if older < entry.number and older not in self.held and self.engine.find(older) is not None:
                other = self.entries[older]
                ready = other.not_before <= self.now and not self.engine.waiters.coming.missing(older)
                same = dataclasses.replace(
                    other, number=entry.number, submitted=entry.submitted, after=entry.after, follows=entry.follows
                )
                assert not (ready and same == dataclasses.replace(entry, not_before=other.not_before)), older

    def waiting(self):
        return sorted(self.entries.keys() - self.running - self.over.keys())

    def gone(self, number, succeeded):
        self.running.discard(number)
        self.frozen.discard(number)
        self.held.discard(number)
        self.over[number] = succeeded

    @rule(
        tier=st.sampled_from(list(Tier)),
        wants=st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(MODES)), max_size=3, unique_by=lambda w: w[0]),
        score=st.floats(1, 10),
        importance=st.sampled_from(list(Importance)),
        uid=st.integers(0, 2),
        bound=st.sampled_from(list(Bound)),
        uses=st.dictionaries(st.sampled_from([MEMORY, "db"]), st.integers(1, 2), max_size=2),
        memory=st.integers(1, 150),
        circuit=st.sampled_from(["", "", "curl host"]),
        held=st.integers(0, 7).map(lambda one: one == 7),
        data=st.data(),
    )
    def submit(self, tier, wants, score, importance, uid, bound, uses, memory, circuit, held, data):
        alive = sorted(self.entries.keys() - self.over.keys())
        after = data.draw(st.sets(st.sampled_from(alive), max_size=2)) if alive else set()
        follows = data.draw(st.sets(st.sampled_from(alive), max_size=1)) if alive else set()
        locks = tuple((LockKey(1, path), mode) for path, mode in wants)
        if MEMORY in uses:
            uses[MEMORY] = memory
        number = next(self.counter)
        entry = Entry(
            number,
            uid,
            tier,
            locks,
            score,
            importance,
            submitted=self.now,
            after=frozenset(after),
            follows=frozenset(follows),
            bound=bound,
            uses=tuple(uses.items()),
            circuit=circuit,
        )
        if held:  # before the engine knows it
            assert self.engine.hold(number)
            self.held.add(number)
        self.entries[number] = entry
        self.take(self.engine.submit(entry, self.now))

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def submit_an_equal(self, data):
        """Of one that waits: whoever of them came first is started first."""
        like = self.entries[data.draw(st.sampled_from(self.waiting()))]
        number = next(self.counter)
        alive = {before for before in like.after | like.follows if before not in self.over}
        entry = dataclasses.replace(
            like, number=number, submitted=self.now, after=like.after & alive, follows=like.follows & alive
        )
        self.entries[number] = entry
        self.take(self.engine.submit(entry, self.now))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), succeeded=st.booleans(), told=st.booleans())
    def end(self, data, succeeded, told):
        number = data.draw(st.sampled_from(sorted(self.running)))
        self.gone(number, succeeded)
        healthy = succeeded if told else None
        self.take(self.engine.ended(number, self.now, succeeded=succeeded, healthy=healthy))

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def withdraw(self, data):
        number = data.draw(st.sampled_from(self.waiting()))
        self.gone(number, succeeded=False)
        self.take(self.engine.ended(number, self.now, succeeded=False))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 5.0]))
    def step_back_and_ask_again(self, data, delay):
        number = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(number)
        self.frozen.discard(number)
        self.take(self.engine.postponed(number, self.now, healthy=False if delay else None))
        entry = dataclasses.replace(
            self.entries[number], after=frozenset(), follows=frozenset(), not_before=self.now + delay
        )
        self.entries[number] = entry
        self.take(self.engine.submit(entry, self.now))

    @rule()
    def reset_the_breaker(self):
        self.take(self.engine.reset_breaker("curl host", self.now) or [])
        for number in self.waiting():
            assert not any(isinstance(reason, ForCircuit) for reason in self.engine.why(number, self.now))

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def hold(self, data):
        number = data.draw(st.sampled_from(self.waiting()))
        assert self.engine.hold(number) is (number not in self.held)
        self.held.add(number)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def unhold(self, data):
        number = data.draw(st.sampled_from(sorted(self.held)))
        self.held.discard(number)
        self.take(self.engine.unhold(number, self.now))

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), importance=st.sampled_from(list(Importance)), place=st.integers(-1, 1))
    def change(self, data, importance, place):
        number = data.draw(st.sampled_from(self.waiting()))
        entry = dataclasses.replace(self.entries[number], importance=importance, place=place)
        self.entries[number] = entry
        self.take(self.engine.change(entry, self.now))

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def move(self, data):
        number = data.draw(st.sampled_from(self.waiting()))
        other = data.draw(st.sampled_from(self.waiting()))
        where = data.draw(st.sampled_from([First(), Last(), Before(other)]))
        try:
            self.take(self.engine.move(number, where, self.now))
        except (KeyError, OtherLineError):
            assert isinstance(where, Before)
        for waits in self.waiting():
            self.entries[waits] = self.engine.find(waits)

    @rule(strategy=st.sampled_from(list(Strategy)))
    def change_strategy(self, strategy):
        self.take(self.engine.reorder(strategy, self.now))

    @rule(total=st.integers(3, 6), memory=st.integers(50, 150))
    def resize(self, total, memory):
        budgets = {MEMORY: memory, "db": 2}
        self.capacity = dataclasses.replace(self.capacity, total=max(total, self.capacity.total), budgets=budgets)
        self.take(self.engine.resize(self.capacity, self.now))

    @rule()
    def pause_and_resume_the_queue(self):
        if self.engine.paused:
            self.take(self.engine.resume(self.now))
        else:
            self.engine.pause()

    @rule(path=st.sampled_from(PATHS))
    def commit(self, path):
        owner = -next(self.counter)
        self.engine.request(owner, ((LockKey(1, path), LockMode.X),))
        self.commits.add(owner)

    @precondition(lambda self: self.commits)
    @rule(data=st.data())
    def committed(self, data):
        owner = data.draw(st.sampled_from(sorted(self.commits)))
        self.commits.discard(owner)
        self.take(self.engine.release(owner, self.now))

    @rule(seconds=st.floats(0, 10))
    def pass_time(self, seconds):
        self.now += seconds
        self.take(self.engine.decide(self.now))

    def within_capacity(self):
        active = [self.entries[number] for number in self.running - self.frozen]
        assert len(active) <= self.capacity.total
        for tier, slots in self.capacity.slots.items():
            assert sum(1 for entry in active if entry.tier is tier) <= slots

    @invariant()
    def capacity_is_kept(self):
        assert set(self.engine.running) == self.running
        assert set(self.engine.frozen.numbers()) == self.frozen
        self.within_capacity()
        entries = [self.entries[number] for number in self.running]
        assert sum(dict(entry.uses).get("db", 0) for entry in entries) <= 2
        for uid in (1, 2):
            assert sum(1 for entry in entries if entry.uid == uid) <= self.capacity.share.slots
        assert self.engine.waiting() == len(self.waiting())
        waiting = dict.fromkeys(Tier, 0)
        for number in self.waiting():
            waiting[self.entries[number].tier] += 1
        assert {tier: pool[2] for tier, pool in self.engine.pools().items()} == waiting

    @invariant()
    def no_two_hold_what_conflicts(self):
        held = list(self.engine.locks.holders().items())
        for (_, first), (_, second) in itertools.combinations(held, 2):
            assert not any(conflict(one, other) for one in first for other in second)
        for number in self.running:
            assert self.engine.locks.held(number) == self.entries[number].wants

    @invariant()
    def who_waits_waits_for_something(self):
        """No lost wake-up: if nothing keeps a job, it is started."""
        assert self.engine.decide(self.now) == []
        for number in self.waiting():
            assert self.engine.why(number, self.now), f"{number} waits for nothing"
            if not self.engine.paused:
                assert not isinstance(self.engine.why(number, self.now)[0], ForTurn), f"{number} could be started"

    def teardown(self):
        """Everything ends: there is no deadlock, and nothing is left."""
        for owner in sorted(self.commits):
            self.take(self.engine.release(owner, self.now))
        for number in sorted(self.held):
            self.held.discard(number)
            self.take(self.engine.unhold(number, self.now))
        self.take(self.engine.resume(self.now))
        rounds = itertools.count()
        while self.running or self.engine.next_time(self.now) is not None:
            assert next(rounds) < 10_000, "time has come for somebody who is not started"
            if self.running:
                number = min(self.running)
                self.gone(number, succeeded=True)
                self.take(self.engine.ended(number, self.now, succeeded=True, healthy=True))
            else:
                self.now = max(self.now, self.engine.next_time(self.now))
                self.take(self.engine.decide(self.now))
        assert self.waiting() == []
        assert self.engine.waiting() == 0
        assert self.engine.locks.holders() == {}


TestEngineMachine = EngineMachine.TestCase
TestEngineMachine.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
