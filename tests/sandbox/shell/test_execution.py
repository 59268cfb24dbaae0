# ruff: noqa: Q003 -- shell text
"""What bash really runs is among what was predicted: texts of stub programs, run for real."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.fuzz.execution import Stage, misses, predict
from tests.fuzz.grammar import generate

# Each of these was once predicted wrongly.
FOUND = [
    "p0 {1..6..2} {3..1} {01..03} {c..a} {a..e..2}",
    "p0 $w{,b}; wb=q; p0 $w{,b}",
    'cat() { r0; }; r0 <<E\n`p0 \\"a b\\"`\nE',
    'p0 "${y:-`p1 \\"a b\\"`}" "`p1 \\"a b\\"`"',
    "p1 | x=$(r0 a)",
    "v=p0; bash -c 'p1 $v'; export v; bash -c 'p1 $v'",
    "v=a; trap 'p0 $v' EXIT; v=b",
    "(v=a; trap 'p0 $v' EXIT; v=b)",
    "if p0; then p1 $v; elif v=a; then p2 $v; fi; if p2; then p1 $v; elif v=a; then p2 $v; fi",
    "p0 ~$((1)) ~'a' ~a ~ ~/x",
    "v=c v=$(p0 $v) r0 b",
    "source /dev/stdin <<< 'p0 a; r0'",
    "printf 'r0 x\\nrest\\n' | bash",
    "p0 ${@#} ${@#a} ${#} \"${@,}\"",
    "r0 <> o1 > o2; p1 <> o1",
    "cd nowhere || p0; cd d && p1",
    "shopt -s extglob\np0 @(a|b) !(a) {a..c}!(a)",
    "bash - <<< 'p0 a'",
    "r0 <<E\n$(p1)\nE\\\n\np2",
    "p0 \"$(r0 <<'E'\nE; p1 x)\"",
    "f0() { p0 $1 $#; shift; p1 \"$@\"; }; f0 a 'b c' d",
    "set -- a 'b c'; p0 \"$@\" $* \"$*\" $2; shift; p1 \"$1\" $#",
    "for v in a {b,c} 'd e'; do p0 $v; done; for v in a b; do p1 \"$v\" > o$v; done",
    "a=(x 'y z'); p0 \"${a[@]}\" ${a[@]} \"${a[0]}\" ${#a[@]}; a+=(w); p1 \"${a[@]}\"",
    "case a in b) p0;; a|c) p1;& d) p2;; esac",
    "eval 'v=\"p0 a\"; eval \"$v\"'; eval p1 '\"b c\"'",
    "while read -r v; do p0 $v; done <<< $'a\\nb'",
    "echo 'p0 a' > d/s; . d/s; bash d/s",
]  # fmt: skip


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


@pytest.mark.parametrize("text", FOUND)
def test_what_was_found_stays_mended(text: str, stage: Stage) -> None:
    found, _ = misses(stage, text)
    assert found == []


def test_what_runs_was_predicted(stage: Stage) -> None:
    """Generated texts; most predictions say what runs, so they could be wrong."""
    definite, found = 0, []
    for seed in SEEDS:
        missed, exact = misses(stage, generate(random.Random(seed).randrange, depth=1))
        found += missed
        definite += exact
    assert found == []
    assert definite > len(SEEDS) / 2


SEEDS = range(60)


def test_a_program_that_was_not_predicted_would_be_noticed(stage: Stage) -> None:
    """The control: what runs, held against the prediction for another text."""
    events = stage.run("p0 a; p1 b > o1; r0 <<< c").events
    assert [event.argv for event in events] == [("p0", "a"), ("p1", "b"), ("r0",)]
    assert all(predict("p0 a; p1 b > o1; r0 <<< c", stage.facts()).has_run(event) for event in events)
    for other in ("p0 b; p1 b; r0 <<< c", "p0 a b; p1; r0 <<< d", "(cd d; p0 a; p1 b; r0)"):
        predicted = predict(other, stage.facts())
        assert not all(predicted.has_run(event) for event in events) or predicted.anywhere
    assert not predict("p0 a; p1 b > o2", stage.facts()).has_write(f"{stage.work}/o1")
