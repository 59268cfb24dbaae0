"""The control of the property tests: an engine or a lock table that is broken in one place is noticed.

Each fault has the shortest story that brings it out, told to the machines of the property tests: what they assert must
hold while nothing is broken, and fail while it is. A search would find most of these faults, but not surely.
"""

from __future__ import annotations

import pytest
from tests.supervisor.scheduling.test_engine import CONDITIONAL, SAFE, EngineMachine
from tests.supervisor.scheduling.test_locks import Table

from cbx_sandbox.policy import LockMode
from cbx_sandbox.shell.estimate import Bound
from cbx_supervisor.scheduling.blocked import Blocked
from cbx_supervisor.scheduling.breakers import Breakers
from cbx_supervisor.scheduling.budgets import MEMORY, Budgets
from cbx_supervisor.scheduling.capacity import Usage
from cbx_supervisor.scheduling.dependencies import Dependencies
from cbx_supervisor.scheduling.engine import Engine
from cbx_supervisor.scheduling.lock_modes import LockKey
from cbx_supervisor.scheduling.locks import LockTable, _Marked
from cbx_supervisor.scheduling.order import Importance
from cbx_supervisor.scheduling.preemption import Preemption
from cbx_supervisor.scheduling.queue import Queue
from cbx_supervisor.scheduling.waiting import Waiting

S, X = LockMode.S, LockMode.X


class Drawn:
    """What a rule draws, in this order."""

    def __init__(self, *values):
        self.values = list(values)

    def draw(self, _strategy):
        return self.values.pop(0)


class Story:
    """The rules of the engine's machine, one by one, each followed by its invariants."""

    def __init__(self):
        self.machine = EngineMachine()

    def check(self):
        self.machine.capacity_is_kept()
        self.machine.no_two_hold_what_conflicts()
        self.machine.who_waits_waits_for_something()

    def job(self, tier=SAFE, *, wants=(), importance=Importance.NORMAL, uid=0, uses=None, circuit="", after=()):
        uses = uses or {}
        self.machine.submit(
            tier,
            wants,
            5.0,
            importance,
            uid,
            Bound.NOTHING,
            dict(uses),
            uses.get(MEMORY, 0),
            circuit,
            held=False,
            data=Drawn(set(after), set()),
        )
        self.check()

    def end(self, number, *, succeeded=True):
        self.machine.end(Drawn(number), succeeded, told=True)
        self.check()

    def withdraw(self, number):
        self.machine.withdraw(Drawn(number))
        self.check()

    def hold(self, number):
        self.machine.hold(Drawn(number))
        self.check()

    def reset_the_breaker(self):
        self.machine.reset_the_breaker()
        self.check()

    def pass_time(self, seconds):
        self.machine.pass_time(seconds)
        self.check()


def two_want_the_same(story):
    story.job(wants=[("/a", X)])
    story.job(wants=[("/a/b", X)])
    story.end(1)


def many_sleep_for_the_same(story):
    story.job(wants=[("/a", X)])
    for _ in range(4):
        story.job(wants=[("/a", S)])
    story.end(1)


def two_want_more_than_there_is(story):
    story.job(uses={"db": 2})
    story.job(uses={"db": 1})
    story.end(1)


def a_circuit_fails_and_is_tried(story):
    for number in (1, 2):
        story.job(circuit="curl host")
        story.end(number, succeeded=False)
    story.job(circuit="curl host")
    story.pass_time(31.0)


def a_circuit_fails_and_is_reset(story):
    for number in (1, 2):
        story.job(circuit="curl host")
        story.end(number, succeeded=False)
    story.job(circuit="curl host")
    story.reset_the_breaker()


def a_tier_is_full(story):
    for _ in range(4):
        story.job()


def a_user_has_all_it_may(story):
    for tier in (SAFE, SAFE, SAFE, CONDITIONAL):
        story.job(tier, uid=1)


def one_comes_after_another(story):
    story.job()
    story.job(after={1})
    story.end(1)


def one_that_others_come_after_is_withdrawn(story):
    story.job()
    story.job(after={1})
    story.withdraw(2)
    story.end(1)


