"""States of a checkpoint."""

import pytest

from cbx_sandbox.checkpoint.history import State, follow, parse_name
from cbx_sandbox.errors import UsageError


@pytest.mark.parametrize("state", [State.HELD, State.CONFLICT])
@pytest.mark.parametrize("wanted", [State.COMMITTED, State.ROLLED_BACK, State.CONFLICT])
def test_open_checkpoints_can_be_decided(state, wanted):
    """What is held can be committed, rolled back, or meet a conflict (again)."""
    assert state.open
    assert follow(state, wanted, 3) is wanted


@pytest.mark.parametrize("state", [State.COMMITTED, State.EMPTY, State.ROLLED_BACK])
def test_closed_checkpoints_stay(state):
    """What is done is done, and the error says what it is."""
    assert not state.open
    with pytest.raises(UsageError, match=f"cannot commit checkpoint 3: it is {state}"):
        follow(state, State.COMMITTED, 3)


def test_rolling_back_twice_is_no_error():
    """Rollback is idempotent; of a committed checkpoint it is refused."""
    assert follow(State.ROLLED_BACK, State.ROLLED_BACK, 3) is State.ROLLED_BACK
    with pytest.raises(UsageError, match="roll back"):
        follow(State.COMMITTED, State.ROLLED_BACK, 3)


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("c12", 12)])
def test_names(text, number):
    """A number, with or without its letter."""
    assert parse_name(text) == number


@pytest.mark.parametrize("text", ["", "c", "0", "-1", "x3", "3x", "٣", "9" * 30])
def test_bad_names(text):
    """Anything else is refused."""
    with pytest.raises(UsageError):
        parse_name(text)
