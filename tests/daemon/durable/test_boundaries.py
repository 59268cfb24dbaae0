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
        ("dangerous", "go", True),
    ],
)
def test_a_supervisor_killed_at_a_boundary_loses_nothing(tier, at, detached):
    """Its job runs once, ends with its own status, and nothing is left behind. `make kills` tries every boundary.

    Not between the commit of the start and the word to the launcher: which of the two comes first is a race, and
    docs/operations.md says what becomes of the job if it is the commit.
    """
    trial = Trial(tier, at, detached=detached)
    assert trial.faults() == []
    assert at in trial.boundaries[-1]


def test_a_start_that_is_written_too_late_is_noticed():
    """Control: the command was let go before that was on disk, so the next supervisor runs it again."""
    faults = Trial("conditional", "kind=acc", late=True).faults()
    assert "it left 'ran\\nran\\n'" in faults
