"""Which paths can be the same file: found by the index exactly where the definition says so."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.shell.effects import Access, Certainty, PathEffect
from cbx_sandbox.shell.overlaps import Index, overlap

# Few letters, so that paths meet often; patterns stand at the end, in the middle and alone.
PARTS = st.sampled_from(["a", "b", "ab", "a.c", "*", "*.c", "a*", "?", "[ab]"])
PLAIN = st.sampled_from(["a", "b", "ab", "a.c"])
LITERALS = st.lists(PLAIN, max_size=4).map(lambda parts: "/" + "/".join(parts))
GLOBS = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@st.composite
def effects(draw: st.DrawFn) -> PathEffect:
    certainty = draw(st.sampled_from(list(Certainty)))
    path = draw(GLOBS if certainty is Certainty.PATTERN else LITERALS)
    return PathEffect(draw(st.sampled_from(list(Access))), path, certainty)


@given(st.lists(effects(), max_size=30), effects())
def test_the_index_finds_what_the_definition_says(first: list[PathEffect], other: PathEffect) -> None:
    assert Index(first).meeting(other) == {one.access for one in first if overlap(one, other)}


@given(effects(), effects())
def test_meeting_is_mutual(one: PathEffect, other: PathEffect) -> None:
    assert overlap(one, other) is overlap(other, one)
    assert overlap(one, one)


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        (("literal", "/a/b"), ("literal", "/a/b"), True),
        (("literal", "/a/b"), ("literal", "/a/bc"), False),
        (("under", "/a"), ("literal", "/a/b/c"), True),
        (("under", "/a"), ("literal", "/ab"), False),
        (("under", "/a"), ("literal", "/a"), True),
        (("under", "/"), ("literal", "/x"), True),
        (("pattern", "/a/*.c"), ("literal", "/a/x.c"), True),
        (("pattern", "/a/*.c"), ("literal", "/a/x.h"), False),
        (("pattern", "/a/*/d"), ("under", "/a/b"), True),
        (("pattern", "/b/*"), ("under", "/a"), False),
        (("pattern", "/a/x*"), ("pattern", "/a/*.c"), True),
        (("pattern", "/a/x*"), ("pattern", "/a/y*"), False),
        (("unknown", "/a"), ("literal", "/a/b"), True),
    ],
)  # fmt: skip
def test_paths_meet(one: tuple[str, str], other: tuple[str, str], meets: bool) -> None:
    left, right = (PathEffect(Access.WRITE, path, Certainty(certainty)) for certainty, path in (one, other))
    assert overlap(left, right) is meets


def test_thousands_of_paths_are_not_held_against_each_other() -> None:
    """Counted, not timed: the lines of Python that run grow with the paths, not with their square."""

    def steps(count: int) -> int:
        first = [PathEffect(Access.WRITE, f"/p/{number % 7}/f{number}", Certainty.LITERAL) for number in range(count)]
        first += [PathEffect(Access.READ, f"/d/{number}", Certainty.UNDER) for number in range(count)]
        taken = 0

        def count_lines(_frame: object, event: str, _argument: object) -> object:
            nonlocal taken
            taken += event == "line"
            return count_lines

        before = sys.gettrace()
        sys.settrace(count_lines)
        try:
            index = Index(first)
            for number in range(count):
                index.meeting(PathEffect(Access.READ, f"/p/{number % 7}/f{number}", Certainty.LITERAL))
                index.meeting(PathEffect(Access.WRITE, f"/d/{number}", Certainty.UNDER))
        finally:
            sys.settrace(before)
        return taken

    assert steps(400) < 6 * steps(100)


NAMES = st.lists(PLAIN, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


def _means(effect: PathEffect, path: str) -> bool:
    """What an effect means, name by name: the definition that has nothing to do with texts that begin alike."""
    names, own = path.split("/")[1:], [part for part in effect.path.split("/") if part]
    if effect.certainty in {Certainty.UNDER, Certainty.UNKNOWN} or effect.access is Access.DELETE:
        names = names[: len(own)]
    if effect.certainty is Certainty.PATTERN:
        return len(names) == len(own) and all(map(fnmatchcase, names, own))
    return names == own


@given(effects(), effects(), NAMES)
def test_two_that_mean_one_file_meet(one: PathEffect, other: PathEffect, path: str) -> None:
    if _means(one, path) and _means(other, path):
        assert overlap(one, other)


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        (("read", "pattern", "/a/*"), ("write", "under", "/a/b"), True),
        (("read", "pattern", "/a/*"), ("write", "under", "/a/b/c"), False),
        (("read", "pattern", "/a/x*"), ("write", "under", "/a/b"), False),
        (("delete", "pattern", "/a/*"), ("write", "under", "/a/b/c"), True),
        (("delete", "pattern", "/a/*"), ("read", "literal", "/a/b/c"), True),
        (("delete", "pattern", "/a/*"), ("read", "pattern", "/a/b/*.c"), True),
        (("delete", "literal", "/a/b"), ("read", "pattern", "/*/b/c"), True),
        (("read", "pattern", "/a/*.c"), ("write", "pattern", "/a/b/*.c"), False),
        (("read", "pattern", "/a/**/*.c"), ("write", "literal", "/a/b/c/x.c"), True),
        (("read", "pattern", "/a/x@(b|c)"), ("write", "literal", "/a/xb"), True),
        (("read", "pattern", "/a/x@(b|c)"), ("write", "under", "/a/xb/c"), True),
    ],
)  # fmt: skip
def test_a_pattern_reaches_as_deep_as_it_is(
    one: tuple[str, str, str], other: tuple[str, str, str], meets: bool
) -> None:
    left, right = (PathEffect(Access(access), path, Certainty(kind)) for access, kind, path in (one, other))
    assert overlap(left, right) is meets
    assert Index([left]).meeting(right) == ({left.access} if meets else set())
