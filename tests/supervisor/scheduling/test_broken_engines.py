"""The control of the property tests: an engine or a lock table that is broken in one place is noticed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.supervisor.scheduling.test_engine import EngineMachine
from tests.supervisor.scheduling.test_locks import Table

from cbx_supervisor.scheduling.blocked import Blocked
from cbx_supervisor.scheduling.breakers import Breakers
from cbx_supervisor.scheduling.budgets import Budgets
from cbx_supervisor.scheduling.capacity import Usage
from cbx_supervisor.scheduling.dependencies import Dependencies
from cbx_supervisor.scheduling.engine import Engine
from cbx_supervisor.scheduling.locks import LockTable, _Marked
from cbx_supervisor.scheduling.preemption import Preemption
from cbx_supervisor.scheduling.queue import Queue
from cbx_supervisor.scheduling.waiting import Waiting

ENOUGH = settings(
    max_examples=300,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],  # to notice it is enough
    suppress_health_check=list(HealthCheck),
)


def nothing(value=None):
    return lambda *_args, **_named: value


def fails(machine):
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=ENOUGH)


def youngest_first(queue, entry):
    return (entry.place, queue._policy.key(entry), -entry.number)


def takes_no_slot(usage, tier):
    usage.total += 1


BROKEN = {
    "two conflicting holders": (Engine, "_in_the_way", nothing(frozenset())),
    "a lost wake-up after a release": (Waiting, "wake", nothing()),
    "a lost wake-up of who sleeps for the same locks": (Blocked, "forget", nothing([])),
    "a lost wake-up of who waits for a budget": (Budgets, "give", nothing([])),
    "a lost wake-up of who waits for a breaker": (Waiting, "try_again", nothing()),
    "a tier with too many": (Usage, "take_slot", takes_no_slot),
    "a user with too many": (Usage, "exceeds", nothing(False)),
    "more of a budget than there is": (Budgets, "lacking", nothing()),
    "a start before what it comes after": (Dependencies, "missing", nothing(())),
    "a failure that nobody is told of": (Dependencies, "forget", nothing()),
    "a breaker that never closes": (Breakers, "forget", nothing(True)),
    "a frozen job that never goes on": (Preemption, "thaw", nothing()),
    "a job that is paused and started": (Waiting, "hold", nothing(True)),
    "the youngest first": (Queue, "key_of", youngest_first),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_engine_is_noticed(monkeypatch, what):
    monkeypatch.setattr(*BROKEN[what])
    fails(EngineMachine)


@pytest.mark.parametrize(
    "broken",
    [
        (_Marked, "conflicting", nothing({})),  # all are granted
        (LockTable, "_grant_waiting", nothing([])),  # nobody is woken
        (LockTable, "_circle", nothing(())),  # who waits for each other waits for ever
    ],
)
def test_a_broken_table_is_noticed(monkeypatch, broken):
    monkeypatch.setattr(*broken)
    fails(Table)
