"""The order in which those that want the same locks are woken."""

from __future__ import annotations

import dataclasses

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.blocked import Blocked
from cbx_supervisor.scheduling.lock_modes import LockKey, LockMode
from cbx_supervisor.scheduling.order import Entry

HOLDER = -1


def test_one_that_was_changed_while_it_slept_stands_where_it_is_now():
    """Those before were asked for; the control is one that was not changed."""
    blocked = Blocked(lambda _: ("line",), lambda entry: (entry.place, entry.number))
    wants = ((LockKey(1, "/a"), LockMode.X),)
    entries = [Entry(number, 0, Tier.CONDITIONAL_PARALLEL, wants, 5.0, place=0) for number in range(1, 5)]
    for each in entries:
        blocked.put(each, [HOLDER])
    blocked.forget(entries[3])
    blocked.put(dataclasses.replace(entries[3], place=-1), [HOLDER])
    assert [entry.number for entry in blocked.let_go(HOLDER)] == [1, 4]  # the oldest, and the first of its line
