"""A sample of `make fuzz-input`: hostile frames, requests and commands, and nobody falls over."""

import pytest
from tests.fuzz import campaign


def test_frames_are_read_or_refused():
    """Nothing but errors for people; some are accepted, or nothing would be tried (the control)."""
    counts = campaign.frames(6000, seed=7)
    assert counts["accepted"] > 100
    assert counts["refused"] > 100


def test_commands_are_analysed_whatever_they_are():
    """Each has a tier."""
    assert sum(campaign.commands(100, seed=7).values()) == 100


@pytest.mark.root
def test_a_supervisor_outlives_hostile_callers(supervisor):
    """The same process, with the descriptors that it had, ready for the next job."""
    counts = campaign.outlived(supervisor, lambda: campaign.live(supervisor, 300, seed=7))
    assert sum(counts.values()) == 300


@pytest.mark.root
def test_a_supervisor_plans_whatever_it_is_asked_about(supervisor, project):
    """Each has an answer: a plan, or a refusal."""
    counts = campaign.outlived(supervisor, lambda: campaign.asked(supervisor, 200, 7, project))
    assert sum(counts.values()) == 200
    assert counts["result"] > 20, counts
