"""What a thread does, told from outside of it."""

from __future__ import annotations

import os
import threading
import time

from cbx_sandbox.linux import threads


def seen(work, wanted):
    """Whether a thread that does this is seen so before long."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not wanted(threads.sleeps_in(thread.native_id)):
        assert time.monotonic() < end
        time.sleep(0.001)


def test_who_sleeps_is_told_from_who_can_run():
    """And one that waits for another thread from one that waits for the kernel."""
    (nothing, write), lock, done = os.pipe(), threading.Lock(), threading.Event()
    lock.acquire()
    try:
        seen(
            lambda: os.read(nothing, 1), lambda call: call is not None and call not in {threads.FUTEX, threads.UNKNOWN}
        )
        seen(lock.acquire, lambda call: call == threads.FUTEX)
        seen(lambda: [None for _ in iter(done.is_set, True)], lambda call: call is None)
    finally:
        done.set()
        lock.release()
        os.write(write, b"x")


def test_who_cannot_be_looked_at_may_sleep():
    """There is no thread 0."""
    assert threads.sleeps_in(0) == threads.UNKNOWN
