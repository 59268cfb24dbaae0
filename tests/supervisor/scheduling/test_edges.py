"""Which jobs come after which because of what they use."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbx_sandbox.shell.effects import Access as Effect
from cbx_sandbox.shell.effects import Certainty, Effects, PathEffect, SystemEffect, Thing
from cbx_supervisor.scheduling import accesses as uses
from cbx_supervisor.scheduling import edges as plain
from cbx_supervisor.scheduling.accesses import Access, Use, accesses
from cbx_supervisor.scheduling.edges import CROWD, WIDE, Tie


class Edges(plain.Edges):
    """The index, with where each job stands, as its jobs remember it."""

    def __init__(self):
        super().__init__()
        self.stands = {}

    def __len__(self):
        return len(self.stands)

    def add(self, number, accesses):
        ties, self.stands[number] = super().add(number, accesses)
        return ties

    def remove(self, number):
        super().remove(number, self.stands.pop(number, ()))


def reads(path, *, below=False):
    return Access(("", *path.strip("/").split("/")), Use.READ, below)


def writes(path, *, below=False):
    return Access(("", *path.strip("/").split("/")), Use.WRITE, below)


def shares(path, *, below=False):
    return Access(("", *path.strip("/").split("/")), Use.SHARE, below)


def covers(one, other):
    """The definition: whether two accesses are to the same thing, and one of them changes it."""
    if one.use is other.use and one.use is not Use.WRITE:
        return False
    inner, outer = (one, other) if len(one.place) >= len(other.place) else (other, one)
    same = inner.place == outer.place
    return same or (outer.below and inner.place[: len(outer.place)] == outer.place)


def tied(first, second):
    return any(covers(one, other) for one in first for other in second)


def before(follows, number):
    """All that a job comes after, by way of others too."""
    found, look_at = set(), [number]
    while look_at:
        for earlier in follows[look_at.pop()] - found:
            found.add(earlier)
            look_at.append(earlier)
    return found


def test_a_reader_follows_the_last_writer_and_a_writer_all_readers():
    """And nobody is named who comes before one that is."""
    edges = Edges()
    assert edges.add(1, [writes("/p/x")]) == {}
    assert edges.add(2, [reads("/p/x")]) == {1: Tie("read-after-write", "/p/x")}
    assert list(edges.add(3, [reads("/p/x")])) == [1]
    assert edges.add(4, [writes("/p/x")]) == {number: Tie("write-after-read", "/p/x") for number in (2, 3)}
    assert edges.add(5, [writes("/p/x")]) == {4: Tie("write-after-write", "/p/x")}
    assert list(edges.add(6, [reads("/p/x")])) == [5]


def test_what_nobody_changes_ties_nobody():
    edges = Edges()
    edges.add(1, [reads("/p", below=True)])
    assert edges.add(2, [reads("/p/x")]) == {}
    assert edges.add(3, [writes("/q/x")]) == {}
    assert edges.add(4, [writes("/p2")]) == {}, "a name that begins alike is another place"


def test_directories_hold_for_what_is_beneath_them():
    """The place that is named is the narrower one."""
    edges = Edges()
    edges.add(1, [writes("/p/a/x")])
    edges.add(2, [writes("/p/b")])
    assert edges.add(3, [reads("/p", below=True)]) == {
        1: Tie("read-after-write", "/p/a/x"),
        2: Tie("read-after-write", "/p/b"),
    }
    assert edges.add(4, [writes("/p/a/y")]) == {3: Tie("write-after-read", "/p/a/y")}
    assert edges.add(5, [reads("/p")]) == {}, "a directory itself is not what is in it"


def test_who_is_over_is_followed_by_nobody():
    edges = Edges()
    edges.add(1, [writes("/p/x")])
    edges.add(2, [writes("/p/x")])
    edges.remove(1)
    assert list(edges.add(3, [reads("/p/x")])) == [2]
    for number in (2, 3):
        edges.remove(number)
    assert edges.add(4, [writes("/p/x")]) == {}
    edges.remove(4)
    edges.remove(4)
    assert edges.empty


def test_a_writer_that_is_withdrawn_uncovers_who_was_before_it():
    """Readers on both sides of it are all followed."""
    edges = Edges()
    edges.add(1, [reads("/p/x")])
    edges.add(2, [writes("/p/x")])
    edges.add(3, [reads("/p/x")])
    edges.remove(2)
    assert set(edges.add(4, [writes("/p/x")])) == {1, 3}


def test_tools_that_share_a_cache_go_together_and_others_wait():
    edges = Edges()
    edges.add(1, [shares("/c", below=True)])
    assert edges.add(2, [shares("/c", below=True)]) == {}
    assert set(edges.add(3, [writes("/c/x")])) == {1, 2}
    assert set(edges.add(4, [shares("/c", below=True)])) == {3}


def test_an_earlier_number_that_comes_late_follows_no_later_one():
    """As when a supervisor goes on with jobs that run, and then with those that wait."""
    edges = Edges()
    edges.add(7, [writes("/p/x")])
    assert edges.add(5, [writes("/p/x")]) == {}


USES = st.sampled_from(list(Use))
PLACES = st.lists(st.sampled_from("abc"), max_size=3).map(lambda parts: ("", *parts))
ACCESSES = st.lists(st.builds(Access, PLACES, USES, st.booleans()), min_size=1, max_size=3)


@settings(max_examples=300)
@given(st.lists(st.tuples(ACCESSES, st.integers(0, 6)), min_size=1, max_size=40))
def test_the_edges_say_what_each_job_against_each_would(steps):
    """Whoever is tied comes after, directly or by way of others; and edges are between those that are tied."""
    edges, known, follows = Edges(), {}, {}
    for number, (wanted, ending) in enumerate(steps, 1):
        found = edges.add(number, wanted)
        alive = {other for other in known if other in follows}
        for other in found:
            assert tied(known[other], wanted)
        known[number], follows[number] = wanted, set(found)
        expected = {other for other in alive if tied(known[other], wanted)}
        assert expected <= before(follows, number)
        assert found.keys() <= alive
        # Some job ends that nothing keeps from running; each sixth is withdrawn, wherever it stands.
        free = [other for other in follows if ending == 6 or not follows[other]]
        if ending and free:
            over = free[ending % len(free)]
            left = follows.pop(over)
            edges.remove(over)
            for others in follows.values():
                if over in others:
                    others.discard(over)
                    others.update(left)


def test_a_crowd_costs_no_edge_for_each_pair():
    """A thousand readers of a directory, a thousand writers in it, a thousand readers again."""
    edges, many, count = Edges(), 1000, 0
    follows = {}
    groups = [
        [reads("/p", below=True)], [writes("/p/{}")], [reads("/p", below=True)], [reads("/p/{}")],
        [writes("/p", below=True)], [reads("/p/one")], [writes("/p/one"), reads("/p", below=True)],
    ]  # fmt: skip
    for place, group in enumerate(groups):
        for index in range(many):
            number = place * many + index + 1
            wanted = [access._replace(place=tuple(part.format(index) for part in access.place)) for access in group]
            found = edges.add(number, wanted)
            follows[number] = set(found)
            count += len(found)
    assert count < len(groups) * many * WIDE
    assert {1, 500, 1000} <= before(follows, 2000)
    assert set(range(1001, 2001)) <= before(follows, 3000)


def test_who_follows_a_crowd_says_so():
    edges = Edges()
    for number in range(WIDE + 2):
        edges.add(number + 1, [writes(f"/p/{number}")])
    found = edges.add(100, [reads("/p", below=True)])
    assert {tie.kind for tie in found.values()} == {"read-after-write"}
    assert edges.add(101, [reads("/p", below=True)]) == {100: Tie("read-after-write", "/p")}
    wide = Edges()
    for number in range(WIDE + 2):
        wide.add(number + 1, [reads("/p", below=True)])
    wide.add(100, [reads("/p/q")])
    assert wide.add(101, [writes("/p/x")])[100] == Tie(CROWD, "/p/q")


@pytest.mark.parametrize(
    ("effect", "place", "use", "below"),
    [
        (PathEffect(Effect.READ, "/p/x", Certainty.LITERAL), ("", "p", "x"), Use.READ, False),
        (PathEffect(Effect.APPEND, "/p/x", Certainty.LITERAL), ("", "p", "x"), Use.WRITE, False),
        (PathEffect(Effect.DELETE, "/p/x", Certainty.LITERAL), ("", "p", "x"), Use.WRITE, True),
        (PathEffect(Effect.READ, "/p", Certainty.UNDER), ("", "p"), Use.READ, True),
        (PathEffect(Effect.WRITE, "/", Certainty.UNKNOWN), ("",), Use.WRITE, True),
        (PathEffect(Effect.READ, "/p/src/*.c", Certainty.PATTERN), ("", "p", "src"), Use.READ, True),
        (PathEffect(Effect.DELETE, "/p/*/x", Certainty.PATTERN), ("", "p"), Use.WRITE, True),
        (PathEffect(Effect.WRITE, "/*", Certainty.PATTERN), ("",), Use.WRITE, True),
        (SystemEffect(Thing.PACKAGE, "apt:jq"), ("package", "apt"), Use.WRITE, True),
        (
            SystemEffect(Thing.DATABASE, "postgres:shop", changes=False),
            ("database", "postgres", "shop"),
            Use.READ,
            True,
        ),
        (SystemEffect(Thing.SERVICE, ""), ("service",), Use.WRITE, True),
        (SystemEffect(Thing.PORT, "8080"), ("port", "8080"), Use.WRITE, True),
    ],
)
def test_effects_become_accesses(effect, place, use, below):
    made = Effects(paths=(effect,)) if isinstance(effect, PathEffect) else Effects(system=(effect,))
    assert accesses(made) == (Access(place, use, below),)


def test_a_cache_that_a_tool_locks_is_shared():
    write = PathEffect(Effect.WRITE, "/root/.cache/pip", Certainty.UNDER)
    made = Effects(paths=(write,), caches=("/root/.cache/pip",))
    assert [access.use for access in accesses(made)] == [Use.SHARE]


def test_what_the_submitter_lets_it_write_counts_as_written():
    assert accesses(Effects(), ["/srv/x"]) == (writes("/srv/x", below=True),)


def test_very_many_paths_become_directories():
    """No job has more accesses than there may be, and none is lost."""
    many = tuple(PathEffect(Effect.WRITE, f"/p/{n % 40}/{n}", Certainty.LITERAL) for n in range(5000))
    found = accesses(Effects(paths=many))
    assert len(found) <= uses.MOST
    assert all(any(covers(access, reads(one.path)) for access in found) for one in many)


def test_places_have_names_for_people():
    assert uses.named(("", "p", "x")) == "/p/x"
    assert uses.named(("",)) == "/"
    assert uses.named(("package", "apt")) == "package apt"
    assert uses.named(("database", "postgres", "shop")) == "database postgres:shop"
    assert uses.named(("service",)) == "service"
