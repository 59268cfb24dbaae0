"""The administrator's rules: which files count, and why one does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell import rules
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.tiers import SHORT
from cbx_supervisor import rule_files
from cbx_supervisor.daemon.rulebook import Rulebook

GOOD = '[housetool]\ntier = "safe"\n'


@pytest.fixture
def directory(tmp_path: Path):
    made = tmp_path / "rules.d"
    made.mkdir(mode=0o755)
    os.chmod(made, 0o755)
    yield made
    rules.forget()


def write(directory: Path, name: str, text: str | bytes, mode: int = 0o644) -> Path:
    path = directory / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def tier(command: str) -> str:
    return analyse(command, StaticFacts()).tier


def test_files_count_in_the_order_of_their_names(directory: Path) -> None:
    write(directory, "20-b.toml", '[housetool]\ntier = "dangerous"\n')
    write(directory, "10-a.toml", GOOD)
    write(directory, "README", "no rules")
    assert rule_files.use(str(directory)) == ()
    assert [os.path.basename(file.source) for file in rules.added()] == ["10-a.toml", "20-b.toml"]
    assert tier("housetool") == SHORT["dangerous"]


def test_no_directory_is_no_rules(tmp_path: Path) -> None:
    assert rule_files.read(str(tmp_path / "none")) == rule_files.Loaded()


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("[x", 0o644, ":1: not TOML"),
        ('[x]\n\ntier = "harmless"', 0o644, ":3: x tier: cannot be harmless"),
        (GOOD, 0o666, "others than root may write it"),
        (GOOD, 0o664, "others than root may write it"),
        (b"\xff", 0o644, "not UTF-8"),
        (b"#" * (1 << 20) + b"#", 0o644, "longer than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_the_others_count(directory: Path, text, mode: int, says: str) -> None:
    write(directory, "10-bad.toml", text, mode)
    write(directory, "20-good.toml", GOOD)
    problems = rule_files.use(str(directory))
    assert [os.path.basename(problem.source) for problem in problems] == ["10-bad.toml"]
    assert says in str(problems[0])
    assert tier("housetool") == SHORT["safe"]


def test_a_directory_that_others_may_write_is_not_believed(directory: Path) -> None:
    write(directory, "10-good.toml", GOOD)
    directory.chmod(0o777)
    loaded = rule_files.read(str(directory))
    assert loaded.files == ()
    assert "others than root may write it" in str(loaded.problems[0])


def test_a_broken_link_is_a_problem(directory: Path) -> None:
    (directory / "x.toml").symlink_to("nowhere")
    assert "cannot be read" in str(rule_files.read(str(directory)).problems[0])


def test_the_supervisor_keeps_what_it_has_when_a_file_breaks(directory: Path) -> None:
    """Whatever else changed; and takes everything when it is mended."""
    events: list[tuple[str, dict[str, object]]] = []
    write(directory, "10-a.toml", GOOD)
    book = Rulebook(str(directory), lambda event, **fields: events.append((event, fields)))
    assert tier("housetool") == SHORT["safe"]
    write(directory, "10-a.toml", '[housetool]\ntier = "dangerous"\n')
    write(directory, "20-b.toml", "[x")
    book.reload()
    assert tier("housetool") == SHORT["safe"]
    assert [problem["line"] for problem in book.describe()["problems"]] == [1]
    assert ("rules not used") in [event for event, _ in events]
    (directory / "20-b.toml").unlink()
    book.reload()
    assert tier("housetool") == SHORT["dangerous"]
    assert book.describe()["problems"] == []


def test_what_is_no_file_is_a_problem_and_is_not_waited_for(directory: Path) -> None:
    """Opening a fifo waits for who writes to it; the control is the file beside it."""
    os.mkfifo(directory / "a.toml")
    (directory / "b.toml").mkdir()
    write(directory, "c.toml", GOOD)
    loaded = rule_files.read(str(directory))
    assert [file.source for file in loaded.files] == [str(directory / "c.toml")]
    assert [problem.source for problem in loaded.problems] == [str(directory / name) for name in ("a.toml", "b.toml")]
    assert "not a regular file" in loaded.problems[0].text
