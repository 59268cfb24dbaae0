"""What runs teach: quantiles that fade, confidence, and lessons that make things stricter only."""

from __future__ import annotations

import math

from hypothesis import assume, given
from hypothesis import strategies as st

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell import learned
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.effects import Access, Certainty
from cbx_sandbox.shell.estimate import Bound, Source
from cbx_sandbox.shell.learned import ENOUGH, KEPT, Lesson, Run, Samples

FACTS = StaticFacts()
figures = st.floats(0, 1e9, allow_nan=False)
shares = st.floats(0, 1)


def samples(values):
    """The last of ``values`` is the newest."""
    made = Samples()
    for value in values:
        made = made.add(value)
    return made


def lesson(*seconds, memory=100.0, busy=0.1):
    made = Lesson()
    for value in seconds:
        made = made.after(Run(value, memory, busy))
    return made


@given(st.lists(figures, min_size=1, max_size=60), shares)
def test_a_quantile_is_one_of_the_observations_that_are_kept(values, share):
    """So it lies within what was observed."""
    assert samples(values).quantile(share) in values[-KEPT:]


@given(st.lists(figures, min_size=1, max_size=60), shares, shares)
def test_quantiles_are_in_order(values, one, other):
    """A larger share, no smaller value."""
    low, high = sorted((one, other))
    made = samples(values)
    assert made.quantile(low) <= made.quantile(high)


@given(st.lists(figures, min_size=1, max_size=40), figures, shares)
def test_it_converges(before, value, share):
    """Whatever was before: after as many alike as are kept, that is what is expected."""
    assert samples([*before, *[value] * KEPT]).quantile(share) == value


@given(figures, figures)
def test_it_fades(old, new):
    """One half-life of new runs moves the median; three do not move it back for one that stands out."""
    assume(old != new)
    half = math.ceil(learned.HALF_LIFE)
    assert samples([*[old] * KEPT, *[new] * (half + 1)]).quantile(0.5) == new
    assert samples([*[old] * KEPT, new]).quantile(0.5) == old


@given(st.lists(figures, max_size=80))
def test_no_more_is_kept_than_was_said(values):
    """However many runs there were; the effective number never exceeds the real one."""
    made = samples(values)
    assert made.values == tuple(reversed(values))[:KEPT]
    assert 0 <= made.effective <= min(len(values), KEPT) + 1e-9
    assert 0.0 <= made.confidence <= 1.0


@given(figures, st.integers(1, KEPT - 1))
def test_confidence_grows_with_runs_alike(value, count):
    """One more of the same says more."""
    assert samples([value] * count).confidence < samples([value] * (count + 1)).confidence


def test_confidence_falls_with_spread():
    """Runs that differ tenfold say little."""
    assert samples([1.0, 10.0] * 8).confidence < samples([1.0, 1.1] * 8).confidence
    assert Samples().confidence == 0.0


def test_the_rules_are_believed_until_there_are_enough_runs():
    """Then the median of the time, and nine in ten of the memory."""
    analysis = analyse("make test", FACTS)
    for runs in range(ENOUGH):
        assert learned.estimate(analysis, lesson(*[2.0] * runs)) == analysis.estimate
        assert analysis.estimate.source is Source.RULES
    found = learned.estimate(analysis, lesson(1.0, 3.0, 2.0, memory=77.4))
    assert (found.seconds, found.seconds_p90, found.memory_mb) == (2.0, 3.0, 77)
    assert found.source is Source.LEARNED
    assert 0 < found.confidence < 1


def test_what_it_waits_for_is_learned_too():
    """From the share of the processor time that it could have had."""
    analysis = analyse("make test", FACTS)
    assert learned.estimate(analysis, lesson(1, 1, 1, busy=0.9)).bound is Bound.CPU
    assert learned.estimate(analysis, lesson(1, 1, 1, busy=0.1)).bound is Bound.IO
    idle = analyse("cat a", FACTS)
    assert learned.estimate(idle, lesson(1, 1, 1, busy=0.0)).bound is idle.estimate.bound


def test_runs_without_figures_teach_none():
    """A run that was cancelled counts as a run, and its time as nothing."""
    made = Lesson().after(Run()).after(Run(memory_mb=3.0))
    assert (made.runs, made.seconds.values, made.memory.values) == (2, (), (3.0,))


paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(st.lists(paths, max_size=4), max_size=20))
def test_directories_stay_few_and_apart(runs):
    """No more than are kept, and none inside another."""
    made = Lesson()
    for directories in runs:
        made = made.after(Run(), missed=bool(directories), directories=directories)
    assert len(made.directories) <= learned.MAX_DIRECTORIES
    for path in made.directories:
        assert not any(path != other and path.startswith(other + "/") for other in made.directories)
    if runs and runs[-1]:
        assert all(any(p == d or p.startswith(d + "/") for d in made.directories) for p in runs[-1])


@given(paths, st.sampled_from(["/a", "/a/b", "/c", "/"]), st.sampled_from(["/b", "/a/c"]))
def test_a_remembered_path_is_found_again(path, project, home):
    """In the same project and home it is the same path."""
    assert learned.placed(learned.anchored(path, project, home), project, home) == path


def test_a_path_in_the_project_is_remembered_from_there():
    """So it means something in another checkout."""
    assert learned.anchored("/p/build/x", "/p", "/home/u") == "./build/x"
    assert learned.placed("./build/x", "/q", "/home/u") == "/q/build/x"
    assert learned.placed("~/.cache", "/q", "/home/v") == "/home/v/.cache"
    assert learned.anchored("/srv/x", "/p", "/home/u") == "/srv/x"


def test_a_lesson_makes_nothing_laxer():
    """The corrected analysis has the same tier and every effect that it had."""
    for line in ("ls", "make", "rm -rf x", "curl https://x | sh", "sed -i s/a/b/ f"):
        analysis = analyse(line, FACTS)
        changed = learned.corrected(analysis, lesson(1, 1, 1).after(Run(), missed=True), ["/srv/x"])
        assert changed.tier is analysis.tier
        assert set(analysis.effects.paths) < set(changed.effects.paths)
        assert (changed.checks, changed.reasons) == (analysis.checks, analysis.reasons)


def test_reads_are_added_to_the_effects_and_nothing_else():
    """No tier, no lock: only the order goes by them. A directory swallows what lies in it, the newest stay."""
    made = Lesson().after(Run(), reads=["./conf", "/srv/x/y"]).after(Run(), reads=["/srv/x/", "~/.rc"])
    assert made.reads == ("./conf", "/srv/x/", "~/.rc")
    assert (made.misses, learned.floor(made, [])) == (0, None)
    found = learned.read_places(made, "/q", "/home/v")
    assert {(effect.access, effect.path, effect.certainty) for effect in found} == {
        (Access.READ, "/q/conf", Certainty.LITERAL),
        (Access.READ, "/srv/x", Certainty.UNDER),
        (Access.READ, "/home/v/.rc", Certainty.LITERAL),
    }
    changed = learned.corrected(analyse("ls", FACTS), made, [], found)
    assert set(found) <= set(changed.effects.paths)
    many = made.after(Run(), reads=[f"/r/{number}" for number in range(100)])
    assert many.reads == tuple(f"/r/{number}" for number in range(100 - learned.MAX_READS, 100))
