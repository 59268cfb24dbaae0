"""What is kept of the names that a job read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.box.readwatch import MOST_BYTES, MOST_DIRECTORIES, MOST_PATHS, Names


def kept(*paths):
    names = Names()
    for path in paths:
        names.add(path, directory=False)
    return names


def test_what_every_program_reads_is_counted():
    """Each path once; what only looks like it is not of the system."""
    names = kept("/usr/lib/libc.so.6", "/usr/lib/libc.so.6", "/etc/ld.so.cache", "/usrlocal", "/etc/app.conf")
    assert names.system == {"/usr/lib/libc.so.6", "/etc/ld.so.cache"}
    assert list(names.paths) == ["/usrlocal", "/etc/app.conf"]


def test_beyond_so_many_paths_directories_are_kept_and_then_nothing():
    """Nothing is lost as long as directories have room; then it says so."""
    names = kept(*(f"/d/{number}" for number in range(MOST_PATHS)), "/e/1", "/e/2", "/d/1")
    assert (len(names.paths), list(names.directories), names.overflowed) == (MOST_PATHS, ["/e"], False)
    for number in range(MOST_DIRECTORIES):
        names.add(f"/f/{number}/x", directory=False)
    assert (len(names.directories), names.overflowed) == (MOST_DIRECTORIES, True)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200).map("/p/{}".format), max_size=50
    )
)
def test_each_is_kept_once(paths):
    """As long as there is room."""
    names = kept(*paths)
    assert list(names.paths) == list(dict.fromkeys(paths))
    assert not names.directories


def test_directories_are_told_from_files():
    """By a slash at their end."""
    names = Names()
    for path, directory in (("/", True), ("/p", True), ("/p/x", False), ("/usr/lib", True), ("/p", True)):
        names.add(path, directory=directory)
    assert (list(names.paths), names.system) == (["/", "/p/", "/p/x"], {"/usr/lib"})


def test_long_names_are_bounded_by_their_bytes():
    """Whatever their number."""
    names = kept(*(f"/{number:04}{'x' * 4000}" for number in range(200)))
    assert sum(len(path) for path in names.paths) <= MOST_BYTES
    assert names.directories == {"/": None}
