"""What people and programs see of changes."""

import json
import stat

import pytest

from cbx_sandbox.checkpoint import render
from cbx_sandbox.checkpoint.changes import Change, Flag, Kind, Meta, Summary, live_path, summarise

FILE, DIRECTORY = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755
TARGETS = ("/", "/srv/data")


def meta(mode=FILE, size=5, **rest):
    return Meta(mode, 0, 0, size, 0, 0, 1, 1, 1, **rest)


CHANGES = [
    Change(Kind.META, 0, b"etc", meta(DIRECTORY), meta(DIRECTORY), ("mtime",), implied=True),
    Change(Kind.ADDED, 0, b"etc/new", None, meta(size=10)),
    Change(Kind.CHANGED, 0, b"etc/hosts", meta(), meta(size=7), ("content", "mtime")),
    Change(Kind.DELETED, 1, b"old", meta(DIRECTORY), None),
    Change(Kind.META, 1, b"run.sh", meta(), meta(FILE | stat.S_ISUID), ("mode",), frozenset({Flag.SETUID})),
    Change(Kind.RENAMED, 1, b"to/there", meta(DIRECTORY), meta(DIRECTORY), source=b"from"),
    Change(Kind.TYPE, 1, b"x", meta(), meta(stat.S_IFLNK | 0o777, target=b"y")),
]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"/plain", "/plain"),
        ("/ünï".encode(), "/ünï"),
        (b"/new\nline", '"/new\\nline"'),
        (b"/\x1b[31mred", '"/\\033[31mred"'),
        (b"/bad\xff", '"/bad\\377"'),
        (b'/quo"te\\', '"/quo\\"te\\\\"'),
        ("/rtl\u202e".encode(), '"/rtl\\342\\200\\256"'),
    ],
)
def test_quote(path, shown):
    """Whatever a terminal would obey is spelled out, everything else stands as it is."""
    assert render.quote(path) == shown


def test_paths_join_the_target():
    """The live path of a change is beneath its layer's target, the root included."""
    assert [live_path(change, TARGETS) for change in CHANGES[1:4]] == [b"/etc/new", b"/etc/hosts", b"/srv/data/old"]
    assert live_path(Change(Kind.META, 0, b"", None, None), TARGETS) == b"/"
    assert live_path(Change(Kind.META, 1, b"", None, None), TARGETS) == b"/srv/data"


def test_summary_counts_what_is_shown():
    """Times of directories whose entries changed count for nothing."""
    assert summarise(CHANGES) == Summary(added=1, changed=4, deleted=1, bytes=17)
    assert summarise(CHANGES[:1]).empty


def test_list_and_name_status():
    """One line a change in both forms."""
    assert render.name_status(CHANGES, TARGETS).splitlines() == [
        "A\t/etc/new",
        "M\t/etc/hosts",
        "D\t/srv/data/old",
        "P\t/srv/data/run.sh",
        "R\t/srv/data/from\t/srv/data/to/there",
        "T\t/srv/data/x",
    ]
    lines = render.as_list(CHANGES, TARGETS).splitlines()
    assert lines[1] == "M  /etc/hosts  (content, 5 -> 7 bytes, mtime)"
    assert lines[3] == "P  /srv/data/run.sh  (mode 0644 -> 4644; setuid)"
    assert lines[5] == "T  /srv/data/x  (file -> symlink)"


def test_tree_shows_each_directory_once():
    """Directories stand without a letter unless they changed themselves."""
    assert render.as_tree(CHANGES[:4], TARGETS).splitlines() == [
        "   etc/",
        "M    hosts",
        "A    new",
        "   srv/",
        "     data/",
        "D      old",
    ]


def test_tree_of_a_deep_path_stays_narrow():
    """Indentation ends somewhere: a path of five thousand levels is no square of that."""
    deep = Change(Kind.ADDED, 0, b"/".join([b"d"] * 5000), None, meta())
    assert len(render.as_tree([deep], TARGETS)) < 5000 * 100


def test_json_is_plain_and_keeps_odd_names():
    """Names that are no UTF-8 come with their bytes."""
    odd = Change(Kind.ADDED, 0, b"bad\xff", None, meta())
    first, second = json.loads(json.dumps(render.as_json([*CHANGES[1:2], odd], TARGETS)))
    assert first["path"] == "/etc/new"
    assert first["new"]["mode"] == "0644"
    assert second["path_base64"] == "L2JhZP8="
    assert "path_base64" not in first


def test_empty():
    """Nothing to show is nothing."""
    assert render.as_list([], TARGETS) == render.as_tree([], TARGETS) == render.name_status([], TARGETS) == ""
