"""Files with several names must not be written in place when one of the names is elsewhere."""

from __future__ import annotations

import os

import pytest

from cbx_supervisor.execution.linkscan import LinkedOutside, scan


def look(*paths, budget=1000):
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in paths]
    try:
        scan(fds, budget)
    finally:
        for fd in fds:
            os.close(fd)


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "in/deep/er").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "in/file").write_text("x")
    return tmp_path


def test_links_inside_are_fine(tree):
    """All names are under the lock."""
    os.link(tree / "in/file", tree / "in/deep/er/other")
    look(tree / "in")


def test_a_link_to_the_outside_is_found(tree):
    """However deep."""
    (tree / "in/deep/er/file").write_text("x")
    os.link(tree / "in/deep/er/file", tree / "out/other")
    with pytest.raises(LinkedOutside, match="2 names and 1"):
        look(tree / "in")
    look(tree / "in", tree / "out")


def test_a_symlink_is_not_followed(tree):
    """What it leads to is not written through the lock."""
    (tree / "in/link").symlink_to(tree / "out")
    (tree / "out/file").write_text("x")
    os.link(tree / "out/file", tree / "elsewhere")
    look(tree / "in")


def test_too_many_files_count_as_linked(tree):
    """What was not looked at is not known."""
    for number in range(20):
        (tree / f"in/{number}").write_text("")
    with pytest.raises(LinkedOutside, match="too many"):
        look(tree / "in", budget=10)


def test_it_leaves_no_descriptors(tree):
    """Also when it finds something half way."""
    os.link(tree / "in/file", tree / "out/other")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(LinkedOutside):
        look(tree / "in")
    assert len(os.listdir("/proc/self/fd")) == before
