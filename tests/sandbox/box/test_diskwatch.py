"""How much a layer takes is counted only when the file system's free space falls."""

import os

import pytest

from cbx_sandbox.box import diskwatch


class Disk:
    """A file system whose free space the test decides."""

    def __init__(self, monkeypatch, blocks=1000, inodes=1000):
        self.blocks, self.inodes = blocks, inodes
        real = os.fstatvfs

        def fstatvfs(fd):
            found = list(real(fd))
            found[1], found[4], found[7] = 4096, self.blocks, self.inodes  # f_frsize, f_bavail, f_favail
            return os.statvfs_result(found)

        monkeypatch.setattr(diskwatch.os, "fstatvfs", fstatvfs)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.fixture
def upper(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield tmp_path, fd
    os.close(fd)


def test_a_layer_beyond_its_limit_is_found(disk, upper):
    """The limit, or a tenth of the free space if that is less."""
    path, fd = upper
    watch = diskwatch.DiskWatch([fd], limit=64 << 10)
    (path / "file").write_bytes(os.urandom(100 << 10))
    disk.blocks -= 25
    assert watch.exceeded()


def test_the_share_of_the_disk_counts_where_it_is_smaller(disk, upper):
    """1000 free blocks of 4 KiB: 400 KiB, whatever the limit says."""
    path, fd = upper
    watch = diskwatch.DiskWatch([fd], limit=10 << 30)
    (path / "file").write_bytes(os.urandom(300 << 10))
    disk.blocks -= 75
    assert not watch.exceeded()
    (path / "more").write_bytes(os.urandom(200 << 10))
    disk.blocks -= 50
    assert watch.exceeded()


def test_what_others_write_ends_no_job(disk, upper):
    """The free space falls, the layer holds nothing."""
    _, fd = upper
    watch = diskwatch.DiskWatch([fd], limit=64 << 10)
    disk.blocks = 10
    assert not watch.exceeded()
    assert not watch.exceeded()


def test_nothing_is_counted_while_the_disk_does_not_change(disk, upper, monkeypatch):
    """A look is one system call."""
    _, fd = upper
    watch = diskwatch.DiskWatch([fd], limit=64 << 10)
    monkeypatch.setattr(diskwatch, "_used", lambda *_: pytest.fail("counted without an occasion"))
    assert not watch.exceeded()


def test_case_042_many_empty_files_are_found_by_their_inodes(disk, upper):
    """A tenth of 1000 free inodes is 100; they take no space, which is all that is seen of them otherwise."""
    path, fd = upper
    watch, by_space = diskwatch.DiskWatch([fd], limit=None), diskwatch.DiskWatch([fd], limit=None)
    for number in range(150):
        (path / str(number)).touch()
    assert not by_space.exceeded()
    disk.inodes -= 150
    assert watch.exceeded()


def test_case_043_a_tree_too_deep_to_walk_is_not_a_way_around(disk, upper):
    """Deeper than anybody nests: it counts as too much."""
    _, fd = upper
    watch = diskwatch.DiskWatch([fd], limit=64 << 20)
    disk.blocks -= 40
    assert not watch.exceeded()  # so much of others' is nothing of the layer's
    at = os.dup(fd)
    for _ in range(diskwatch._DEEPEST + 10):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    disk.blocks -= 40
    assert watch.exceeded()


def test_links_are_not_followed(disk, upper, tmp_path_factory):
    """A layer's symlink to a big directory is a symlink."""
    path, fd = upper
    big = tmp_path_factory.mktemp("big")
    (big / "file").write_bytes(os.urandom(300 << 10))
    watch = diskwatch.DiskWatch([fd], limit=64 << 10)
    (path / "link").symlink_to(big)
    disk.blocks -= 75
    assert not watch.exceeded()
