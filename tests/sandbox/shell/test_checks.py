# ruff: noqa: RUF001 -- letters that look like others are the subject
"""Texts that look like harm are named, and those that only talk about it, or look a little like it, are left alone."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.bench.accuracy.material import ENV, FILES

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell import matching
from cbx_sandbox.shell.analysis import Analysis, analyse
from cbx_sandbox.shell.checks import Verdict, catalogue, glyphs
from cbx_sandbox.shell.tiers import DANGEROUS, SEQUENTIAL

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = Path(__file__).parents[2] / "data" / "checks"
HARMFUL = [json.loads(line) for line in (DATA / "harmful.jsonl").read_text().splitlines()]
HARMLESS = [json.loads(line) for line in (DATA / "harmless.jsonl").read_text().splitlines()]
# What a shell as a whole is needed for, or a text as a whole: these cannot stand in another text and mean the same.
WHOLE = frozenset({"hidden-text", "lookalike"})


def analysed(command: str) -> Analysis:
    """Analyse a command in the small world of the rows."""
    return analyse(command, StaticFacts(env=ENV, files=FILES))


def found(command: str) -> set[tuple[str, str]]:
    """Return the codes and verdicts of what was found."""
    return {(check.code, check.verdict.value) for check in analysed(command).checks}


@pytest.mark.parametrize("row", HARMFUL, ids=lambda row: f"{row['code']}-{row['command'][:50]!r}")
def test_harm_is_named_with_the_part_that_it_is_about(row: dict[str, str]) -> None:
    """Its code, its verdict, a tier to go with it, and a span inside the text."""
    analysis = analysed(row["command"])
    assert (row["code"], row["verdict"]) in found(row["command"])
    assert analysis.tier.rank >= (SEQUENTIAL if row["verdict"] == "confirm" else DANGEROUS).rank
    for check in analysis.checks:
        assert check.text
        assert check.span is None or 0 <= check.span.start <= check.span.end <= len(row["command"].encode())


@pytest.mark.parametrize("row", HARMLESS, ids=lambda row: f"{row['near']}-{row['command'][:50]!r}")
def test_what_is_near_harm_is_left_alone(row: dict[str, str]) -> None:
    """The control for every kind of finding."""
    assert analysed(row["command"]).checks == ()


def test_there_are_rows_enough_for_every_code_and_none_twice() -> None:
    """Both ways."""
    assert len(HARMFUL) >= 250
    assert len(HARMLESS) >= 250
    commands = Counter(row["command"] for row in [*HARMFUL, *HARMLESS])
    assert [command for command, times in commands.items() if times > 1] == []
    assert {row["near"] for row in HARMLESS} | {"private-data"} == {row["code"] for row in HARMFUL}


@pytest.mark.parametrize(
    "row", [row for row in HARMFUL if row["code"] not in WHOLE][::3], ids=lambda row: row["command"][:50]
)
@pytest.mark.parametrize(
    "around",
    [
        "echo {}", "grep -rF {} docs", "git commit -m {}", "printf '%s\\n' {} >> notes.txt",
        "cat > notes.txt <<'END'\n{raw}\nEND",
    ],
)  # fmt: skip
def test_talking_of_harm_is_none(row: dict[str, str], around: str) -> None:
    """What is printed, searched for, committed or written to a file is data."""
    text = around.format(shlex.quote(row["command"]), raw=row["command"])
    assert found(text) == set()


@pytest.mark.parametrize(
    "row", [row for row in HARMFUL if row["code"] not in WHOLE][::4], ids=lambda row: row["command"][:50]
)
@pytest.mark.parametrize(
    "around", ["bash -c {}", "if true; then\n{raw}\nfi", "x() {{\n{raw}\n}}; x", "echo {} | sh", "sudo sh -c {}"]
)
def test_harm_is_found_inside_other_texts(row: dict[str, str], around: str) -> None:
    """Within -c, branches, functions, and what is piped into a shell."""
    if "<<E" in row["command"] and "{raw}" not in around:
        around = "bash -c {}"
    if row["code"] == "history-wiping" and around == "sudo sh -c {}":
        around = "bash -c {}"  # another user's home
    text = around.format(shlex.quote(row["command"]), raw=row["command"])
    assert row["code"] in {code for code, _ in found(text)}


@pytest.mark.parametrize(
    ("name", "key"), [("calls", "call"), ("flow", "mark"), ("flow", "encrypts"), ("flow", "deletes")]
)
def test_tables_have_keys_that_mean_something(name: str, key: str) -> None:
    """A key that nobody reads would be a check that nobody makes."""
    told = {"code", "verdict", "text", "tier", "mark"}
    for table in catalogue.tables(name)[key]:
        assert set(table) <= matching.KEYS | told
        assert table["programs"]
        for expression in [*table.get("words", ()), *table.get("none", ())]:
            re.compile(expression)
        if key == "call":
            assert Verdict(table["verdict"])


def test_every_table_over_commands_is_met_by_a_row() -> None:
    """No dead data."""
    met = set()
    for row in HARMFUL:
        for check in analysed(row["command"]).checks:
            met.add((check.code, check.text))
    tables = catalogue.tables("calls")["call"]
    assert {(table["code"], table["text"]) for table in tables} - met == set()


TABLES = (("calls", "call"), ("flow", "mark"), ("flow", "encrypts"), ("flow", "deletes"))


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("fdisk", "\n" * 1_000_000 + "x"),
        ("parted", "\n" * 1_000_000 + "x"),
        *[
            (program, "-" + letter * 1_000_000 + "!")
            for program, letter in [
                ("wipefs", "a"), ("pvcreate", "f"), ("sg_format", "F"), ("ccrypt", "d"), ("mcrypt", "d"), ("gpg", "c"),
                ("zip", "e"), ("base64", "d"), ("dmesg", "C"), ("ln", "s"), ("cpio", "i"), ("nc", "c"), ("mount", "o"),
            ]
        ],
        *[(program, letter * 1_000_000 + "!") for program, letter in [("tar", "x"), ("tar", "c"), ("chmod", "o")]],
    ],
    ids=lambda value: value[:10],
)  # fmt: skip
def test_an_expression_takes_no_longer_than_a_text_is_long(program: str, text: str) -> None:
    """What tries every end for every beginning would be at it for hours, and nothing else runs meanwhile."""
    tables = [
        pattern.table
        for name, key in TABLES
        for pattern in catalogue.patterns(name, key).about(program)
        if program in pattern.programs
    ]
    expressions = [
        expression
        for table in tables
        for key in ("words", "none", "line", "input")
        for expression in ([table[key]] if isinstance(table.get(key), str) else table.get(key, ()))
    ]
    assert expressions
    for expression in expressions:
        re.search(expression, text)


def _asked(rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, bool]]:
    """Return how often each table was asked about the commands of these rows, by its text and what it answered."""
    answers: Counter[tuple[str, bool]] = Counter()
    holds = matching.Pattern.holds

    def heard(self: matching.Pattern, texts: Sequence[str], stdin: str | None) -> bool:
        answer = holds(self, texts, stdin)
        answers[self.text, answer] += 1
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(matching.Pattern, "holds", heard)
        for row in rows:
            analysed(row["command"])
    return answers


def _patterns(name: str, key: str) -> list[matching.Pattern]:
    programs = {program for table in catalogue.tables(name)[key] for program in table["programs"].split()}
    about = catalogue.patterns(name, key).about
    found = {pattern.text: pattern for program in sorted(programs) for pattern in about(program.replace("*", "x"))}
    assert len(found) == len(catalogue.tables(name)[key])
    return list(found.values())


def test_every_table_has_a_harmful_row_and_a_near_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new table comes with both; what is harm whatever its words are has no near miss."""
    harmful, harmless = _asked(HARMFUL, monkeypatch), _asked(HARMLESS, monkeypatch)
    conditions = matching.KEYS - {"programs", "except", "valued"}
    without = [
        (key, pattern.programs, "no row" if not harmful[pattern.text, True] else "no near miss")
        for name, key in TABLES
        for pattern in _patterns(name, key)
        if not harmful[pattern.text, True] or (conditions & set(pattern.table) and not harmless[pattern.text, False])
    ]
    assert without == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("length", [10, 5000])
