"""Which paths differ between revisions: what git says of the same repository, however it keeps its objects."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zlib
from pathlib import Path

import pytest

from cbx_sandbox.facts import HostFacts

ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def git(repository: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(repository), *words], env=ENV, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three commits on main, of which the second has a tag, and a branch that makes and removes a directory."""
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "src").mkdir()
    for number in range(40):
        (tmp_path / "src" / f"{number}.txt").write_text(f"{number}\n" * 200)
    for name, text in (("a", "1"), ("odd name", "1"), ("a", "2\n" * 500), ("b", "3")):
        (tmp_path / name).write_text(text)
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", name)
    git(tmp_path, "tag", "-a", "-m", "x", "v1", "HEAD~1")
    git(tmp_path, "checkout", "-q", "-b", "side", "HEAD~2")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "x.c").write_text("x")
    (tmp_path / "src" / "7.txt").write_text("7\n" * 199 + "8\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "made")
    git(tmp_path, "rm", "-q", "-r", "lib")
    git(tmp_path, "commit", "-q", "-m", "removed")
    git(tmp_path, "checkout", "-q", "main")
    return tmp_path


def said(repository: Path, revision: str, through: str = "") -> set[str] | None:
    found = HostFacts("/", {}).differing(f"{repository}/.git", (revision,), through)
    return None if found is None else set(found)


def expected(repository: Path, revision: str) -> set[str]:
    names = git(repository, "diff", "-z", "--no-renames", "--name-only", "HEAD", revision)
    return {name for name in names.split("\0") if name}


REVISIONS = ("HEAD", "@~1", "HEAD~3", "HEAD^", "v1", "v1~1", "side", "refs/heads/side", "side~")


@pytest.mark.parametrize("kept", ["loose", "packed", "deltas"])
def test_git_says_the_same(repository: Path, kept: str) -> None:
    if kept != "loose":
        git(repository, "gc", "-q", "--prune=now")
    if kept == "deltas":  # deltas by name instead of by distance
        git(repository, "config", "repack.useDeltaBaseOffset", "false")
        git(repository, "repack", "-q", "-a", "-d", "-f")
    for revision in REVISIONS:
        found = said(repository, revision)
        assert found is not None, revision
        assert {path for path in found if not path.endswith("/")} == expected(repository, revision), revision


def test_commits_on_the_way_count_where_they_are_asked_for(repository: Path) -> None:
    git(repository, "checkout", "-q", "side")
    assert "lib/x.c" not in (said(repository, "main") or set())
    assert {"lib/", "lib/x.c"} <= (said(repository, "main", "main") or set())


def test_what_is_no_revision_is_not_known(repository: Path) -> None:
    for revision in ("nothing", "-q", "HEAD~99", "HEAD:src", "main..side", "@{1}", "HEAD^^^^^^", ""):
        assert said(repository, revision) is None, revision


def test_what_is_damaged_is_not_known(repository: Path) -> None:
    """Each object of the two trees, cut or changed: the right answer or none, and no exception."""
    whole = said(repository, "side")
    objects = sorted((repository / ".git" / "objects").glob("??/*"))
    assert whole is not None
    assert len(objects) > 10
    seen = set()
    for path in objects:
        data = path.read_bytes()
        path.chmod(0o644)
        for damaged in (b"", data[: len(data) // 2], data[:-3] + b"xyz"):
            path.write_bytes(damaged)
            found = said(repository, "side")
            seen.add(found is None)
            assert found is None or found == whole
        path.write_bytes(data)
    assert seen == {True, False}


def test_the_index_names_what_is_tracked(repository: Path) -> None:
    (repository / "staged").write_text("x")
    git(repository, "add", "staged")
    names = HostFacts("/", {}).tracked(f"{repository}/.git")
    assert names is not None
    assert set(names) == set(git(repository, "ls-files", "-z").split("\0")) - {""}
    (repository / ".git" / "index").write_bytes(b"DIRC\0\0\0\4")
    assert HostFacts("/", {}).tracked(f"{repository}/.git") is None


def loose(repository: Path, kind: str, body: bytes) -> str:
    """Put an object into the repository; its name."""
    data = f"{kind} {len(body)}".encode() + b"\0" + body
    name = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    path = repository / ".git/objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(data))
    return name


@pytest.mark.parametrize(("large", "known"), [(20, False), (2, True)])
def test_only_so_much_is_unpacked(repository: Path, large: int, known: bool) -> None:
    """Trees of a megabyte take a few kilobytes, so a small repository may hold any number of them."""
    trees = [b"", b""]
    for number in range(large):
        many = b"".join(b"100644 f%05d\0" % name + number.to_bytes(20) for name in range(25_000))
        for side in range(2):
            body = many + b"100644 last\0" + bytes([side]) * 20
            trees[side] += b"40000 d%02d\0" % number + bytes.fromhex(loose(repository, "tree", body))
    who = "a <a@example.org> 0 +0000"
    commits = []
    for body in trees:
        header = f"tree {loose(repository, 'tree', body)}\nauthor {who}\ncommitter {who}\n\nx\n"
        commits.append(loose(repository, "commit", header.encode()))
    (repository / ".git/HEAD").write_text(commits[0] + "\n")
    assert said(repository, commits[1]) == ({f"d{number:02}/last" for number in range(large)} if known else None)
