"""A list of changes as bytes is the same list when it is read again."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cbx_sandbox.checkpoint import listing
from cbx_sandbox.checkpoint.changes import Change, Flag, Kind, Meta

NUMBERS = st.integers(0, 2**63)
METAS = st.builds(
    Meta,
    *[NUMBERS] * 10,
    target=st.binary(max_size=8),
    xattrs=st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=2).map(tuple),
    attributes=NUMBERS,
)
CHANGES = st.builds(
    Change,
    kind=st.sampled_from(Kind),
    layer=st.integers(0, 3),
    path=st.binary(max_size=20),
    old=st.none() | METAS,
    new=st.none() | METAS,
    aspects=st.lists(st.sampled_from(["mode", "content"]), max_size=2).map(tuple),
    flags=st.frozensets(st.sampled_from(Flag), max_size=2),
    source=st.none() | st.binary(max_size=20),
)


@given(st.lists(CHANGES, max_size=5))
def test_round_trip(changes):
    """Whatever bytes the names are; what is implied is not listed."""
    hidden = [replace(change, implied=True) for change in changes]
    assert listing.load(listing.dump([*changes, *hidden], ["/a", "/b"])) == (changes, ("/a", "/b"), 0)


def test_a_long_list_is_cut_and_says_so(monkeypatch):
    """The first ones are kept."""
    monkeypatch.setattr(listing, "MOST", 3)
    changes = [Change(Kind.DELETED, 0, b"%d" % number, None, None) for number in range(5)]
    kept, _, more = listing.load(listing.dump(changes, ["/a"]))
    assert (kept, more) == (changes[:3], 2)
