"""Who calls, and what is refused to whom."""

from __future__ import annotations

import contextlib
import os
import resource
import socket

import pytest

from cbx_sandbox.errors import DeniedError, NotStartedError
from cbx_supervisor.daemon import peers


@pytest.fixture
def many_descriptors():
    """As many are open as select(2) does not know."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limits[1]), limits[1]))
    null = os.open(os.devnull, os.O_RDONLY)
    opened = [os.dup(null) for _ in range(1100)]
    yield
    for fd in (null, *opened):
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_caller_is_looked_at_however_many_files_are_open(many_descriptors):
    """One of our own group is told from one of a job's."""
    first, second = socket.socketpair()
    with first, second:
        peer = peers.credentials(first)
        assert peer.pid == os.getpid()
        peers.refuse_jobs(first, peer, "cbx")
        with open("/proc/self/cgroup", encoding="ascii") as file:
            group = next(line[3:].strip() for line in file if line.startswith("0::"))
        assert peers.within(f"{group.rstrip('/')}/cbx/jobs/7/payload", "cbx")
        assert not peers.within(group, "cbx")


def test_something_to_read_is_seen_however_high_the_descriptor(many_descriptors):
    first, second = socket.socketpair()
    with first, second:
        assert first.fileno() > 1024
        assert not peers.readable(first)
        second.send(b"x")
        assert peers.readable(first)


def test_a_caller_that_is_gone_is_refused(many_descriptors):
    """Its socket may have been left to somebody else."""
    first, second = socket.socketpair()
    with first, second:
        gone = peers.Peer(1 << 22, 0, 0)
        with pytest.raises(DeniedError):
            peers.refuse_jobs(first, gone, "cbx")


@pytest.fixture
def connected():
    """One end of a connection whose other end is ours."""
    first, second = socket.socketpair()
    with first, second:
        yield first


@pytest.fixture
def no_descriptors():
    """As many files are open as may be."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    opened = []
    with contextlib.suppress(OSError):
        while True:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    yield opened
    for fd in opened:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_who_cannot_be_looked_at_is_told_why_and_served_by_nobody(connected, no_descriptors):
    """Not that he is gone. Once there is room, the control, he is served."""
    peer = peers.credentials(connected)
    with pytest.raises(NotStartedError, match="Too many open files"):
        peers.refuse_jobs(connected, peer, "cbx")
    for _ in range(2):
        os.close(no_descriptors.pop())
    peers.refuse_jobs(connected, peer, "cbx")
