"""What a submitter says of a job, on the scale of the score."""

import pytest

from cbx_supervisor.scheduling.order import Importance


@pytest.mark.parametrize(
    ("importance", "low", "high"),
    [
        (Importance.CRITICAL, 10, 10),
        (Importance.HIGH, 8, 9),
        (Importance.NORMAL, 5, 7),
        (Importance.LOW, 3, 4),
        (Importance.DEFERRED, 1, 2),
    ],
)
def test_each_word_lies_in_its_band(importance, low, high):
    """Critical 10, high 8-9, normal 5-7, low 3-4, deferred 1-2."""
    assert low <= importance.score <= high
