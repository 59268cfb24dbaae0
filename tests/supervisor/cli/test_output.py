"""How answers look to people."""

import pytest

from cbx_sandbox.shell.analysis import Analysis
from cbx_sandbox.shell.effects import Access, Certainty, Effects, PathEffect, Span
from cbx_sandbox.shell.estimate import QUICK
from cbx_sandbox.shell.tiers import Reason, Tier
from cbx_supervisor.cli import analyses, output
from cbx_supervisor.cli.commands import show


def analysis(text, *reasons, effects=None):
    return Analysis(
        text, Tier.SEQUENTIAL_REQUIRED, reasons, effects or Effects(), (), 5.0, QUICK, frozenset({0}), False, ()
    )  # fmt: skip


def test_the_part_that_a_reason_is_about_is_underlined():
    """By bytes in the analysis, by columns on the screen; two reasons for one part show it once."""
    text = "ls größe; rm x"
    start = text.encode().index(b"rm x")
    reasons = [
        Reason(code, f"{code} x", Tier.SEQUENTIAL_REQUIRED, Span(start, start + 4)) for code in ("rm", "deletes")
    ]
    shown = "    ls größe; rm x\n              ^^^^\n  rm x  [SEQUENTIAL_REQUIRED, rm]\n  deletes x  ["
    assert shown in analyses.render(analysis(text, *reasons))
    assert analyses.describe(analysis(text, *reasons))["reasons"][0]["span"] == [start, start + 4]


def test_paths_in_effects_are_escaped():
    """A file name may be anything."""
    effect = PathEffect(Access.DELETE, "/tmp/\x1b]0;x\x07", Certainty.UNDER)
    text = analyses.render(analysis("rm", effects=Effects(paths=(effect, effect))))
    assert text.count(r"  delete  /tmp/\x1b]0;x\x07 (under)") == 1
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("widths", "room", "fitted"),
    [
        ([4, 6, 30], 50, [4, 6, 30]),
        ([4, 6, 30], 30, [4, 6, 20]),
        ([4, 6, 30], 14, [4, 5, 5]),
        ([9, 2, 19, 10], 12, [6, 2, 2, 2]),
        ([9, 6, 30], 1, [2, 2, 2]),
        ([30], 20, [20]),
    ],
)
def test_columns_give_way_to_a_narrow_terminal(widths, room, fitted):
    """The last one first, then the widest, at last the first; two columns stay of each."""
    assert output.fitting(widths, room) == fitted
    assert output.cut("abcdef", 4) == "abc…"
    assert output.cut("abcd", 4) == "abcd"


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (512 << 20, "512 MiB"), (1536, "1.5 KiB"), (None, None)]
)
def test_sizes(count, shown):
    """Binary units, no needless digits."""
    assert output.size(count) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0.0123, "12 ms"),
        (1.5, "1.5 s"),
        (3, "3 s"),
        (10, "10 s"),
        (300, "5 min"),
        (3725, "1 h 2 min"),
        (61, "1 min 1 s"),
    ],
)
def test_durations(count, shown):
    """Two units at most."""
    assert output.seconds(count) == shown


def test_tables_align_and_escape():
    """Empty cells are visible."""
    assert output.table(("A", "LONG"), [(1, None), ("\x07", "x")]) == "A     LONG\n1     -\n\\x07  x"


def test_a_result_for_people():
    """State, reason, usage and guarantees on a line each; nothing that is not known."""
    text = show.render(
        {
            "job": 12, "command": "x \x1b[2J", "state": "exited", "exit_code": None, "signal": "KILL", "reason": "oom",
            "tier": "SAFE_PARALLEL", "usage": {"wall_seconds": 1.25, "memory_peak_bytes": 512 << 20},
            "guarantees": {"in_force": ["memory-limit"], "missing": [{"name": "io-limit", "why": "v1"}]},
            "changes": {"added": 2, "changed": 0, "deleted": 1, "bytes": 0}, "checkpoint": {"id": 3, "state": "held"},
        }
    )  # fmt: skip
    assert text.splitlines() == [
        "job          12",
        r"command      x \x1b[2J",
        "state        exited, ended by SIGKILL (oom)",
        "tier         SAFE_PARALLEL",
        "time         1.25 s",
        "memory peak  512 MiB",
        "in force     memory-limit",
        "missing      io-limit: v1",
        "changes      +2 -1",
        "checkpoint   3 (held)",
    ]
