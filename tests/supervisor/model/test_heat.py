"""How the share of the slots falls while a host is too hot, and comes back."""

import pytest

from cbx_sandbox.shell.tiers import Tier
from cbx_supervisor.model.heat import LEAST, Pace, Reading, Zone, pace
from cbx_supervisor.scheduling.capacity import Capacity

COOL = Reading((Zone("cpu", 40_000, 95_000, 105_000),), throttled=7, allowed=1.0)
HOT = Reading((Zone("cpu", 96_000, 95_000, 105_000),), throttled=7, allowed=1.0)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (HOT, "96 °C, and is slowed down from 95"),
        (Reading(throttled=9), "slowed down 2 times"),
        (Reading(allowed=0.5), "50 % of their frequency"),
    ],
    ids=["temperature", "throttled", "frequency"],
)
def test_a_host_that_is_too_hot_uses_half_of_what_it_did(now, said):
    """Never less than a quarter, and the reason is told."""
    first = pace(COOL, now, Pace())
    assert first.share == 0.5
    assert said in first.why
    assert pace(COOL, now, pace(COOL, now, first)).share == LEAST


def test_a_host_that_is_about_to_switch_itself_off_uses_the_least():
    """At once."""
    found = pace(COOL, Reading((Zone("cpu", 101_000, None, 105_000),)), Pace())
    assert found.share == LEAST
    assert "105" in found.why


def test_it_comes_back_in_steps():
    """The reason stays until all of it is back."""
    found = Pace(LEAST, "hot")
    found = pace(COOL, COOL, found)
    assert found == Pace(0.5, "hot")
    assert pace(COOL, COOL, found) == Pace(1.0, "")


@pytest.mark.parametrize("now", [COOL, Reading(), Reading((Zone("disk", 200_000),)), Reading(allowed=0.5)])
def test_what_is_usual_or_unknown_slows_nothing_down(now):
    """A sensor without a threshold, a counter that stands still, processors that were as slow before."""
    before = Reading(now.zones, now.throttled, now.allowed)
    assert pace(before, now, Pace()) == Pace()
    assert Reading().shows is False


def test_every_tier_keeps_a_slot():
    """The start rate falls as the slots do; all of it is all of it."""
    whole = Capacity(dict.fromkeys(Tier, 3), 30, rate=8.0)
    assert whole.at(1.0, "") is whole
    slow = whole.at(0.25, "hot")
    assert (set(slow.slots.values()), slow.total, slow.rate, slow.slowed) == ({1}, 7, 2.0, "hot")
