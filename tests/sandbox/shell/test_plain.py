"""The scanner of plain texts finds what bashlex finds, and leaves what is not plain to it."""

from __future__ import annotations

import pytest
from tests.bench.accuracy import material

from cbx_sandbox.shell import bashlex_tables, plain


def _bashlex(text: str) -> list[str] | None:
    """Return the first word of every command, None where bashlex cannot tell."""
    try:
        stack = list(bashlex_tables.load().parse(text))
    except Exception:  # noqa: BLE001 -- it fails in many ways
        return None
    found = []
    while stack:
        node = stack.pop()
        if node.kind == "command":
            first = next((part for part in node.parts if part.kind == "word"), None)
            if first is not None:
                found.append(text[slice(*first.pos)])
        stack.extend(getattr(node, "parts", ()))
    return found


def _asked(text: str) -> bool:
    """Whether bashlex is a judge: it looks for commands in what single quotes hold."""
    return not any(mark in part for part in text.split("'")[1::2] for mark in "$`<")


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("ls", ["ls"]),
        ("a | b && c || d; e & f\ng", list("abcdefg")),
        ("X=1 Y+=2 make all", ["make"]),
        ("X=1", []),
        ("> out 2>&1 sort in >> log", ["sort"]),
        ("a 2>x b; c2>x d", ["a", "c2"]),
        ("'a b' \"$X c\"d", ["'a b'"]),
        ("echo 'a; b | c' \"d & e\"", ["echo"]),
        ("12=3 x", ["12=3"]),
        ("$X y", ["$X"]),
    ],
)
def test_the_first_words_are_the_commands(text: str, commands: list[str]) -> None:
    """As they are written; assignments and what belongs to redirections are none."""
    assert plain.commands(text) == commands


@pytest.mark.parametrize(
    "text",
    [
        "if a; then b; fi", "while a; do b; done", "(a)", "{ a; }", "a $(b)", "a `b`", 'a "$(b)"', "a <<x",
        "a <(b)", "a >(b)", "a # b", "a \\\n b", "a ${b}", "a $'b'", "a &> b", "a |& b", "a ;; b", "[[ a ]]", "a[1]=b",
        "! a", "a 'b", 'a "b', "time a", "a() { b; }", "case a in b) c ;; esac", "a\x00b", "a\u00a0b", "a\rb",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_parsers(text: str) -> None:
    """Whatever holds commands in other places, or ends words otherwise."""
    assert plain.commands(text) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('echo "' + "$VARIABLE " * 40 + '\\"x\\""', None),
        ('echo "' + "$VARIABLE" * 40 + "`x`" + '"', None),
        ('echo "' + "$VARIABLE" * 100_000 + "$(x)" + '"', None),
        ('"' + "x" * 1_000_000, None),
        ("1" * 1_000_000, 1),
        ("1>" * 500_000, 0),
        ("$a" * 500_000 + "\\", None),
        ("'a" * 500_000, 1),
        ('"a' * 500_000 + '"', None),
        (" " * 1_000_000 + "`", None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_text_takes_no_longer_than_it_is_long(text: str, told: int | None) -> None:
    """All ways to split forty names are more than can be tried, and so is the square of a million."""
    found = plain.commands(text)
    assert (None if found is None else len(found)) == told


def test_it_finds_what_bashlex_finds() -> None:
    """In a part of the labelled rows."""
    texts = [row.command for row in material.own_rows()][::3]
    told = {text: plain.commands(text) for text in texts if _asked(text)}
    judged = {text: sorted(found) for text, found in told.items() if found is not None}
    assert len(judged) > len(told) // 2
    others = {text: found for text in judged if (found := _bashlex(text)) is not None}
    assert len(others) > len(judged) * 0.95
    assert {text: found for text, found in others.items() if sorted(found) != judged[text]} == {}
