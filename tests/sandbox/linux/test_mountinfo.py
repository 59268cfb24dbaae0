"""The mount table: parsed exactly, whatever the names."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.linux import mountinfo

TABLE = r"""
22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
28 27 254:1 /sub /mnt/with\040blank\011tab\134back\012line ro,nosuid shared:1 master:2 - xfs /dev/sda1 rw,attr2
29 27 0:40 / /srv rw - overlay overlay ro,lowerdir=/a:/b
"""


def test_fields_are_read_by_their_place():
    """Optional fields may be none, one or several; the separator ends them."""
    proc, root, odd, overlay = mountinfo.parse(TABLE)
    assert (proc.mount_id, proc.parent_id, proc.target, proc.kind) == (22, 27, "/proc", "proc")
    assert root.device == os.makedev(254, 0)
    assert odd.target == "/mnt/with blank\ttab\\back\nline"
    assert (odd.root, odd.kind, odd.source) == ("/sub", "xfs", "/dev/sda1")
    assert overlay.super_options == {"ro", "lowerdir=/a:/b"}


def test_read_only_is_either_the_mount_or_its_file_system():
    """Nothing can be written through either."""
    assert [mount.read_only for mount in mountinfo.parse(TABLE)] == [False, False, True, True]


def test_the_kernel_s_views_of_itself_hold_no_files():
    """They need no overlay: every box makes them anew."""
    assert [mount.holds_files for mount in mountinfo.parse(TABLE)] == [False, True, True, True]


@pytest.mark.parametrize("line", ["", "garbage", "1 2 3:4 / /x rw", "1 2 3:4 / /x rw - ext4 dev"])
def test_lines_that_are_cut_off_are_left_out(line):
    """A table that is read while it changes may end in the middle."""
    assert mountinfo.parse(line) == []


def escape(name: str) -> str:
    """As the kernel does (mangle_path): blank, tab, newline, backslash, and # in the source."""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\#" else c for c in name)


NAMES = st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw and b"/" not in raw).map(os.fsdecode)


@given(name=NAMES, root=NAMES, source=NAMES)
def test_any_name_comes_back_as_it_was(name, root, source):
    """Bytes that are no text, line ends of other alphabets, escapes that look like escapes."""
    line = f"28 27 254:1 /{escape(root)} /{escape(name)} rw - xfs {escape(source)} rw"
    (mount,) = mountinfo.parse(f"{line}\n{line}")[:1]
    assert (mount.target, mount.root, mount.source) == (f"/{name}", f"/{root}", source)


@given(names=st.lists(NAMES, min_size=1, max_size=6))
def test_each_line_is_one_mount(names):
    """No name makes two mounts of one line."""
    lines = [f"{i} 1 0:{i} / /{escape(name)} rw - tmpfs x rw" for i, name in enumerate(names, 1)]
    assert [mount.mount_id for mount in mountinfo.parse("\n".join(lines))] == list(range(1, len(names) + 1))


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/", "/"),
        ("/srv", "/srv"),
        ("/srv/x", "/srv"),
        ("/srvx", "/"),
        ("/srv/deep/x", "/srv/deep"),
        ("/twice/x", "/twice"),
    ],
)
def test_a_path_lies_on_the_longest_mount_above_it(path, target):
    """A name that only begins like a mount point is not below it; of two at one place the later one is on top."""
    targets = ["/", "/srv", "/srv/deep", "/twice", "/twice"]
    table = mountinfo.parse("\n".join(f"{i} 1 0:{i} / {target} rw - ext4 x rw" for i, target in enumerate(targets, 1)))
    found = mountinfo.holding(table, path)
    assert found.target == target
    if target == "/twice":
        assert found.mount_id == 5


def test_this_process_has_a_visible_root():
    """The real table: the root is reachable, and every visible mount is in the table."""
    table = mountinfo.read()
    visible = mountinfo.visible(table)
    assert any(mount.target == "/" for mount in visible)
    assert {mount.mount_id for mount in visible} <= {mount.mount_id for mount in table}
