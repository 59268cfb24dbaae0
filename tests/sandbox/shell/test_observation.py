"""A change set held against predicted writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.shell.effects import Access, Certainty, PathEffect
from cbx_sandbox.shell.observation import MAX_NAMED, compare, compare_reads

LITERAL, PATTERN, UNDER, UNKNOWN = Certainty


def write(path, certainty=LITERAL, access=Access.WRITE):
    return PathEffect(access, path, certainty)


@pytest.mark.parametrize(
    ("effect", "path", "covered"),
    [
        (write("/p/a"), "/p/a", True),
        (write("/p/a"), "/p/b", False),
        (write("/p/a"), "/p/a/b", False),
        (write("/p/new/dir/a"), "/p/new", True),  # made on the way
        (write("/p", UNDER), "/p/x/y", True),
        (write("/p", UNDER), "/p", True),
        (write("/p", UNDER), "/pp", False),
        (write("/p", UNKNOWN), "/p/x", True),
        (write("/p/*.o", PATTERN), "/p/x.o", True),
        (write("/p/*.o", PATTERN), "/p/d/x.o", False),  # a star stops at a slash
        (write("/p/*", PATTERN), "/p/d", True),
        (write("/p/*", PATTERN), "/p/d/x.o", False),  # a directory that is matched is not all that is in it
        (write("/p/*", PATTERN, Access.DELETE), "/p/d/x.o", True),  # unless it goes
        (write("/p/*.d", PATTERN, Access.DELETE), "/p/d/x.o", False),
        (write("/p/**/x", PATTERN), "/p/a/b/x", True),  # what is not followed counts from where it begins
        (write("/p/new/*.o", PATTERN), "/p/new", True),  # made on the way
        (write("/p/new*/x", PATTERN), "/p/other", False),
        (write("/p/new/dir", UNDER), "/p/new", True),
        (write("/p/d", access=Access.DELETE), "/p/d/x", True),
        (write("/p/a", access=Access.READ), "/p/a", False),
    ],
)
def test_what_a_prediction_covers(effect, path, covered):
    """By its certainty."""
    seen = compare([effect], [path])
    assert seen.covered is covered
    assert seen.missed_paths == (() if covered else (path,))


def test_what_did_not_happen_is_named():
    """A prediction that nothing came of."""
    seen = compare([write("/p/a"), write("/p/b"), write("/q", UNDER), write("/r/*.c", PATTERN)], ["/p/a", "/r/x.c"])
    assert (seen.predicted, seen.untouched, seen.untouched_paths) == (4, 2, ("/p/b", "/q"))


def test_directories_are_the_outermost_that_are_not_shared():
    """A directory of many swallows none of those in it."""
    changed = ["/tmp/x", "/tmp/own/y", "/tmp/own/sub/z", "/srv/new", "/srv/new/file"]
    assert compare([], changed, lambda path: path == "/tmp").directories == ("/srv", "/tmp/own")


names = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
effects = st.builds(write, names, st.sampled_from(list(Certainty)), st.sampled_from(list(Access)))


@given(st.lists(effects, max_size=6), st.lists(names, max_size=30))
def test_the_numbers_agree(predicted, changed):
    """Few are named, all are counted; what was predicted in addition never misses more."""
    seen = compare(predicted, changed)
    assert seen.changed == len(changed)
    assert len(seen.missed_paths) == min(seen.missed, MAX_NAMED)
    assert 0 <= seen.untouched <= seen.predicted
    assert set(seen.missed_paths) <= set(changed)
    wider = compare([*predicted, *(write(path, UNDER) for path in seen.directories)], changed)
    assert wider.covered


@pytest.mark.parametrize(
    ("effect", "path", "covered"),
    [
        (write("/p/a", access=Access.READ), "/p/a", True),
        (write("/p/a", access=Access.READ), "/p/b", False),
        (write("/p/a"), "/p/a", True),  # who changes it looks at it
        (write("/p/d/a", access=Access.READ), "/p/d", True),  # on the way
        (write("/p/d", access=Access.READ), "/p/d/a", False),
        (write("/p", UNDER, Access.READ), "/p/x/y", True),
        (write("/p", UNKNOWN, Access.READ), "/p/x", True),
        (write("/p/*.c", PATTERN, Access.READ), "/p/x.c", True),
        (write("/p/*.c", PATTERN, Access.READ), "/p/x.h", False),
        (write("/p/*.c", PATTERN, Access.READ), "/p", True),  # to find what matches it is listed
    ],
)
def test_what_a_prediction_covers_of_reads(effect, path, covered):
    """Everything that it says is touched."""
    seen = compare_reads([effect], [path])
    assert seen.covered is covered
    assert seen.missed_paths == seen.places == (() if covered else (path,))


def test_few_reads_are_learned_as_they_are_and_many_by_directory():
    """Not by one that holds the files of many."""
    few = compare_reads([], ["/d/1", "/d/2"])
    assert few.places == ("/d/1", "/d/2")
    many = compare_reads([], [f"/d/{number}" for number in range(20)] + ["/etc/x"], shared=lambda path: path == "/etc")
    assert (many.missed, many.places) == (21, ("/etc/x", "/d/"))


def test_a_directory_of_which_not_all_is_known_counts_as_a_whole():
    """It is covered only where all of it was predicted."""
    effects = [write("/p", UNDER, Access.READ), write("/q/a", access=Access.READ)]
    seen = compare_reads(effects, [], ["/p/x", "/q"])
    assert compare_reads(effects, ["/p/x/", "/q/", "/q/a"]).covered, "to find what is read in it"
    assert compare_reads([], ["/d/", "/d/x", "/e"]).places == ("/e", "/d/")
    assert (seen.read, seen.missed, seen.missed_paths, seen.places) == (2, 1, ("/q/",), ("/q/",))


@given(st.lists(effects, max_size=6), st.lists(names, max_size=40))
def test_what_was_learned_of_reads_covers_them(predicted, read):
    """Or a place is left out for there are too many of them; nothing that was not read is learned."""
    seen = compare_reads(predicted, read)
    wider = [
        write(path.rstrip("/") or "/", UNDER if path.endswith("/") else LITERAL, Access.READ) for path in seen.places
    ]
    assert compare_reads([*predicted, *wider], read).covered
    assert seen.read == len(set(read))
    assert compare_reads([*predicted, *(write(path) for path in read)], read).covered
