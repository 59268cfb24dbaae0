"""The facts about the real file system."""

from __future__ import annotations

import os
import pathlib

from cbx_sandbox.facts import GLOB_LIMIT, HostFacts
from cbx_sandbox.shell.analysis import analyse


def host(directory: pathlib.Path) -> HostFacts:
    return HostFacts(str(directory), {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/nonexistent"})


def test_kinds(tmp_path: pathlib.Path) -> None:
    (tmp_path / "f").write_text("")
    (tmp_path / "l").symlink_to("f")
    os.mkfifo(tmp_path / "p")
    facts = host(tmp_path)
    assert [facts.kind(str(tmp_path / name)) for name in ("f", "", "l", "p", "none")] == [
        "file",
        "dir",
        "link",
        "other",
        "missing",
    ]


def test_symlinks_resolve_and_missing_tails_stay(tmp_path: pathlib.Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert host(tmp_path).resolve(str(tmp_path / "link" / "a" / "b")) == str(tmp_path / "real" / "a" / "b")


def test_the_project_is_the_nearest_repository_else_the_nearest_marker(tmp_path: pathlib.Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert host(deep).project_root(str(deep)) == str(deep)
    (tmp_path / "a" / "package.json").write_text("{}")
    assert host(deep).project_root(str(deep)) == str(tmp_path / "a")
    (tmp_path / ".git").mkdir()
    assert host(deep).project_root(str(deep)) == str(tmp_path)


def test_globs(tmp_path: pathlib.Path) -> None:
    for name in ("a.c", "b.c", ".c", "-o"):
        (tmp_path / name).write_text("")
    facts = host(tmp_path)
    assert facts.glob(f"{tmp_path}/*.c") == (f"{tmp_path}/a.c", f"{tmp_path}/b.c")
    assert facts.glob(f"{tmp_path}/none*") == ()
    assert analyse("sort *", facts).tier == "SEQUENTIAL_REQUIRED"


def test_globs_are_bounded(tmp_path: pathlib.Path) -> None:
    for index in range(50):
        (tmp_path / f"d{index}").mkdir()
    assert len(host(tmp_path).glob(f"{tmp_path}/*/*/*")) <= GLOB_LIMIT


def test_write_sets_are_real_paths(tmp_path: pathlib.Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    paths = {effect.path for effect in analyse("touch link/x", host(tmp_path)).effects.paths}
    assert paths == {str(tmp_path / "real" / "x")}


def test_answers_are_remembered(tmp_path: pathlib.Path) -> None:
    facts = host(tmp_path)
    assert facts.kind(str(tmp_path / "f")) == "missing"
    (tmp_path / "f").write_text("")
    assert facts.kind(str(tmp_path / "f")) == "missing"


def test_a_program_is_the_first_executable_file_of_its_name(tmp_path: pathlib.Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "tool").mkdir()
    (tmp_path / "b" / "tool").write_text("not executable")
    (tmp_path / "c" / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "c" / "tool").chmod(0o755)
    facts = HostFacts(str(tmp_path), {"PATH": ":".join(str(tmp_path / name) for name in ("a", "b", "c"))})
    assert facts.which("tool") == str(tmp_path / "c" / "tool")
    assert facts.which("to\0ol") is None


def test_a_program_that_is_not_there(tmp_path: pathlib.Path) -> None:
    assert host(tmp_path).which("cbx-no-such-program") is None


def test_texts_are_regular_files_within_a_limit(tmp_path: pathlib.Path) -> None:
    """A FIFO is not waited for, a device not opened; what is too long or no text is not there."""
    (tmp_path / "f").write_text("größe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "p")
    facts = host(tmp_path)
    assert facts.text(str(tmp_path / "f"), 7) == "größe"
    assert facts.text(str(tmp_path / "f"), 6) is None
    for name in ("binary", "p", "", "none"):
        assert facts.text(str(tmp_path / name), 100) is None
    assert facts.text("/dev/null", 100) is None


def test_paths_resolve_as_realpath_says(tmp_path: pathlib.Path) -> None:
    """What is remembered of the directories above a path changes nothing, whichever was asked for first."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "f").write_text("")
    for name, target in {
        "l": "a",
        "a/up": "..",
        "a/b/abs": str(tmp_path / "a"),
        "loop": "loop",
        "a/x": "../y",
        "y": "a/x",
        "gone": "none/at/all",
        "a/dot": ".",
    }.items():
        (tmp_path / name).symlink_to(target)
    names = ("a", "b", "f", "l", "up", "abs", "loop", "x", "y", "gone", "dot", "..", ".", "", "none")
    paths = ["/".join((str(tmp_path), first, second, third)) for first in names for second in names for third in names]
    paths += ["/", "//", "//usr/bin", "/..", "", "relative/path", f"{tmp_path}/" + "a/up/" * 60 + "a", "/nul\0/x"]
    facts = host(tmp_path)
    for path in (*paths, *reversed(paths)):
        fresh = host(tmp_path).resolve(path)
        assert facts.resolve(path) == fresh
        circles = {"loop", "x", "y"} & set(path.split("/"))  # realpath gives up on them, each release otherwise
        if "\0" not in path and not circles:
            assert fresh == os.path.realpath(path)
