"""The log of a job: what is kept of an output of any length, and how it is read."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbx_sandbox.box import joblog

LIMIT = 1 << 20


def pattern(begin, length):
    """Bytes that tell their position: each eight are one number."""
    first, last = begin // 8, (begin + length) // 8 + 1
    return b"".join(number.to_bytes(8, "big") for number in range(first, last))[begin % 8 : begin % 8 + length]


def everything(fd):
    """All pieces with their positions."""
    position, found = 0, []
    while True:
        begin, data = joblog.read(fd, position, 1 << 16)
        if not data:
            return found
        found.append((begin, data))
        position = begin + len(data)


@pytest.fixture
def fd(tmp_path):
    number = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    yield number
    os.close(number)


def test_a_short_output_is_the_file(fd):
    """So any program can read it."""
    joblog.Writer(fd, LIMIT).write(b"hello\n")
    assert os.pread(fd, 100, 0) == b"hello\n"


@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(st.integers(1, 400_000), min_size=1, max_size=20))
def test_the_beginning_and_the_end_are_kept_byte_for_byte(tmp_path_factory, pieces):
    """Whatever the sizes of the pieces; the file never grows beyond its limit, and a quarter of that is the end."""
    path = tmp_path_factory.mktemp("log") / "log"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        writer, total = joblog.Writer(fd, LIMIT), 0
        for size in pieces:
            writer.write(pattern(total, size))
            total += size
        found = everything(fd)
        assert os.fstat(fd).st_size <= LIMIT
    finally:
        os.close(fd)
    assert all(data == pattern(begin, len(data)) for begin, data in found)
    kept = sum(len(data) for _, data in found)
    assert found[0][0] == 0
    assert found[-1][0] + len(found[-1][1]) == total
    if total <= LIMIT - 2 * joblog.HEADER:
        assert kept == total
    head = sum(len(data) for begin, data in found if begin < joblog.HEAD)
    assert head == min(total, joblog.HEAD)
    assert kept - head >= min(total - head, (LIMIT - joblog.HEAD) // 2 - joblog.HEADER)


def test_a_reader_that_follows_misses_nothing_it_keeps_up_with(fd):
    """It reads on from where it was."""
    writer, position, seen = joblog.Writer(fd, LIMIT), 0, []
    for step in range(100):
        writer.write(pattern(step * 40_000, 40_000))
        while True:
            begin, data = joblog.read(fd, position, 1 << 16)
            if not data:
                break
            assert begin == position
            seen.append(data)
            position += len(data)
    assert b"".join(seen) == pattern(0, 4_000_000)