def test_a_string_of_any_length_hides_nothing_behind_it(length: int) -> None:
    """What is read as its beginning, and as its end, does not depend on how long it is."""
    code = f'$x = "{"A" * length}"; fork while fork; print "a"'
    assert ("fork-bomb", "deny") in found(f"perl -e {shlex.quote(code)}")


def test_a_deeply_indented_loop_is_looked_at_in_a_moment() -> None:
    """Each blank was tried on either side of a line once, so a line more doubled the time: this would take for ever."""
    body = "".join(f"{' ' * (8 + number % 9)}step(number)\n" for number in range(200))
    assert found(f"python3 -c {shlex.quote('while True:' + chr(10) + body)}") == set()
    assert ("fork-bomb", "deny") in found(f"python3 -c {shlex.quote('while True:' + chr(10) + body + ' os.fork()')}")


def test_letters_of_other_scripts_are_told_from_names_in_them() -> None:
    """A word that is Latin to the eye and not to the machine; words of other languages are none."""
    assert glyphs.odd("сurl") is not None
    assert glyphs.odd("файл") is None
    assert glyphs.odd_host("https://раураl.com/x") is not None
    assert glyphs.odd_host("https://яндекс.рф/x") is None
    assert glyphs.odd_host("https://user@example.org:8080/") is None
