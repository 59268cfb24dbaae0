"""Secrets are taken out of what is stored, by rule; everything else stays as it is."""

import contextlib
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.shell import checks
from cbx_supervisor.model import redaction

SECRET = "S3CR3T"
CHECKS = Path(checks.__file__).parent
RULES = redaction.data()
MATCHES = [(rule["name"], text) for rule in RULES for text in rule["matches"]]
PASSES = [(rule["name"], text) for rule in RULES for text in rule["passes"]]


@pytest.mark.parametrize(("rule", "text"), MATCHES)
def test_a_secret_is_taken_out(rule, text):
    """Of every form that a rule names; and what was taken out is not changed again."""
    found = redaction.redacted(text)
    assert SECRET not in found, rule
    assert redaction.REDACTED in found
    assert redaction.redacted(found) == found


@pytest.mark.parametrize(("rule", "text"), PASSES)
def test_what_is_no_secret_stays(rule, text):
    """References to variables, names of files, ordinary words: the control."""
    assert redaction.redacted(text) == text, rule


def texts(table):
    """Every text that a table of checks has."""
    values = table.values() if isinstance(table, dict) else table if isinstance(table, list) else []
    own = [table["text"]] if isinstance(table, dict) and isinstance(table.get("text"), str) else []
    return own + [text for value in values for text in texts(value)]


@pytest.mark.parametrize("path", sorted(CHECKS.glob("*.toml")), ids=lambda path: path.stem)
def test_what_a_check_says_is_not_taken_for_the_name_of_a_secret(path):
    """What it found follows a colon: somebody who is refused must see it."""
    for text in texts(tomllib.loads(path.read_text())):
        said = f"cannot run this: {text}: /some/path"
        assert redaction.redacted(said) == said
    hidden = "cannot run this: reads credentials: /some/path"
    assert redaction.redacted(hidden) != hidden  # the control: so it was once


HOUSE = """[[rule]]
name = "badge"
before = ["badge"]
pattern = '''badge-(?P<secret>\\w+)'''
matches = ["open --with badge-S3CR3T"]
passes = ["badge -l"]
"""


def test_rules_of_the_house_count_besides():
    """As soon as they are in force, also for a text that was asked for before; and no longer."""
    text = "open --with badge-12345 --password=S3CR3T"
    before = redaction.redacted(text)
    assert "badge-12345" in before
    redaction.use(redaction.checked(HOUSE))
    try:
        assert redaction.redacted(text) == f"open --with badge-{redaction.REDACTED} --password={redaction.REDACTED}"
    finally:
        redaction.use(())
    assert redaction.redacted(text) == before


def test_rules_that_come_while_a_text_is_looked_at_count_for_it_the_next_time():
    """What was found by the old ones is not remembered as what the new ones say."""

    class Meanwhile:
        def sub(self, _replaced, text):
            redaction.use(redaction.checked(HOUSE))
            return text

    text = "open --with badge-67890"
    redaction.use([redaction.Rule("slow", ("badge",), Meanwhile())])
    try:
        assert redaction.redacted(text) == text
        assert redaction.redacted(text) == f"open --with badge-{redaction.REDACTED}"
    finally:
        redaction.use(())


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("[[rule]]", "[rule]", "[[rule]] tables"),
        ("[[rule]]", "[[rules]]", "[[rule]] tables"),
        ("[[rule]]", "[[rule", "not TOML"),
        ('name = "badge"', "", "it needs a name"),
        ("before", "befor", "no such key: befor"),
        ('["badge"]', '["Badge"]', "small letters"),
        ('["badge"]', "[]", "one or more"),
        ("badge-(", "badge-((", "not a regular expression"),
        ("?P<secret>", "?P<other>", "no group"),
        ("open --with badge-S3CR3T", "open --with S3CR3T", "leaves the S3CR3T"),
        ("open --with badge-S3CR3T", "open --with badge-x", "leaves the S3CR3T"),
        ("badge -l", "badge-l", "should pass"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said(old, new, why):
    """Before it is in force: one that catches nothing would be found out too late."""
    assert old in HOUSE
    with pytest.raises(ValueError, match=re.escape(why)):
        redaction.checked(HOUSE.replace(old, new))


@given(st.text(max_size=200))
def test_no_text_breaks_the_check(text):
    """It says what is wrong, whatever comes."""
    with contextlib.suppress(ValueError):
        assert redaction.checked(text) == ()


def made(prefix, length):
    """A token of a form that is known, made up here: no file may hold one that looks true."""
    return prefix + ("Ab1" * length)[:length]


@pytest.mark.parametrize(
    "token",
    [
        made("ghp_", 36), made("github_pat_", 40), made("glpat-", 20), made("xoxb-", 24), made("sk-", 40),
        made("npm_", 36),
        "AKIA" + "Z" * 16, made("eyJ", 12) + "." + made("", 12) + "." + made("", 12), made("hf_", 34), made("AIza", 35),
    ],
)  # fmt: skip
def test_tokens_of_known_forms_are_taken_out(token):
    """Wherever they stand; a shorter one is none."""
    assert redaction.redacted(f"./deploy {token} now") == f"./deploy {redaction.REDACTED} now"
    assert redaction.redacted(f"./deploy {token[:9]} now") == f"./deploy {token[:9]} now"


def test_values_are_looked_at_within():
    """Lists and members; what is no text stays what it is."""
    value = {"a": ["--token S3CR3T x", 5, None], "b": {"c": "plain"}}
    assert redaction.redacted_values(value) == {"a": ["--token [redacted] x", 5, None], "b": {"c": "plain"}}


@given(st.text(max_size=200))
def test_any_text_comes_back(text):
    """No text fails, and none changes twice."""
    once = redaction.redacted(text)
    assert redaction.redacted(once) == once
