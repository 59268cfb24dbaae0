"""From predicted effects to directories to lock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cbx_sandbox import lockset
from cbx_sandbox.errors import DeniedError
from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.effects import Access, Certainty, PathEffect

FACTS = StaticFacts(
    files={
        "/": "dir", "/etc": "dir", "/etc/app": "dir", "/etc/hosts": "file", "/home": "dir", "/home/user": "dir",
        "/work": "dir", "/work/project": "dir", "/work/project/src": "dir", "/work/project/src/a.c": "file",
        "/work/project/file": "file", "/work/link": "link", "/tmp": "dir", "/usr": "dir",
    },
    links={"/work/link": "/home/user"},
)  # fmt: skip
LITERAL, PATTERN, UNDER, UNKNOWN = Certainty.LITERAL, Certainty.PATTERN, Certainty.UNDER, Certainty.UNKNOWN


def found(*effects):
    """The directories for (access, path, certainty) triples."""
    made = tuple(PathEffect(Access(access), path, certainty) for access, path, certainty in effects)
    return [(entry.path, entry.expected) for entry in lockset.directories(made, FACTS)]


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        (("write", "/work/project/file", LITERAL), "/work/project"),
        (("create", "/work/project/new/deep/file", LITERAL), "/work/project"),
        (("create", "/work/project/src", LITERAL), "/work/project"),  # its name is in the directory above
        (("delete", "/work/project/src", LITERAL), "/work/project"),
        (("write", "/work/project/src", UNDER), "/work/project/src"),
        (("write", "/work/project/src/*.c", PATTERN), "/work/project/src"),
        (("delete", "/work/project/*/x", PATTERN), "/work/project"),
        (("write", "/work/missing/deep", UNDER), "/work"),
        (("write", "/work/link/x", LITERAL), "/home/user"),
        (("write", "/nowhere/at/all", LITERAL), "/"),
        (("append", "/work/project/file", LITERAL), "/work/project"),
    ],
)
def test_paths_are_rounded_up_to_a_directory_that_exists(effect, expected):
    """A file to its directory, what is missing to its nearest ancestor, links to where they lead."""
    assert [path for path, _ in found(effect)] == [expected]


def test_reading_locks_nothing():
    """Readers do not wait by default."""
    assert found(("read", "/work/project/file", LITERAL)) == []


@pytest.mark.parametrize(
    "path", ["/dev/null", "/dev/tty", "/dev/shm/x", "/run/tmp/x", "/proc/self/fd/1", "/dev/stderr"]
)
def test_what_every_box_has_of_its_own_needs_no_lock(path):
    """Writing there is harmless and allowed."""
    assert found(("write", path, LITERAL)) == []


@pytest.mark.parametrize("path", ["/proc/sys/vm/swappiness", "/sys/power/state", "/dev/sda", "/run/x", "/var/run/x"])
def test_writes_that_would_reach_a_copy_only_are_denied(path):
    """They would seem to succeed and change nothing of the host."""
    with pytest.raises(DeniedError):
        found(("write", path, LITERAL))


def test_one_file_in_a_directory_of_many_is_all_that_is_expected_there():
    """The directory is overlaid, and what changes besides is held at commit."""
    assert found(("write", "/etc/hosts", LITERAL)) == [("/etc", ("/etc/hosts",))]


def test_anything_less_exact_expects_the_whole_directory():
    """A pattern in /etc may be any of its files."""
    assert found(("write", "/etc/*.conf", PATTERN)) == [("/etc", None)]
    assert found(("write", "/etc/hosts", LITERAL), ("write", "/etc", UNDER)) == [("/etc", None)]


def test_a_whole_directory_below_a_coarse_one_is_expected_as_a_whole():
    """Both are under the lock of the coarse one."""
    assert found(("write", "/etc/hosts", LITERAL), ("write", "/etc/app", UNDER)) == [
        ("/etc", ("/etc/hosts", "/etc/app"))
    ]


EFFECTS = st.lists(
    st.tuples(
        st.sampled_from(["write", "create", "delete", "append", "read"]),
        st.lists(st.sampled_from(["work", "project", "src", "etc", "app", "x", "home"]), min_size=1, max_size=4).map(
            lambda parts: "/" + "/".join(parts)
        ),
        st.sampled_from([LITERAL, UNDER, UNKNOWN]),
    ),
    max_size=6,
)


@given(EFFECTS)
def test_every_write_lies_in_exactly_one_lock(effects):
    """Nothing that is predicted is outside the set, the set has no directory inside another, and each exists."""
    directories = [path for path, _ in found(*effects)]
    for one in directories:
        assert FACTS.kind(one) == "dir"
        assert not any(other != one and lockset.beneath(one, other) for other in directories)
    for access, path, _ in effects:
        if access != "read":
            assert sum(lockset.beneath(path, directory) for directory in directories) == 1


@given(EFFECTS)
def test_the_order_of_effects_does_not_matter(effects):
    """The same directories, and the same expected paths."""
    forward = [(path, None if expected is None else set(expected)) for path, expected in found(*effects)]
    backward = [(path, None if expected is None else set(expected)) for path, expected in found(*reversed(effects))]
    assert forward == backward


@pytest.mark.parametrize(
    ("closed", "effects", "expected"),
    [
        ((), [("create", "/etc/x", LITERAL)], ["/etc"]),
        (("/etc",), [("create", "/etc/x", LITERAL)], []),
        (("/etc",), [("delete", "/etc/hosts", LITERAL)], []),
        (("/etc",), [("append", "/etc/hosts", LITERAL)], ["/etc"]),  # one's own file in somebody else's directory
        (("/etc", "/etc/hosts"), [("append", "/etc/hosts", LITERAL)], []),
        (("/etc",), [("write", "/etc", UNDER), ("write", "/etc/app", UNDER)], ["/etc/app"]),
        (("/etc/app",), [("write", "/etc", UNDER), ("write", "/etc/app", UNDER)], ["/etc"]),
        (("/home/user",), [("create", "/work/link/x", LITERAL)], []),
        (("/",), [("create", "/nowhere/at/all", LITERAL)], []),
        ((), [("write", "/dev/null", LITERAL)], []),
    ],
)
def test_nobody_locks_what_he_may_not_write(closed, effects, expected):
    """What lies below a closed directory and is open stays his; what is closed below an open one goes with it."""
    made = tuple(PathEffect(Access(access), path, certainty) for access, path, certainty in effects)
    facts = replace(FACTS, closed=frozenset(closed))
    assert lockset.permitted(made, facts) == expected
