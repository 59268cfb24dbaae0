"""Rule files from outside: what is wrong with one is found with its line, and what one may change."""

from __future__ import annotations

import pytest

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell import rules
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.handlers import HANDLERS
from cbx_sandbox.shell.rules import checking
from cbx_sandbox.shell.tiers import SHORT

GOOD = """
# A tool of the house.
[housetool]
tier = "safe"
why = "looks"
options = { "-o --output" = "write", "--purge" = "dangerous" }
[housetool.sub."push pull"]
tier = "sequential"
network = true
[housetool.sub.run]
handler = "wrap"
when = [ { has = "--dry", tier = "safe" } ]
[housetool.examples]
"housetool x" = "safe"
"housetool push" = "sequential"
"""


def found(text: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.text) for problem in checking.problems(text, HANDLERS)]


def test_a_good_file_has_no_problem() -> None:
    assert found(GOOD) == []
    assert found("") == []


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('tier = "safe"', 'teir = "safe"', 4, "no such key; did you mean tier?"),
        ('tier = "safe"\nwhy', 'tier = "harmless"\nwhy', 4, "cannot be harmless"),
        ('why = "looks"', "why = 3", 5, "is no text"),
        ('= "write"', '= "wirte"', 6, "no such role: wirte; did you mean write?"),
        ('= "dangerous" }', '= "value!dangerus" }', 6, "no such tier: dangerus"),
        ("network = true", 'network = "all"', 9, "is neither true"),
        ('handler = "wrap"', 'handler = "warp"', 11, "no such handler: warp; did you mean wrap?"),
        ('has = "--dry", ', "", 12, "a condition is missing"),
        ('has = "--dry"', 'has = "--dry", hsa = "x"', 12, "cannot be replaced here; did you mean has?"),
        ('"housetool push" = "sequential"', '"housetool push" = "often"', 15, "no such tier: often"),
        ("[housetool]", "[housetool", 3, "not TOML"),
        ("[housetool.sub.run]", "[housetool.sub.run]\nextend = true", 11, "belongs to a program"),
        ("[housetool.sub.run]", "[housetool.sub.run]\nwrap = true", 11, "is no whole number"),
        ("[housetool.sub.run]", '[housetool.sub.run]\noperands = "read* write*"', 11, "only one role can have a star"),
        ("[housetool.sub.run]", '[housetool.sub.run]\nbenign = ["1"]', 11, "is no list of exit statuses"),
    ],
)
def test_each_mistake_is_named_with_its_line(old: str, new: str, line: int, says: str) -> None:
    assert old in GOOD
    at, text = found(GOOD.replace(old, new))[0]
    assert says in text
    assert at == line


@pytest.mark.parametrize(
    "text", ["['x']\ntier = \"safe\"", 'x.tier = "safe"', '  [x]\n  tier = "safe"', "x = 3", '[""]']
)
def test_what_could_not_be_cut_up_is_a_problem(text: str) -> None:
    """A rule that was accepted and then never found would be worse."""
    assert found(text)


def test_more_than_one_mistake_is_found_at_once() -> None:
    assert [line for line, _ in found('[a]\ntier = "x"\n[b]\nwrap = "x"\nfoo = 1\n')] == [2, 4, 5]


def test_nesting_is_bounded() -> None:
    assert found("[" + ".".join(["x", *["sub.x"] * 20]) + "]")
    assert found("x = " + "[" * 20_000)


@pytest.fixture
def drop_ins():
    yield rules.extend
    rules.forget()


def test_a_drop_in_replaces_what_it_does_not_extend(drop_ins) -> None:
    drop_ins('[git]\ntier = "dangerous"\n')
    assert analyse("git status", StaticFacts()).tier is SHORT["dangerous"]


def test_a_drop_in_can_extend(drop_ins) -> None:
    """What it says counts, also for subcommands; what it does not say stays."""
    drop_ins("""
[git]
extend = true
options = { "--house" = "dangerous" }
[git.sub.push]
tier = "dangerous"
[git.sub.house]
tier = "safe"
[git.examples]
"git house" = "safe"
""")
    expected = {
        "git status": "safe",
        "git commit -m x": "sequential",
        "git push": "dangerous",
        "git house": "safe",
        "git status --house": "dangerous",
        "git -c core.pager='rm -rf /' log": "dangerous",
    }
    assert {command: analyse(command, StaticFacts()).tier for command in expected} == {
        command: SHORT[tier] for command, tier in expected.items()
    }
    push = rules.find("git")
    assert push is not None
    assert push.subs["push"].network == "yes"


def test_later_files_extend_earlier_ones(drop_ins) -> None:
    drop_ins('[housetool]\ntier = "safe"\n', "10-first")
    drop_ins('[housetool]\nextend = true\noptions = { "--all" = "sequential" }\n', "20-second")
    assert analyse("housetool", StaticFacts()).tier is SHORT["safe"]
    assert analyse("housetool --all", StaticFacts()).tier is SHORT["sequential"]
    assert [(part.source, part.line) for part in rules.definitions("housetool")] == [("10-first", 1), ("20-second", 1)]


def test_patterns_name_programs() -> None:
    """gcc-13 is a gcc, python3.12 a python."""
    for name in ("gcc-13", "python3.12", "mkfs.ext4", "kafka-topics"):
        assert rules.find(name) is not None, name
    assert rules.find("gccx") is None
