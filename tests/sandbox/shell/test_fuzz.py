# ruff: noqa: E501 -- tables of texts
"""Generated and broken texts: every one gets an answer, and the answer agrees with bash.

The same examples are made each time; longer campaigns are `make fuzz`.
"""

from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz import readings
from tests.fuzz.coverage import unaccounted
from tests.fuzz.differential import sample
from tests.fuzz.grammar import Grammar, generate

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.parse import parse
from cbx_sandbox.shell.syntax import Unreadable

STEADY = settings(max_examples=150, deadline=None, derandomize=True)
ODD = (
    "\x00", "\r", "\r\n", "\\\n", "\u00a0", "\u200b", "\u3000", "\ue000", "\ud800", "\x1b", "`", "'", '"', "$(", "${", "$((", ")", "}",
    "<<E\n", "\nE\n", "<<'E'\n", "((", "))", "[[ ", " ]]", "\\", "#", "&", "|", ";;", "{", "!", "=(", "[", "]", ">", "<(", "{fd}>",
)  # fmt: skip


@st.composite
def generated(draw, depth: int = 1) -> str:
    """Texts of the grammar; they shrink towards its plainest choices."""
    return generate(lambda count: draw(st.integers(0, count - 1)), depth=depth)


@st.composite
def broken(draw) -> str:
    """A text that people could have written, cut, doubled, or with something odd in it."""
    text = draw(st.one_of(st.sampled_from(sample()), generated()))
    for _ in range(draw(st.integers(1, 4))):
        at, until = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        text = draw(
            st.sampled_from(
                [
                    text[:at] + draw(st.sampled_from(ODD)) + text[at:],
                    text[:at] + text[until:],
                    text[:until] + text[at:],
                    text[:at],
                ]
            )
        )
    return text


def read(text: str) -> bool:
    try:
        parse(text)
    except Unreadable:
        return False
    return True


@STEADY
@given(broken())
def test_broken_texts_get_an_answer(text: str) -> None:
    """No exception, the same answer twice, and what is read is accounted for to the last character."""
    analysis = analyse(text, StaticFacts())
    assert analysis == analyse(text, StaticFacts())
    try:
        tree = parse(text)
    except Unreadable:
        assert analysis.opaque
        assert analysis.tier == "DANGEROUS_ISOLATED"
    else:
        assert unaccounted(text, tree) is None


@STEADY
@given(generated(depth=2))
def test_generated_texts_are_accounted_for(text: str) -> None:
    analyse(text, StaticFacts())
    if read(text):
        assert unaccounted(text, parse(text)) is None


@pytest.mark.parametrize("text", sample())
def test_the_sample_is_accounted_for(text: str) -> None:
    assert not read(text) or unaccounted(text, parse(text)) is None


def test_a_part_that_is_not_accounted_for_would_be_noticed() -> None:
    """The control: a tree of less text."""
    assert unaccounted("a; b c", parse("a")) is not None
    assert unaccounted("a <<E\n$(b)\nE\nc", parse("a <<E\n$(b)\nE\n ")) is not None


class Plain(Grammar):
    """Without back-ticks, whose inside ``bash -n`` does not look at."""

    def backticks(self, *, quoted: bool) -> None:
        self.w("$v")


def test_bash_and_the_reader_agree_on_generated_texts() -> None:
    """What bash accepts is read, what it rejects is not."""
    texts = [Plain(random.Random(seed).randrange, depth=1).text() for seed in range(400)]
    verdicts = readings.bash_accepts(texts)
    assert sum(verdicts) > 350
    assert [text for text, accepted in zip(texts, verdicts, strict=True) if read(text) != accepted] == []


def test_nothing_is_read_that_bash_rejects_in_broken_texts() -> None:
    """Texts with a piece cut out of them."""
    made = random.Random(1)
    texts = []
    for text in islice((text for text in sample() * 4 if "`" not in text), 300):
        at = made.randrange(len(text) + 1)
        texts.append(text[:at] + text[at + made.randrange(1, 4) :])
    verdicts = readings.bash_accepts(texts)
    assert 50 < sum(verdicts) < 250
    assert [text for text, accepted in zip(texts, verdicts, strict=True) if read(text) and not accepted] == []


# What nests, and what closes it again.
NESTS = [
    ("$(", ")"), ("`", "`"), ("(", ")"), ("{ ", "; }"), ("${x:-", "}"), ('"$(', ')"'), ("$((", "))"), ("<(", ")"), ("if a; then ", "; fi"),
    ("while a; do ", "; done"), ("case x in a) ", " ;; esac"), ("[[ ( ", " ) ]]"), ("f() { ", "; }"), ("! ", ""), ("time ", ""), ("a && ", "b"),
    ("a | ", "b"), ("eval ", "a"), ("sudo ", "a"), ("x=(", ")"), ("{a,", "}"), ("cat <<E\n$(", ")\nE\n"), ("bash -c '", "'"), ("coproc ", "a"),
    ("for x in a; do ", "; done"), ("@(", ")"), ("x[", "]=1"), ("$[", "]"), ("\\", ""),
]  # fmt: skip


@pytest.mark.parametrize("depth", [30, 1_000])
@pytest.mark.parametrize(("opener", "closer"), NESTS)
def test_nestings_end_in_a_verdict(opener: str, closer: str, depth: int) -> None:
    """Closed ones and open ones."""
    for text in (opener * depth + "a" + closer * depth, "shopt -s extglob\n" + opener * depth):
        assert analyse(text, StaticFacts()).tier


@pytest.mark.parametrize(
    "piece",
    ["a ", "a;", "a|", "a&", "$x", "$(a)", "`a`", "'a'", '"$x"', "\\a", "(", ")", "{", "{a,b}", "a=b ", "x[1]=a ", "<a ", "<<E\n", "a\n", "#a\n", "\\\n",
     "[[ a ]];", "((1));", "$((1))", "${x}", "~", "*", "[", "é", "\u3000", "cd a;", "f() { a; };", "case a in a) b;; esac;", "if a; then b; fi;"],
)  # fmt: skip
def test_a_megabyte_of_anything_ends_in_a_verdict(piece: str) -> None:
    assert analyse(piece * (1_000_000 // len(piece)), StaticFacts()).tier
