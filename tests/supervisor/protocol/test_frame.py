"""Frames carry bytes exactly, and nothing that is no frame gets through."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_supervisor.protocol import frame

keys = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=12)
values = st.binary(max_size=60).filter(lambda value: b"\0" not in value)
fields = st.lists(st.tuples(keys, values), min_size=1, max_size=12)


@given(fields)
def test_what_goes_in_comes_out(sent):
    """Order, repeated keys and every byte but NUL survive."""
    data = frame.encode(sent)
    assert frame.payload_length(data[:4]) == len(data) - 4
    assert frame.decode(data[4:]) == sent


@given(st.lists(fields, max_size=5), st.integers(1, 7))
def test_a_stream_may_arrive_in_any_pieces(messages, step):
    """Frames are found whatever the boundaries of the reads are."""
    stream = b"".join(map(frame.encode, messages))
    splitter = frame.Splitter()
    got = []
    for start in range(0, len(stream), step):
        got += splitter.feed(stream[start : start + step])
    assert [frame.decode(payload) for payload in got] == messages
    assert splitter.empty


@given(st.binary(max_size=80))
def test_any_payload_is_decoded_or_refused(payload):
    """Arbitrary bytes give fields that encode to themselves, or FrameError."""
    try:
        got = frame.decode(payload)
    except frame.FrameError:
        return
    assert frame.encode(got)[4:] == payload


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [("", b"x")],
        [("Key", b"x")],
        [("a=b", b"x")],
        [("a b", b"x")],
        [("key", b"a\0b")],
        [("key", bytes(1) * 5)],
        [("key", b"x" * (frame.MAX_PAYLOAD + 1))],
    ],
)
def test_what_cannot_be_a_frame_is_not_sent(bad):
    """No key, a wrong key, a NUL in a value, nothing at all, too much."""
    with pytest.raises(frame.FrameError):
        frame.encode(bad)


@pytest.mark.parametrize(
    "header", [b"", b"\0\0\0", b"\0\0\0\0", (frame.MAX_PAYLOAD + 1).to_bytes(4, "big"), b"\xff" * 4]
)
def test_a_length_out_of_bounds_is_refused_before_anything_is_read(header):
    """A hostile header cannot make the reader wait for, or hold, gigabytes."""
    with pytest.raises(frame.FrameError):
        frame.payload_length(header)


def test_it_imports_nothing():
    """The client of a short command pays for each import."""
    code = (
        "import sys; before = set(sys.modules); import cbx_supervisor.protocol.frame; print(*set(sys.modules) - before)"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(got) == {"cbx_supervisor", "cbx_supervisor.protocol", "cbx_supervisor.protocol.frame"}
