"""Paths that callers name: relative, looping, through /proc, with newlines, missing, over the root of everything."""

from __future__ import annotations

import os

import pytest
from tests.daemon.law.conftest import at_stake

pytestmark = pytest.mark.root


HOSTILE = {
    "root": "/",
    "dots": "{place}/project/../../../..",
    "own root": "/proc/self/root",
    "through own root": "/proc/self/root{place}/victim",
    "through a process": "/proc/1/root{place}/victim",
    "through a cwd": "/proc/self/cwd/..",
    "missing": "{place}/missing/deeper",
    "file": "{place}/victim/file",
    "link out": "{place}/project/link",
    "loop": "{place}/project/loop",
    "line": "{place}/project/new\nline",
    "long": "{place}/" + "x" * 300,
    "very long": "{place}" + "/x" * 3000,
    "bytes": "{place}/project/\udcff\udcfe",
    "devices": "/dev",
    "run": "/run",
    "groups": "/sys/fs/cgroup",
    "settings": "/proc/sys/kernel",
    "relative": "../../../../../..{place}/victim/..",
    "empty": "",
}


@pytest.mark.parametrize("option", ["--ro", "--hide", "--tmpfs", "-w", "--rw"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_paths(shell, place, option, name):
    """Refused, or without effect outside; the supervisor answers the next caller."""
    for directory in ("project", "victim"):
        (place / directory).mkdir()
    (place / "victim/file").write_text("precious")
    (place / "project/link").symlink_to(place / "victim")
    (place / "project/loop").symlink_to("loop")
    (place / "project/new\nline").mkdir()
    os.mkdir(os.fsencode(place) + b"/project/\xff\xfe")
    path = HOSTILE[name].replace("{place}", str(place))
    before = at_stake(place / "victim/file")
    (place / "project/attack").write_text(
        f"echo ran; echo attack > {place}/victim/file; echo attack > {place}/planted; echo x > /sys/planted"
    )
    ran = shell.run(option, path, "sh", place / "project/attack", cwd=place / "project")
    assert ran.returncode in {0, 1, 2, 125, 126}, ran.stderr
    # --rw of the victim itself, by whatever name, is what was asked for.
    if option != "--rw" or name in {"root", "dots", "own root", "through a cwd", "missing", "loop", "line", "bytes"}:
        assert at_stake(place / "victim/file") == before, ran.stderr
        assert not (place / "planted").exists()
    assert (b"ran" in ran.stdout) is (ran.returncode not in {125, 126} and path != str(place)), ran
    assert shell.run("true").returncode == 0
