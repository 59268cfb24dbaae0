"""What is told to be a leak and what is not: a job that fills a cache once has not got one."""

import random

import pytest

from cbx_supervisor.model.growth import MOST, described, growth

MIB = 1 << 20
WINDOW, LEAST = 600.0, MIB / 60


def samples(shape, count=60, noise=0):
    """(seconds, bytes) over a window; ``shape`` gives MiB at a share of it."""
    chance = random.Random(count + noise)
    return [
        (at * WINDOW, max(0, int(shape(at) * MIB) + chance.randint(-noise * MIB, noise * MIB)))
        for at in (index / (count - 1) for index in range(count))
    ]


def found(shape, **options):
    return growth(samples(shape, **options), WINDOW, LEAST)


@pytest.mark.parametrize("count", [12, 60, MOST, 1000])
@pytest.mark.parametrize("noise", [0, 5])
def test_a_leak_is_found_and_its_rate_is_right(count, noise):
    """100 MiB in ten minutes, also where single samples are off by some."""
    leak = found(lambda at: 50 + 100 * at, count=count, noise=noise)
    assert leak.bytes_per_second == pytest.approx(100 * MIB / WINDOW, rel=0.2)
    assert leak.over_seconds == pytest.approx(WINDOW)


@pytest.mark.parametrize(
    "shape",
    [
        lambda _: 400,
        lambda at: 10 if at < 0.1 else 400,
        lambda at: 10 if at < 0.5 else 400,
        lambda at: 10 if at < 0.9 else 400,
        lambda at: min(400, 10 + 2000 * at),
        lambda at: min(400, 10 + 700 * at),
        lambda at: 400 - 300 * at,
        lambda at: 100 + 300 * ((at * 4) % 1),
        lambda at: 100 + (300 if 0.3 < at < 0.6 else 0),
        lambda at: 5 * at,
    ],
    ids=["flat", "early", "middle", "late", "cache", "slow cache", "shrinking", "garbage", "hump", "little"],
)
def test_what_ends_to_grow_or_goes_up_and_down_is_no_leak(shape):
    """Nor what grows by less than is asked for."""
    assert found(shape) is None


def test_a_few_odd_samples_hide_no_leak():
    """One in ten of nothing at all."""
    seen = [(at, 0 if index % 10 == 5 else size) for index, (at, size) in enumerate(samples(lambda at: 50 + 100 * at))]
    assert growth(seen, WINDOW, LEAST).bytes_per_second == pytest.approx(100 * MIB / WINDOW, rel=0.3)


def test_before_a_window_is_full_nothing_is_said():
    """Nor of few samples, nor of those of one moment."""
    whole = samples(lambda at: 50 + 100 * at)
    assert growth(whole[: len(whole) // 2], WINDOW, LEAST) is None
    assert growth(whole[::10], WINDOW, LEAST) is None
    assert growth([(5.0, size) for _, size in whole], 0.0, LEAST) is None
    assert growth([], WINDOW, LEAST) is None


def test_it_is_told_when_the_limit_is_reached():
    """At that rate; without one nothing is said of it."""
    seen = samples(lambda at: 50 + 100 * at)
    limited = growth(seen, WINDOW, LEAST, limit=250 * MIB)
    assert limited.limit_in_seconds == pytest.approx(600, rel=0.05)
    assert described(limited) == (
        "its memory grows by 10.0 MiB a minute, to 150 MiB: it reaches its limit in 10 min at that rate"
    )
    assert described(growth(seen, WINDOW, LEAST)).endswith("to 150 MiB")
