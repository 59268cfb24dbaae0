"""The lock table, by hypothesis: whatever is asked in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cbx_sandbox.policy import LockMode
from cbx_supervisor.scheduling.lock_modes import LockKey, compatible, meet, named, shareable
from cbx_supervisor.scheduling.locks import Blocked, Deadlock, Granted, LockTable

S, U, X, A, C = LockMode.S, LockMode.U, LockMode.X, LockMode.A, LockMode.C
MODES = [S, U, X, A, C]
PATHS = ["/", "/a", "/a/b", "/a/b/c", "/a/bc", "/d", "/d/e"]


def key(path, device=1):
    return LockKey(device, path)


def overlap(first, second):
    if first.device != second.device:
        return False
    one, two = first.path.rstrip("/") + "/", second.path.rstrip("/") + "/"
    return one.startswith(two) or two.startswith(one)


def clash(first, second):
    """The law, written without nodes and intentions."""
    (key1, mode1), (key2, mode2) = first, second
    fine = {(S, S), (S, U), (U, S), (A, A), (A, S), (S, A), (C, C)}
    # What many may write is shared on the very same path only: above it, it is a writer somewhere below.
    above, _ = sorted([(key1, mode1), (key2, mode2)])
    apart = key1 != key2 and ({mode1, mode2} in ({A}, {C}) or ({mode1, mode2} == {S, A} and above[1] is S))
    return overlap(key1, key2) and (apart or (mode1, mode2) not in fine)


wants = st.lists(
    st.tuples(st.builds(key, st.sampled_from(PATHS), st.sampled_from([1, 2])), st.sampled_from(MODES)),
    min_size=1,
    max_size=3,
    unique_by=lambda want: want[0],
)


@pytest.mark.parametrize(
    ("mode", "friends"),
    [
        ("IS", "IS IX S U A"),
        ("IX", "IS IX"),
        ("S", "IS S U A"),
        ("U", "IS S"),
        ("X", ""),
        ("A", "IS S A"),
        ("C", "C"),
    ],
)
def test_mode_table(mode, friends):
    """The whole table: U lives with readers only, A with readers and its like, C with its like, X with nobody."""
    assert {other for other in LockMode if compatible(LockMode(mode), other)} == {LockMode(f) for f in friends.split()}


@given(wants, wants)
@settings(max_examples=400)
def test_two_owners_meet_exactly_where_paths_overlap_and_modes_clash(first, second):
    """Hierarchy by intentions equals the plain definition."""
    table = LockTable()
    assert isinstance(table.request(1, first), Granted)
    blocked = isinstance(table.request(2, second), Blocked)
    assert blocked == any(clash(one, two) for one in first for two in second)


class Table(RuleBasedStateMachine):
    """Random requests, releases, upgrades; compared with what the law says."""

    def __init__(self):
        super().__init__()
        self.table = LockTable()
        self.next = 0
        self.asked = {}
        self.order = []
        self.holding = set()
        self.upgrading = {}

    def granted(self, owners):
        for owner in owners:
            if owner in self.upgrading:
                raised = self.upgrading.pop(owner)
                self.asked[owner] = [(k, X if k in raised else mode) for k, mode in self.asked[owner]]
            else:
                # First come, first served: nobody who asked earlier and conflicts still waits.
                for earlier in self.order[: self.order.index(owner)]:
                    assert earlier in self.holding or not self.conflict(earlier, owner)
                assert owner not in self.holding
                self.holding.add(owner)

    def conflict(self, one, two):
        return any(clash(a, b) for a in self.asked[one] for b in self.asked[two])

    @rule(wanted=wants)
    def request(self, wanted):
        self.next += 1
        self.asked[self.next] = wanted
        self.order.append(self.next)
        if isinstance(self.table.request(self.next, wanted), Granted):
            self.granted([self.next])

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def release(self, data):
        owner = data.draw(st.sampled_from(sorted(self.asked)))
        granted = self.table.release(owner)
        del self.asked[owner]
        self.order.remove(owner)
        self.holding.discard(owner)
        self.upgrading.pop(owner, None)
        self.granted(granted)

    def upgradable(self):
        return [o for o in self.holding if o not in self.upgrading and self.raised(o)]

    def raised(self, owner):
        return [k for k, mode in self.asked[owner] if mode in {S, U}]

    @precondition(lambda self: self.upgradable())
    @rule(data=st.data())
    def upgrade(self, data):
        owners = self.upgradable()
        owner = data.draw(st.sampled_from(sorted(owners)))
        keys = self.raised(owner)
        answer = self.table.upgrade(owner, keys)
        if isinstance(answer, Deadlock):
            assert answer.circle[0] == owner
            assert set(answer.circle[1:]) <= self.asked.keys()
            return
        self.upgrading[owner] = keys
        if isinstance(answer, Granted):
            self.granted([owner])

    @precondition(lambda self: self.upgrading)
    @rule(data=st.data())
    def give_up_upgrade(self, data):
        owner = data.draw(st.sampled_from(sorted(self.upgrading)))
        del self.upgrading[owner]
        granted = self.table.cancel(owner)
        assert self.table.held(owner) == tuple(self.asked[owner])
        self.granted(granted)

    @invariant()
    def holders_never_clash(self):
        held = sorted(self.holding)
        for place, one in enumerate(held):
            for two in held[place + 1 :]:
                assert not self.conflict(one, two)

    @invariant()
    def everybody_who_waits_has_a_reason(self):
        """No deadlock: follow the blockers of any waiter and a holder that waits for nothing is reached."""
        for owner in self.table.waiting():
            blockers = self.table.blockers(owner)
            assert blockers
            assert all(b.owner in self.holding or b.waiting for b in blockers)
        if self.table.waiting():
            assert any(o for o in self.holding if o not in self.upgrading)

    def teardown(self):
        while self.asked:
            free = [o for o in sorted(self.holding) if o not in self.upgrading]
            assert free
            granted = self.table.release(free[0])
            del self.asked[free[0]]
            self.order.remove(free[0])
            self.holding.discard(free[0])
            self.granted(granted)
        assert len(self.table._holders) == 0


TestTable = Table.TestCase
TestTable.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_a_writer_is_not_starved_by_readers_that_keep_coming():
    """A waiting X reserves its path."""
    table = LockTable()
    table.request(1, [(key("/a"), S)])
    assert table.request(2, [(key("/a"), X)]).by[0].owner == 1
    blocked = table.request(3, [(key("/a/b"), S)])
    assert [(b.owner, b.waiting) for b in blocked.by] == [(2, True)]
    assert isinstance(table.request(4, [(key("/d"), X)]), Granted)
    assert table.release(1) == [2]
    assert table.release(2) == [3]


def test_upgrade_waits_for_readers_and_goes_before_new_ones():
    """The apply step of a commit."""
    table = LockTable()
    table.request(1, [(key("/a"), U)])
    table.request(2, [(key("/a/b"), S)])
    assert isinstance(table.upgrade(1, [key("/a")]), Blocked)
    assert isinstance(table.request(3, [(key("/a"), S)]), Blocked)
    assert table.release(2) == [1]
    assert table.held(1) == ((key("/a"), X),)
    assert table.downgrade(1, [key("/a")]) == [3]


def test_two_readers_that_both_want_to_write_are_told_of_the_circle():
    """The second is refused and keeps what it has; the first gets its lock when the second is gone."""
    table = LockTable()
    table.request(1, [(key("/a"), S)])
    table.request(2, [(key("/a"), S)])
    assert isinstance(table.upgrade(1, [key("/a")]), Blocked)
    assert table.upgrade(2, [key("/a")]) == Deadlock((2, 1))
    assert table.held(2) == ((key("/a"), S),)
    assert table.release(2) == [1]


def test_a_circle_of_three_is_found():
    """Each reads what the next wants to write."""
    table = LockTable()
    paths = [key("/a"), key("/b"), key("/c")]
    for owner, path in enumerate(paths):
        table.request(owner, [(path, S), (paths[owner - 1], S)])
    assert isinstance(table.upgrade(0, [paths[0]]), Blocked)  # waits for 1
    assert isinstance(table.upgrade(1, [paths[1]]), Blocked)  # waits for 2
    assert table.upgrade(2, [paths[2]]) == Deadlock((2, 0, 1))
    assert table.release(2) == [1]


def test_only_what_reads_or_works_in_an_overlay_becomes_x():
    """An intention says nothing of the path itself."""
    table = LockTable()
    table.request(1, [(key("/a"), LockMode.IX)])
    with pytest.raises(ValueError, match="does not hold S or U"):
        table.upgrade(1, [key("/a")])


def test_names_are_locked_beside_paths():
    """A port has no directories above it, and is no file of that name."""
    table = LockTable()
    assert isinstance(table.request(1, [(named("port:80"), X), (named("db"), C)]), Granted)
    assert isinstance(table.request(2, [(named("port:8080"), X), (named("db"), C)]), Granted)
    assert [b.owner for b in table.request(3, [(named("port:80"), S)]).by] == [1]
    assert isinstance(table.request(4, [(key("port:80"), X)]), Granted)


def test_who_may_write_somewhere():
    """Holders of X there or above, not below, not with another mode, not those who wait."""
    table = LockTable()
    table.request(1, [(key("/a"), X)])
    table.request(2, [(key("/d"), U)])
    table.request(3, [(key("/a/b"), X)])
    assert table.writers(key("/a")) == [1]
    assert table.writers(key("/a/b/c")) == [1]
    assert [table.writers(key(path, device)) for path, device in (("/", 1), ("/d", 1), ("/a/b", 2))] == [[], [], []]
    table.release(1)
    assert (table.writers(key("/a/b")), table.writers(key("/a"))) == ([3], [])


@given(wants, wants)
def test_sets_meet_as_their_owners_would(first, second):
    """And a set can be shared if two could hold it."""
    assert meet(tuple(first), tuple(second)) == any(clash(one, two) for one in first for two in second)
    assert shareable(tuple(first)) == (not meet(tuple(first), tuple(first)))
