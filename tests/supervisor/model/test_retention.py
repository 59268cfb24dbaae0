"""What is too old, too many and too much, by a clock that is handed in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.errors import NotStartedError
from cbx_supervisor.model import retention
from cbx_supervisor.model.checkpoint import Checkpoint, CheckpointState
from cbx_supervisor.model.retention import DAY, Held, Most

NOTHING = Held(0, 0)


def checkpoint(number=1, state=CheckpointState.HELD, created=0.0, **more):
    return Checkpoint(id=number, job=number, uid=1000, gid=1000, state=state, created=created, **more)


def test_age_counts_from_when_it_was_held():
    """Not from when its job began: that can have run for days."""
    held = checkpoint(created=0.0, decided=5 * DAY)
    assert retention.expires(held, 7) == 12 * DAY
    assert retention.expired([held], 12 * DAY - 1, 7) == []
    assert retention.expired([held], 12 * DAY, 7) == [held]


@pytest.mark.parametrize("state", CheckpointState)
def test_only_what_waits_grows_old(state):
    """What was decided on, and what belongs to a running job, is none of this."""
    found = retention.expired([checkpoint(state=state)], 100 * DAY, 7)
    assert bool(found) == (state in {CheckpointState.HELD, CheckpointState.CONFLICT})


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1e9)), max_size=20), st.floats(0, 2e9), st.sampled_from([0, 0.5, 7])
)
def test_nothing_goes_before_its_time(made, now, days):
    """Nor what is pinned, nor anything where there is no limit; and what goes, goes from the oldest on."""
    held = [checkpoint(i, created=at, pinned=pinned) for i, (pinned, at) in enumerate(made, 1)]
    gone = retention.expired(reversed(held), now, days)
    assert [found.id for found in gone] == sorted(found.id for found in gone)
    for found in held:
        assert (found in gone) == (bool(days) and not found.pinned and found.created + days * DAY <= now)


@pytest.mark.parametrize(
    ("mine", "everybody", "most", "said"),
    [
        (Held(3, 0), NOTHING, Most(3, 0, 0), "3 checkpoints are held for you, the limit is 3"),
        (Held(0, 2 << 20), NOTHING, Most(0, 1 << 20, 0), "2 MiB of changes are held for you, the limit is 1 MiB"),
        (NOTHING, Held(9, 5 << 20), Most(0, 0, 5 << 20), "5 MiB of changes are held, the limit is 5 MiB"),
    ],
)
def test_a_refusal_has_the_numbers(mine, everybody, most, said):
    """One below each limit passes."""
    with pytest.raises(NotStartedError, match=said):
        retention.check(mine, everybody, most)
    less = [Held(max(0, held.count - 1), max(0, held.bytes - (2 << 20))) for held in (mine, everybody)]
    retention.check(less[0], less[1], most)
    retention.check(mine, everybody, Most(0, 0, 0))


def test_room():
    """As much as has to be is enough."""
    retention.check_room("/layers", 64 << 20, 64 << 20)
    with pytest.raises(NotStartedError, match="63 MiB are free where its changes would be kept, /layers; 64 MiB"):
        retention.check_room("/layers", 63 << 20, 64 << 20)
