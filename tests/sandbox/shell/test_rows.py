"""The project's own labelled rows, and the goals that were reached on them."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from tests.bench.accuracy import effects, goals, hidden, material, strangers, talk

from cbx_sandbox.shell.tiers import DANGEROUS, SAFE, SEQUENTIAL

ROWS = material.own_rows()
SLOW = {"AC3", "AC5", "AC8", "AC9", "AC13"}  # measured by `make accuracy`; of the first three a sample stands below


def _case(row: material.Row):
    return pytest.param(row, id=f"{row.family}-{row.command[:60]!r}")


DISPUTED = [row for row in ROWS if material.digest(row.command) in material.disputed("own")]


@pytest.mark.parametrize("row", [_case(row) for row in ROWS if row not in DISPUTED])
def test_a_row_gets_its_tier_and_effects(row: material.Row) -> None:
    assert str(material.tier(row.command)) == str(row.tier), material.analysed(row.command).reasons
    assert not effects.differences(row)


@pytest.mark.parametrize("row", [_case(row) for row in DISPUTED])
def test_what_is_disputed_is_judged_otherwise(row: material.Row) -> None:
    """A row that came to be judged as it is labelled has no business in the list."""
    assert str(material.tier(row.command)) != str(row.tier)


def test_there_are_enough_rows_and_no_twice() -> None:
    assert len(ROWS) >= 3000
    assert not [command for command, times in Counter(row.command for row in ROWS).items() if times > 1]


def test_the_goals_that_were_reached_hold() -> None:
    """What `make accuracy` would call lost on the own rows."""
    results = goals.measure(material.own(), lambda goal: goal.name.split()[0] not in SLOW)
    assert results
    assert [result.goal.name for result in results if result.lost] == []


def test_recorded_goals_exist_and_are_no_laxer_than_the_goal() -> None:
    known = {goal.name: goal for goal in goals.every()}
    recorded = goals.recorded()
    assert set(recorded) == {"own", "corpus"}
    for thresholds in recorded.values():
        for name, threshold in thresholds.items():
            assert known[name].met(threshold), name


def test_a_goal_that_falls_behind_is_lost() -> None:
    """The gate itself: a value past its recorded threshold is a loss, one that was never recorded is not."""
    goal = goals.Goal("AC0", "for the test", 95, "%", False, lambda _: None)
    measured = goals.share([goals.Failure("ls", "wrong")] * 10, 100)
    assert measured.value == 90
    own = material.Material("own")
    assert goals.Result(goal, own, measured, 95).lost
    assert not goals.Result(goal, own, measured, 90).lost
    assert not goals.Result(goal, own, measured, None).lost


def test_disputed_rows_say_which_and_why() -> None:
    digests = {material.digest(row.command) for row in ROWS}
    for entry in material.load(material.DATA / "disputed.jsonl"):
        assert set(entry) == {"set", "file", "digest", "about", "why"}, json.dumps(entry)
        assert entry["set"] == "corpus" or entry["digest"] in digests
        assert len(entry["why"]) > 20


def _sample(texts: tuple[str, ...], step: int) -> list[str]:
    return list(texts[::step])


OWN = material.own()
LITERAL = hidden.literal(OWN)
WRAPPED = dict.fromkeys(text for _, text in [*hidden.each_wrapper(LITERAL), *hidden.wrappings(LITERAL[::9], 5)])


@pytest.mark.parametrize("text", WRAPPED)
def test_wrapped_danger_is_no_less_than_sequential(text: str) -> None:
    assert material.tier(text).rank >= SEQUENTIAL.rank


@pytest.mark.parametrize("command", _sample(OWN.danger, 25))
def test_talk_about_danger_is_not_dangerous(command: str) -> None:
    assert [text for text in talk.texts(command) if material.tier(text) is DANGEROUS] == []


@pytest.mark.parametrize("command", _sample(OWN.safe, 8))
def test_a_stranger_by_the_same_name_is_not_safe(command: str) -> None:
    assert [text for text in strangers.texts(command) if material.tier(text) is SAFE] == []
