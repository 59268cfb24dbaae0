"""The lock table, by hypothesis: whatever is asked in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cbx_sandbox.policy import LockMode
from cbx_supervisor.scheduling.locks import Blocked, Granted, LockKey, LockTable, compatible

S, U, X = LockMode.S, LockMode.U, LockMode.X
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
    fine = {(S, S), (S, U), (U, S)}
    return overlap(key1, key2) and (mode1, mode2) not in fine


wants = st.lists(
    st.tuples(st.builds(key, st.sampled_from(PATHS), st.sampled_from([1, 2])), st.sampled_from([S, U, X])),
    min_size=1,
    max_size=3,
    unique_by=lambda want: want[0],
)


@pytest.mark.parametrize(
    ("mode", "friends"),
    [("IS", "IS IX S U"), ("IX", "IS IX"), ("S", "IS S U"), ("U", "IS S"), ("X", "")],
)
def test_mode_table(mode, friends):
    """The published table: U lives with readers only, X with nobody."""
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
        """Who may: who reads under S elsewhere could be waited for by another that does the same."""
        modes = {o: {m for _, m in self.asked[o]} for o in self.holding if o not in self.upgrading}
        return [owner for owner, held in modes.items() if U in held and S not in held]

    @precondition(lambda self: self.upgradable())
    @rule(data=st.data())
    def upgrade(self, data):
        owners = self.upgradable()
        owner = data.draw(st.sampled_from(sorted(owners)))
        keys = [k for k, mode in self.asked[owner] if mode is U]
        self.upgrading[owner] = keys
        if isinstance(self.table.upgrade(owner, keys), Granted):
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


def test_only_u_becomes_x():
    """Two readers that both upgrade would wait for each other."""
    table = LockTable()
    table.request(1, [(key("/a"), S)])
    with pytest.raises(ValueError, match="does not hold U"):
        table.upgrade(1, [key("/a")])


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
