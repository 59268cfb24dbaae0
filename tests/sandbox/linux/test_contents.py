"""Contents written over others, cut short anywhere, and told from what somebody else has written."""

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbx_sandbox.linux import contents

SIZES = st.one_of(st.integers(0, 3000), st.sampled_from([0, 511, 512, 513, 4096, 70_000]))


class File:
    """An open file without a name."""

    def __init__(self, data: bytes) -> None:
        self.fd = os.memfd_create("cbx-test")
        os.pwrite(self.fd, data, 0)

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def bytes_of(fd):
    return os.pread(fd, 1 << 22, 0)


def some(seed, size):
    """Data with runs of zeros in it."""
    made = random.Random(seed)
    return b"".join(bytes(64) if made.random() < 0.3 else made.randbytes(64) for _ in range(size // 64 + 1))[:size]


@given(SIZES, SIZES, st.integers(0, 5))
def test_overwrite(one, other, seed):
    """The target begins with what the source holds, whatever both were; what it has beyond that stays."""
    with File(some(seed, one)) as source, File(some(seed + 1, other)) as target:
        contents.overwrite(source, target, one)
        assert bytes_of(target)[one:] == some(seed + 1, other)[one:]
        os.ftruncate(target, one)
        assert bytes_of(target) == bytes_of(source)
        assert contents.same_data(source, target)


@given(SIZES, SIZES, st.integers(0, 5), st.floats(0, 1), st.booleans())
def test_what_is_cut_short_is_between(one, other, seed, share, truncated):
    """A part of the new contents over the old ones, in either direction, before and after the size is set."""
    new, old = some(seed, one), some(seed + 1, other)
    for first, second in ((new, old), (old, new)):
        at = int(len(first) * share) // 512 * 512 if share < 1 else len(first)
        found = first[:at] + second[at:]
        if truncated and at == len(first):
            found = found[: len(first)]
        with File(found) as live, File(new) as new_fd, File(old) as old_fd:
            assert contents.is_between(live, new_fd, old_fd, len(old))


@pytest.mark.parametrize("at", [0, 511, 700, 1999])
def test_what_others_wrote_is_not(at):
    """One foreign byte is seen; a control without it is not."""
    new, old = b"n" * 2000, b"o" * 1500
    with File(new) as new_fd, File(old) as old_fd, File(new) as live:
        assert contents.is_between(live, new_fd, old_fd, len(old))
        os.pwrite(live, b"x", at)
        assert not contents.is_between(live, new_fd, old_fd, len(old))
    for size in (1499, 2001):
        with File(new) as new_fd, File(old) as old_fd, File(bytes(size)) as live:
            assert not contents.is_between(live, new_fd, old_fd, len(old))


def test_beginnings():
    """What was only added to."""
    with File(b"abc" * 400_000) as one, File(b"abc" * 400_000 + b"d") as other:
        assert contents.begins_as(one, other, 1_200_000)
        assert not contents.begins_as(one, other, 1_200_001)
        os.lseek(one, 0, os.SEEK_END)
        contents.append(other, one, 1_200_000)
        assert contents.same_data(one, other)
