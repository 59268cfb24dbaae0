"""Lists, weights, and which of several wishes counts."""

import pytest
from msgspec.structs import replace

from cbx_sandbox import runner
from cbx_sandbox.errors import UnavailableError
from cbx_sandbox.placement import HEAVIEST, IDLE, SHARES, bfq, level, niceness, numbers, text_of
from cbx_sandbox.placement import weight as weight_of
from cbx_sandbox.policy import NOWHERE, Placement
from cbx_sandbox.runner.placing import placement
from cbx_sandbox.shell.tiers import Tier

SAFE = Tier.SAFE_PARALLEL
HOST = runner.HostReport(places=runner.Places("cpuset", (0, 1, 2, 3), (0,), {"io-weight": "no disk has BFQ"}))


@pytest.mark.parametrize(
    ("text", "found"),
    [("0", (0,)), ("0-3,8", (0, 1, 2, 3, 8)), ("3,1-2", (1, 2, 3)), (" 5 , 5", (5,)), ("0-0", (0,))],
)
def test_a_list_is_read_as_the_kernel_writes_it(text, found):
    """In order, each once; and written it is the same again."""
    assert numbers(text) == found
    assert numbers(text_of(found)) == found


@pytest.mark.parametrize("text", ["", ",", "1-", "-1", "2-1", "a", "1 2", "0x1", "99999", "1-99999", "٣", "1--2"])
def test_what_is_no_list_is_refused(text):
    """Also a number that would take all memory."""
    with pytest.raises(ValueError):  # whichever of them it is
        numbers(text)


def test_lists_are_as_short_as_the_kernel_s():
    """Runs of two, too."""
    assert text_of((0, 1, 2, 5, 7, 8)) == "0-2,5,7-8"


@pytest.mark.parametrize(
    ("function", "text"), [(weight_of, "0"), (weight_of, "10001"), (niceness, "20"), (niceness, "-21")]
)
def test_what_is_out_of_range_is_refused(function, text):
    """With what would do."""
    with pytest.raises(ValueError, match="write"):
        function(text)
    assert (weight_of("idle"), niceness("-20")) == (IDLE, -20)


def test_a_heavier_weight_is_never_a_lesser_one():
    """Neither for BFQ nor as a level of priority; the usual one is the usual one."""
    assert [bfq(each) for each in (1, 100, HEAVIEST)] == [1, 100, 1000]
    assert [level(each) for each in (HEAVIEST, 100, 1)] == [0, 4, 7]
    for lighter in range(1, HEAVIEST):
        assert bfq(lighter) <= bfq(lighter + 1)
        assert level(lighter) >= level(lighter + 1)
    assert len(SHARES) == 40
    assert SHARES[20] == 1024
    assert list(SHARES) == sorted(SHARES, reverse=True)


def test_what_is_asked_for_goes_before_what_is_configured():
    """One by one: asked, then for what kind of job it is, then its tier's."""
    defaults = runner.Defaults(placement={**dict.fromkeys(Tier, NOWHERE), SAFE: Placement((1,), (0,), 1, 1, 1)})
    options = runner.Options(placement=Placement(nice=3), placed=Placement(nice=2, cpu_weight=2))
    found = placement(options, defaults, SAFE, HOST, strict=False)
    assert found == Placement((1,), (0,), 3, 2, 1)
    assert placement(options, defaults, Tier.DANGEROUS_ISOLATED, HOST, strict=False) == Placement(None, None, 3, 2)


def test_a_place_that_is_not_there_is_refused():
    """All that was asked for has to be there; of what is configured something."""
    asked = runner.Options(placement=Placement(cpus=(3, 4)))
    with pytest.raises(UnavailableError, match="CPUs 3-4: this host has 0-3"):
        placement(asked, runner.Defaults(), SAFE, HOST, strict=False)
    configured = runner.Options(placed=Placement(cpus=(3, 4)))
    assert placement(configured, runner.Defaults(), SAFE, HOST, strict=False).cpus == (3,)
    with pytest.raises(UnavailableError, match="memory nodes 1: this host has 0"):
        placement(runner.Options(placed=Placement(nodes=(1,))), runner.Defaults(), SAFE, HOST, strict=False)


def test_a_launcher_that_places_no_job_is_not_asked_to():
    """One of an earlier release would pass it over in silence."""
    old = replace(HOST, places=None)
    assert placement(runner.Options(), runner.Defaults(), SAFE, old, strict=True) == NOWHERE
    with pytest.raises(UnavailableError, match="earlier release"):
        placement(runner.Options(placement=Placement(nice=1)), runner.Defaults(), SAFE, old, strict=False)


def test_a_weight_that_counts_for_nothing_is_told_and_with_strict_refused():
    """It is no limit: the job runs."""
    asked = runner.Options(placement=Placement(io_weight=50))
    assert placement(asked, runner.Defaults(), SAFE, HOST, strict=False).io_weight == 50
    with pytest.raises(UnavailableError, match="io-weight"):
        placement(asked, runner.Defaults(), SAFE, HOST, strict=True)