def one_is_frozen_for_another(story):
    for _ in range(3):
        story.job()
    story.job(importance=Importance.CRITICAL)
    story.end(4)


def one_that_waits_is_paused(story):
    for _ in range(4):
        story.job()
    story.hold(4)
    story.end(1)


def equals_wait(story):
    for _ in range(5):
        story.job()
    story.end(1)


def a_user_has_all_the_memory_it_may(story):
    """Who needs none of it goes on."""
    for memory in (80, 20):
        story.job(uid=1, uses={MEMORY: memory})
    story.job(uid=1)


def tell(story, told):
    story(told)
    told.machine.teardown()


def nothing(value=None):
    return lambda *_args, **_named: value


def youngest_first(queue, entry):
    return (entry.place, queue._policy.key(entry), -entry.number)


def takes_no_slot(usage, tier):
    usage.total += 1


def stops_the_user(waiting, entry, _name):
    waiting.queue.stop(entry.uid)


BROKEN = {
    "two conflicting holders": (Engine, "_in_the_way", nothing(frozenset()), two_want_the_same),
    "a lost wake-up after a release": (Waiting, "wake", nothing(), two_want_the_same),
    "a lost wake-up of who sleeps for the same locks": (Blocked, "forget", nothing([]), many_sleep_for_the_same),
    "a lost wake-up of who waits for a budget": (Budgets, "give", nothing([]), two_want_more_than_there_is),
    "a lost wake-up of who waits for a breaker": (Waiting, "try_again", nothing(), a_circuit_fails_and_is_tried),
    "a tier with too many": (Usage, "take_slot", takes_no_slot, a_tier_is_full),
    "a user with too many": (Usage, "exceeds", nothing(False), a_user_has_all_it_may),
    "more of a budget than there is": (Budgets, "lacking", nothing(), two_want_more_than_there_is),
    "a start before what it comes after": (Dependencies, "missing", nothing(()), one_comes_after_another),
    "one that is withdrawn and comes": (Dependencies, "forget", nothing(), one_that_others_come_after_is_withdrawn),
    "a breaker that never closes": (Breakers, "forget", nothing(True), a_circuit_fails_and_is_reset),
    "a frozen job that never goes on": (Preemption, "thaw", nothing(), one_is_frozen_for_another),
    "a job that is paused and started": (Waiting, "hold", nothing(True), one_that_waits_is_paused),
    "the youngest first": (Queue, "key_of", youngest_first, equals_wait),
    "one job without memory holds up its user": (Waiting, "starve", stops_the_user, a_user_has_all_the_memory_it_may),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_engine_is_noticed(monkeypatch, what):
    *place, story = BROKEN[what]
    tell(story, Story())
    monkeypatch.setattr(*place)
    with pytest.raises(AssertionError):
        tell(story, Story())


class TableStory:
    """The rules of the lock table's machine, one by one, each followed by its invariants."""

    def __init__(self):
        self.machine = Table()

    def check(self):
        self.machine.holders_never_clash()
        self.machine.everybody_who_waits_has_a_reason()

    def request(self, mode):
        self.machine.request([(LockKey(1, "/a"), mode)])
        self.check()

    def release(self, owner):
        self.machine.release(Drawn(owner))
        self.check()

    def upgrade(self, owner):
        self.machine.upgrade(Drawn(owner))
        self.check()


def two_want_one_lock(story):
    story.request(X)
    story.request(X)
    story.release(1)


def two_want_more_than_they_share(story):
    for _ in range(2):
        story.request(S)
    for owner in (1, 2):
        story.upgrade(owner)


@pytest.mark.parametrize(
    ("place", "name", "broken", "story"),
    [
        (_Marked, "conflicting", nothing({}), two_want_one_lock),  # all are granted
        (LockTable, "_grant_waiting", nothing([]), two_want_one_lock),  # nobody is woken
        (LockTable, "_circle", nothing(()), two_want_more_than_they_share),  # they wait for each other, for ever
    ],
)
def test_a_broken_table_is_noticed(monkeypatch, place, name, broken, story):
    tell(story, TableStory())
    monkeypatch.setattr(place, name, broken)
    with pytest.raises(AssertionError):
        tell(story, TableStory())
