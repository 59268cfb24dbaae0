"""A sample of the kills at every boundary, and the proof that they would find a start that is not on disk."""

from __future__ import annotations

import pytest
from tests.daemon.durable.boundaries import Trial

pytestmark = pytest.mark.root


@pytest.mark.parametrize(
    ("tier", "at", "detached"),
    [
        ("safe", "go", False),
        ("conditional", "go", True),
        ("sequential", "rename", False),
        ("sequential", "write 1/journal", False),  # its commit has begun, and nothing was decided
        ("dangerous", "go", True),
    ],
)
def test_a_supervisor_killed_at_a_boundary_loses_nothing(tier, at, detached):
    """Its job runs once, ends with its own status, and nothing is left behind. `make kills` tries every boundary."""
    trial = Trial(tier, at, detached=detached)
    assert trial.faults() == []
    assert at in trial.boundaries[-1]


@pytest.mark.parametrize("detached", [False, True])
def test_a_start_that_the_launcher_never_heard_of_is_made_up_for(detached):
    """It is on disk; the launcher has no job, so it ends with its supervisor, and leaves word that it started none."""
    assert Trial("conditional", "committed", detached=detached, mute=True).faults() == []


def test_a_start_that_is_written_too_late_is_noticed():
    """Control: the command was let go before that was on disk, so the next supervisor runs it again."""
    faults = Trial("conditional", "kind=acc", late=True).faults()
    assert "it left 'ran\\nran\\n'" in faults
