"""Which limits a host can set: from the layout of its control groups, in a directory that looks like them."""

import os

import pytest

from cbx_sandbox.box import cgroup
from cbx_sandbox.linux import cgroupfs, mountinfo

LIMITS = {"memory", "swap", "cpus", "pids", "io"}


@pytest.fixture
def host(tmp_path):
    """Make a table of a unified mount with some controllers, and of v1 mounts for others."""

    def make(controllers: str = "", v1: str = "", *, passed_on: bool = True):
        unified = tmp_path / "unified"
        for directory in (unified, unified / "cbx", unified / "cbx" / "jobs"):
            directory.mkdir()
            (directory / "cgroup.controllers").write_text(controllers)
            if passed_on:
                (directory / "cgroup.subtree_control").write_text("")
        lines = [f"30 1 0:30 / {unified} rw - cgroup2 cgroup2 rw"]
        for number, name in enumerate(v1.split(), 31):
            (tmp_path / name).mkdir()
            lines.append(f"{number} 1 0:{number} / {tmp_path / name} rw - cgroup cgroup rw,{name}")
        return mountinfo.parse("\n".join(lines))

    return make


def missing(table):
    """What cannot be limited on this host."""
    groups = cgroup.Groups(table, "cbx")
    groups.prepare()
    return groups.missing()


def test_a_unified_host_has_every_limit(host):
    """The normal case."""
    assert missing(host("cpu io memory pids")) == {}


def test_case_152_a_host_without_controllers_names_every_limit(host):
    """With the reason: nothing is dropped silently."""
    found = missing(host())
    assert set(found) == LIMITS
    assert "no memory controller" in found["memory"]


def test_case_152_limits_go_through_v1_where_controllers_are_bound_to_it(host):
    """A hybrid host: only what is on neither hierarchy is missing."""
    assert missing(host("io", "memory cpu pids")) == {}
    assert cgroup.Groups(mountinfo.read(), "cbx").layout is not None


def test_case_152_one_controller_that_is_nowhere_is_named_alone(host):
    """Memory without a controller lacks swap too."""
    assert set(missing(host("cpu pids io"))) == {"memory", "swap"}


def test_case_152_controllers_that_are_not_passed_on_are_named(host):
    """A container that may not delegate: the file that refused is in the reason."""
    found = missing(host("cpu io memory pids", passed_on=False))
    assert set(found) == LIMITS
    assert all("cannot be passed on" in why for why in found.values())


def test_a_controller_is_v1_s_or_v2_s_and_never_both(host):
    """What the unified hierarchy has is taken there."""
    layout = cgroupfs.detect(host("memory", "memory pids"))
    assert layout.controllers == {"memory"}
    assert set(layout.v1) == {"pids"}
    assert layout.hybrid


def test_without_a_unified_hierarchy_nothing_starts():
    """Processes could be neither tracked nor killed as a whole."""
    with pytest.raises(OSError, match="no cgroup v2"):
        cgroup.Groups(mountinfo.parse("1 1 0:1 / / rw - ext4 /dev/x rw"), "cbx")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", {}), (None, {}), ("usage_usec 12\nnr_throttled 3\n", {"usage_usec": 12, "nr_throttled": 3})],
)
def test_flat_files_are_read_as_numbers(text, expected):
    """cpu.stat, memory.events and their like; a file that this kernel lacks is empty."""
    assert cgroupfs.flat(text) == expected


def test_nested_files_are_summed_over_devices():
    """io.stat has a line for each; what is no number is left out."""
    text = "8:0 rbytes=10 wbytes=20\n8:16 rbytes=1 wbytes=2 odd=max\n"
    assert cgroupfs.nested_totals(text) == {"rbytes": 11, "wbytes": 22}


def test_a_group_that_is_gone_was_removed(tmp_path):
    """And one that is busy is reported after some patience."""
    assert cgroupfs.remove(str(tmp_path / "missing"))
    os.mkdir(tmp_path / "empty")
    assert cgroupfs.remove(str(tmp_path / "empty"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert not cgroupfs.remove(str(tmp_path / "full"), patience=0.01)
