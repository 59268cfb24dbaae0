"""Which commands are alike, and which are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import analyse, analyse_argv
from cbx_sandbox.shell.fingerprint import MAX_CALLS, fingerprint, label

FACTS = StaticFacts()


def mark(line, facts=FACTS):
    return fingerprint(analyse(line, facts), facts.cwd)


ALIKE = [
    ("git commit -am one", "git commit -m 'something else' -a"),
    ("sort -u -o a.txt b.txt", "sort -uo x.txt y.txt"),
    ("head -5 a.c", "head -200 b.c"),
    ("cat a.txt b.txt", "cat a.txt b.txt c.txt"),
    ("curl https://example.org/a", "curl https://example.com/b"),
    ("for i in 1 2; do echo $i; done", "for i in 1 2 3 4; do echo $i; done"),
    ("sleep 1", "sleep 100"),
    ("/usr/bin/grep x", "grep x"),
]
DIFFERENT = [
    ("git commit -m x", "git commit --amend -m x"),
    ("git log", "git push"),
    ("make test", "make clean"),
    ("python3 one.py", "python3 two.py"),
    ("./one", "./two"),
    ("./grep x", "grep x"),  # the project's own is another program
    ("cat a.txt", "cat a.txt > b.txt"),
    ("cat a.txt", "cat a.json"),
    ("sudo -u bob ls", "sudo -u bob cat"),
    ("echo 'a", "echo 'b"),  # not understood: like itself only
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_values_do_not_count(one, other):
    """Nor does the order of options."""
    assert mark(one) == mark(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_is_done_counts(one, other):
    """Programs, subcommands, options, kinds of operands, targets, scripts."""
    assert mark(one) != mark(other)


def test_projects_are_told_apart_by_what_writes_to_all_of_them():
    """And only by that: a search is a search."""
    other = replace(FACTS, root="/work/other", cwd="/work/other")
    assert mark("make test") != mark("make test", other)
    assert mark("grep -r x .") == mark("grep -r x .", other)


def test_a_script_counts_by_its_path_not_by_how_it_is_written():
    """From anywhere in the project."""
    below = replace(FACTS, cwd=FACTS.root + "/sub")
    assert analyse("python3 ../run.py", below).calls == analyse("python3 run.py", FACTS).calls


def test_no_value_is_in_a_label():
    """It is shown to people, and kept."""
    assert label(analyse("git commit -m 'my secret words'", FACTS)) == "git commit -m"
    assert "secret" not in label(analyse("curl -u me:secret --data @secret.txt https://h/secret", FACTS))


def test_arguments_and_a_line_that_mean_the_same_are_alike():
    """With a shell or without."""
    argv = ["git", "commit", "-a", "-m", "two words"]
    assert fingerprint(analyse_argv(argv, FACTS), FACTS.cwd) == mark("git commit -am 'two words'")


@given(st.text(max_size=60))
def test_every_text_has_one(text):
    """16 digits, always the same, and no more calls than are kept."""
    analysis = analyse(text, FACTS)
    found = fingerprint(analysis, FACTS.cwd)
    assert len(found) == 16
    assert int(found, 16) >= 0
    assert found == mark(text)
    assert len(analysis.calls) <= MAX_CALLS
