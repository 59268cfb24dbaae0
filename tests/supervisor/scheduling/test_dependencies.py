"""Who comes after jobs that are withdrawn, or that fail."""

from __future__ import annotations

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.scheduling.dependencies import Dependencies
from cbx_supervisor.scheduling.order import Entry


def entry(number, *, after=(), follows=()):
    return Entry(number, 0, Tier.SAFE_PARALLEL, (), 5.0, after=frozenset(after), follows=frozenset(follows))


def test_who_only_follows_a_refused_job_does_not_wait_for_what_is_over():
    """2 needed the success of 1, and 3 only comes after 2: it may go when 1 has failed."""
    dependencies = Dependencies()
    dependencies.add(entry(2, after=[1]))
    dependencies.add(entry(3, follows=[2]))
    told = dependencies.over(1, succeeded=False)
    assert [(refused.number, because) for refused, because in told.refused] == [(2, 1)]
    assert [ready.number for ready in told.ready] == [3]
    assert len(dependencies) == 0
