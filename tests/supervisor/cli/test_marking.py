"""The part of a command that a reason is about, underlined: several lines, wide letters, long lines, colours."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sysconfig
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.facts import StaticFacts
from cbx_sandbox.shell.analysis import analyse
from cbx_sandbox.shell.effects import Span
from cbx_supervisor.cli import marking
from cbx_supervisor.cli.paint import Paint

CLIENT = Path(sysconfig.get_path("scripts")) / "cbx-sandbox"


def marked(text, part, width=80, paint=str):
    start = text.encode().index(part.encode())
    return marking.marked(text, Span(start, start + len(part.encode())), width, paint)


@pytest.mark.parametrize(
    ("text", "part", "shown"),
    [
        ("ls; rm x", "rm x", ["    ls; rm x", "        ^^^^"]),
        ("echo größe; rm", "rm", ["    echo größe; rm", "                ^^"]),
        ("echo 大; rm", "rm", ["    echo 大; rm", "             ^^"]),
        ("echo 大小", "大小", ["    echo 大小", "         ^^^^"]),
        ("echo é; rm", "rm", ["    echo é; rm", "            ^^"]),
        ("a\x1b[2J rm", "rm", ["    a\\x1b[2J rm", "             ^^"]),
        ("a\trm", "rm", ["    a\\trm", "       ^^"]),
        ("one\nrm x\nthree", "rm x", ["  2 rm x", "    ^^^^"]),
        ("if a\nthen rm\nfi", "a\nthen rm", ["  1 if a", "       ^", "  2 then rm", "    ^^^^^^^"]),
        ("cat <<E\nx\nE\n", "cat <<E\nx\nE\n", ["  1 cat <<E", "    ^^^^^^^", "  2 x", "    ^", "  3 E", "    ^"]),
        ("a\n\n\nb", "a\n\n\nb", ["  1 a", "    ^", "  4 b", "    ^"]),
        ("ls\n", "ls", ["    ls", "    ^^"]),
    ],
)
def test_lines_and_strokes(text, part, shown):
    assert marked(text, part) == shown


@pytest.mark.parametrize("odd", [0xDCFF, 0xD800])
def test_what_is_no_text_counts_as_the_analysis_counts_it(odd):
    """A byte of the command line that is no UTF-8, and half a character from JSON."""
    text = f"echo {chr(odd)} größe; rm -rf x"
    span = next(reason.span for reason in analyse(text, StaticFacts()).reasons if reason.code == "rm-recursive")
    line, strokes = marking.marked(text, span)
    assert line[strokes.index("^") :] == "rm -rf x"


def test_of_a_long_part_the_first_lines_are_shown():
    text = "\n".join(f"line{index}" for index in range(10))
    assert marked(text, text) == ["  1 line0", "    ^^^^^", "  2 line1", "    ^^^^^", "  3 line2", "    ^^^^^", "    …"]


def test_of_a_long_line_what_is_around_the_part():
    text = "echo " + "a" * 300 + "; rm -rf x; echo " + "b" * 300
    line, strokes = marked(text, "rm -rf x", width=60)
    assert line.startswith("    …aaa")
    assert line.endswith("bbb…")
    assert line[strokes.index("^") : strokes.rindex("^") + 1] == "rm -rf x"
    assert len(line) <= 60


def test_a_part_that_is_longer_than_the_line():
    text = "echo " + "x" * 500
    line, strokes = marked(text, "x" * 500, width=40)
    assert line == "    echo " + "x" * 30 + "…"
    assert strokes == "         " + "^" * 31


def test_a_place_without_length_has_one_stroke():
    assert marking.marked("a b", Span(2, 2)) == ["    a b", "      ^"]
    assert marking.marked("", Span(0, 0)) == ["    ", "    ^"]


def test_colours_are_on_the_strokes_alone():
    paint = Paint(on=True)
    assert marked("ls; rm", "rm", paint=lambda text: paint(text, "31")) == ["    ls; rm", "        \033[31m^^\033[0m"]
    assert Paint(on=False).tier("SAFE_PARALLEL") == "SAFE_PARALLEL"
    assert Paint(on=True).tier("DANGEROUS_ISOLATED") == "\033[1;31mDANGEROUS_ISOLATED\033[0m"


texts = st.text(st.sampled_from("ab ;|大é́\U0001f600\n\t\x1b\u200d"), max_size=120)


@given(texts, st.integers(0, 120), st.integers(0, 120), st.integers(10, 90))
def test_whatever_the_text_is(text, first, second, width):
    """No line is wider than it may be, none sends what a terminal acts on, strokes lie below what is shown."""
    letters = sorted((min(first, len(text)), min(second, len(text))))
    start, end = (len(text[:place].encode()) for place in letters)
    shown = marking.marked(text, Span(start, end), width)
    for line, strokes in zip(shown[0::2], shown[1::2], strict=False):
        assert line.isprintable()
        assert re.fullmatch(r" *\^+", strokes)
        assert marking.cells(line) <= max(width, marking.GUTTER + 20)
        assert len(strokes) <= marking.cells(line) + 1  # a place behind the end has its stroke there


def on_a_terminal(*, columns, **variables):
    """What explain prints on a terminal of its own."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {"PATH": "/usr/bin:/bin", "TERM": "xterm", **variables}
    command = [CLIENT, "explain", "-c", f"echo {'a' * 200}; rm -rf /srv/x"]
    process = subprocess.Popen(command, stdout=slave, env=environment)
    os.close(slave)
    printed = b""
    with contextlib.suppress(OSError):  # EIO: nobody holds the other side any more
        while data := os.read(master, 1 << 16):
            printed += data
    os.close(master)
    assert process.wait(60) == 0
    return printed.decode().replace("\r\n", "\n")


def test_on_a_terminal_there_are_colours_and_its_width_is_kept():
    text = on_a_terminal(columns=50)
    assert text.startswith("tier: \033[1;31mDANGEROUS_ISOLATED\033[0m\n")
    line, strokes = text.split("\n")[3:5]
    assert line.startswith("    …aaa")
    assert line.endswith("; rm -rf /srv/x")
    assert len(line) <= 50
    assert strokes == " " * line.index("rm -rf") + "\033[31m^^^^^^^^^^^^^\033[0m"


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_turned_off(variables):
    assert "\033" not in on_a_terminal(columns=80, **variables)
