"""Lock keys of real directories: by superblock and path inside it, whatever the path's name."""

from __future__ import annotations

import os
import subprocess

import pytest

from cbx_sandbox.policy import Grant, LockMode
from cbx_supervisor.execution.lockset import MountTable, resolve


@pytest.fixture
def table():
    opened = MountTable()
    yield opened
    opened.close()


def grant(path, mode=LockMode.X):
    return Grant(str(path), mode, overlay=False)


def test_a_key_is_the_path_inside_the_file_system(tmp_path, table):
    """Its device is the superblock's."""
    locks = resolve([grant(tmp_path)], table)
    ((key, mode),) = locks.wants
    assert mode is LockMode.X
    assert str(tmp_path).endswith(key.path)
    assert os.fstat(locks.entries[0].fd).st_ino == os.stat(tmp_path).st_ino
    locks.close()


def test_a_symlink_on_the_path_is_refused(tmp_path, table):
    """A grant's path is canonical; if it is not any more, somebody swapped something."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for path in (tmp_path / "link", tmp_path / "link/.."):
        with pytest.raises(OSError):
            resolve([grant(path)], table)


def test_a_swapped_directory_is_noticed(tmp_path, table):
    """By a symlink, or by another directory of the same name."""
    target = tmp_path / "target"
    for swap in (target.mkdir, lambda: target.symlink_to("/etc"), lambda: None):
        target.mkdir()
        locks = resolve([grant(target)], table)
        assert locks.unchanged(table)
        target.rename(tmp_path / "moved")
        swap()
        assert not locks.unchanged(table)
        locks.close()
        if target.is_symlink():
            target.unlink()
        elif target.exists():
            target.rmdir()
        (tmp_path / "moved").rmdir()


def test_a_failed_resolution_leaves_no_descriptors(tmp_path, table):
    """Whatever was opened before is closed."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        resolve([grant(tmp_path), grant(tmp_path / "missing")], table)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.root
def test_two_bind_mounts_of_one_directory_have_one_key(tmp_path, table):
    """And a directory below meets it below."""
    real, alias = tmp_path / "real", tmp_path / "alias"
    (real / "sub").mkdir(parents=True)
    alias.mkdir()
    subprocess.run(["mount", "--bind", real, alias], check=True)
    try:
        locks = resolve([grant(real), grant(alias), grant(alias / "sub")], table)
        first, second, below = (entry.key for entry in locks.entries)
        assert first == second
        assert first in set(below.ancestors())
        assert len(locks.wants) == 2
        locks.close()
    finally:
        subprocess.run(["umount", alias], check=True)


def test_the_mount_table_is_read_again_only_after_a_change():
    """Without a change the very same tuple comes back."""
    table = MountTable()
    try:
        first = table.visible()
        assert any(mount.target == "/" for mount in first)
        assert table.visible() == first
    finally:
        table.close()
