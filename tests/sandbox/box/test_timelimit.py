"""A command's time, with and without being frozen."""

from cbx_sandbox.box.timelimit import TimeLimit


def test_it_is_up_at_its_end():
    """Not a moment before."""
    limit = TimeLimit(5.0, 100.0)
    assert limit.end == 105.0
    assert not limit.over(104.9)
    assert limit.over(105.0)


def test_frozen_time_is_not_the_command_s():
    """However often it is frozen, and however often that is said."""
    limit = TimeLimit(5.0, 100.0)
    limit.freeze(101.0, on=True)
    limit.freeze(102.0, on=True)
    assert limit.end is None
    assert not limit.over(1000.0)
    limit.freeze(111.0, on=False)
    limit.freeze(112.0, on=False)
    assert limit.end == 115.0
    limit.freeze(113.0, on=True)
    limit.freeze(114.0, on=False)
    assert limit.end == 116.0


def test_without_a_limit_it_is_never_up():
    """Frozen or not."""
    limit = TimeLimit(None, 100.0)
    limit.freeze(101.0, on=True)
    limit.freeze(102.0, on=False)
    assert limit.end is None
    assert not limit.over(1e9)
