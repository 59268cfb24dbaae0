"""`rules`: what is known of a program as data and as sentences, and whether rule files are right."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest

from cbx_sandbox.shell import rules
from cbx_supervisor import rule_files
from cbx_supervisor.cli import rule_checks, rule_text

CLIENT = Path(sysconfig.get_path("scripts")) / "cbx-sandbox"

HOUSE = """
[housetool]
tier = "safe"
options = { "-o" = "write" }
examples = { "housetool x" = "safe", "housetool -o x" = "sequential" }

[git]
extend = true
options = { "--house" = "dangerous" }
[git.sub.push]
tier = "dangerous"
why = "the house pushes by hand"
"""


def run(*arguments, cwd=None):
    return subprocess.run(
        [CLIENT, "rules", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def house():
    rules.use([rules.RuleFile("/etc/cbx/rules.d/house.toml", HOUSE)])
    yield
    rules.forget()


def shown(program):
    rule = rules.find(program)
    assert rule is not None
    return rule_text.render(program, rule)


def test_a_list_says_family_tiers_and_file():
    entries = [json.loads(line) for line in run("list", "--json", "--family", "git").stdout.splitlines()]
    git = next(entry for entry in entries if entry["name"] == "git")
    assert git["family"] == "git"
    assert git["source"] == "git.toml"
    assert {entry["family"] for entry in entries} == {"git"}
    assert run("list", "gi?").stdout.splitlines()[1].split()[:3] == ["git", "git", "SEQUENTIAL_REQUIRED"]


def test_a_rule_in_sentences():
    text = shown("sort")
    assert text.startswith("sort: SAFE_PARALLEL\n")
    assert "  Each operand is read.\n" in text
    assert "  -o --output                         writes the file that it names\n" in text
    assert "  --compress-program                  executes the program that it names\n" in text
    assert "  sort names -o names                 SEQUENTIAL_REQUIRED\n" in text
    assert "text.toml:" in text


def test_a_subcommand_has_its_own_line():
    text = run("show", "git", "push").stdout
    assert text.startswith("git push: ")
    line = int(text.rpartition("git.toml:")[2].split()[0])
    source = next(file.text for file in rules.own() if file.source == "git.toml")
    assert source.splitlines()[line - 1].startswith("[git.sub.push")


@pytest.mark.parametrize("arguments", [("show", "git", "no-such"), ("show", "no-such")])
def test_what_has_no_rule(arguments):
    done = run(*arguments)
    assert done.returncode == 125
    assert done.stderr.startswith("cbx-sandbox: ")


def test_the_data_of_a_rule(house):
    rule = rules.find("git")
    assert rule is not None
    data = json.loads(json.dumps(rule_text.whole("git", rule)))
    assert data["environment"]["GIT_PAGER"] == "run"
    assert data["family"] == "git"
    assert [(part["source"], part["extends"]) for part in data["definitions"]] == [
        ("git.toml", False),
        ("/etc/cbx/rules.d/house.toml", True),
    ]
    assert data["subcommands"]["push"]["tier"] == "DANGEROUS_ISOLATED"
    assert data["subcommands"]["status"]["tier"] == "SAFE_PARALLEL"


def test_what_the_administrator_changed_is_said(house):
    text = shown("git")
    assert "what the administrator's rules changed:" in text
    assert "  option --house: added\n" in text
    assert "  subcommand push, tier: SEQUENTIAL_REQUIRED is now DANGEROUS_ISOLATED\n" in text
    assert "  /etc/cbx/rules.d/house.toml:7       extends it" in text
    assert "what the administrator's rules changed" not in shown("sort")
    assert rules.added()


def test_every_rule_can_be_shown():
    """No role, condition or place lacks its words."""
    for name in rules.names():
        assert shown(name).startswith(f"{name}: ")


def test_cbx_own_files_have_no_problem():
    report = rule_checks.installed("/nonexistent", "")
    assert report.problems == []
    assert report.programs >= 400
    assert report.examples >= 100


def test_a_good_file(tmp_path):
    (tmp_path / "house.toml").write_text(HOUSE)
    done = run("check", str(tmp_path / "house.toml"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "checked 1 file, 2 programs, 2 examples: no problems\n"


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('"housetool x" = "safe"', '"housetool x" = "dangerous"', 5, "it is SAFE_PARALLEL, not DANGEROUS_ISOLATED"),
        ('tier = "dangerous"', 'tier = "bad"', 11, "cannot be bad"),
        ("[git]", "[git", 7, "not TOML"),
    ],
)
def test_a_mistake_is_printed_with_file_and_line(tmp_path, old, new, line, says):
    path = tmp_path / "house.toml"
    path.write_text(HOUSE.replace(old, new))
    done = run("check", str(path))
    assert done.returncode == 1
    assert done.stdout.startswith(f"{path}:{line}: ")
    assert says in done.stdout
    answer = json.loads(run("check", "--json", str(path)).stdout)
    assert (answer["problems"][0]["file"], answer["problems"][0]["line"]) == (str(path), line)


def test_a_file_that_is_not_there_is_a_problem(tmp_path):
    done = run("check", str(tmp_path / "none.toml"))
    assert done.returncode == 1
    assert "cannot be read: No such file or directory" in done.stdout


def test_a_projects_file_is_tried_as_one(tmp_path):
    """Its examples hold with what it may say, so one that loosens does not."""
    (tmp_path / ".git").mkdir()
    path = tmp_path / ".cbx-rules.toml"
    path.write_text('[ls]\ntier = "dangerous"\nexamples = { "ls" = "dangerous" }\n')
    assert run("check", str(path)).returncode == 0
    assert run("check", cwd=tmp_path).returncode == 0
    path.write_text('[make]\ntier = "safe"\nexamples = { "make" = "safe" }\n')
    done = run("check", cwd=tmp_path)
    assert done.returncode == 1
    assert f"{path}:3: the example does not hold: make: it is CONDITIONAL_PARALLEL" in done.stdout


@pytest.mark.parametrize("longer", [0, 1])
def test_a_file_that_would_not_be_used_for_its_length_is_a_problem(tmp_path, longer):
    """Its last byte counts; one byte less is the control."""
    file = tmp_path / "long.toml"
    file.write_text(HOUSE.ljust(rule_files.MAX_BYTES + longer, "\n"))
    report = rule_checks.given(str(tmp_path / "rules.d"), [str(file)])
    rules.forget()
    assert [problem.text for problem in report.problems] == ["is longer than 1 MiB: it would not be used"][:longer]
    assert report.files == [str(file)]


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("program", ["git", "apt", "fdisk", "curl", "less"])
def test_a_rule_fits_a_terminal(program, width):
    """No line is wider, unless one word is; no word is lost."""
    rule = rules.find(program)
    text = rule_text.render(program, rule, width)
    for line in text.split("\n"):
        assert len(line) <= width or len(line.split()) == 1, line
    assert text.split() == rule_text.render(program, rule).split()
