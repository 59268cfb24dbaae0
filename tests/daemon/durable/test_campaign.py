"""A sample of the campaign, and the proof that it would notice."""

from __future__ import annotations

import pytest
from tests.daemon.durable.campaign import Campaign

pytestmark = pytest.mark.root


@pytest.fixture
def campaign():
    made = []

    def make(*arguments, **options):
        made.append(Campaign(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.clean()


def test_nothing_is_lost_or_done_twice(campaign):
    """Whenever the supervisor is killed."""
    sample = campaign(60, 4, seed=7)
    assert sample.run() == []
    assert len(sample.recoveries) >= 2


def test_the_campaign_notices_when_jobs_cannot_be_taken_over(campaign):
    """Control: with their launcher dies all that the next supervisor goes on with.

    They run for longer than that one takes to come on a busy machine: what has ended by then has left its record.
    """
    control = campaign(40, 4, seed=3, every=(0.3, 0.8), longest=10.0, with_launcher=True)
    faults = control.run()
    assert control.recoveries
    assert any("its client ended with 125" in fault for fault in faults), faults
