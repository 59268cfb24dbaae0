"""An init that is stopped by its job."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess

from cbx_sandbox.box.launcher_client import Started
from cbx_sandbox.box.leaving import DYING_PATIENCE
from cbx_supervisor.execution.launching import REAP_SECONDS, Init

SECONDS = 0.02  # between two looks
PATIENCE = 60.0


def watched(stop, over):
    """What becomes of a process that is watched as an init, and has ``stop`` done to it until it is ``over``."""
    process = subprocess.Popen(["sleep", "600"])
    try:
        asyncio.run(watch(process, stop, over))
        return process.poll()
    finally:
        process.kill()
        process.wait()


async def watch(process, stop, over):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    started = Started("1", process.pid, {}, ours.detach(), os.pidfd_open(process.pid))
    init = Init(started, "/no-such-record", os.close)
    init.keep_going(SECONDS)
    try:
        async with asyncio.timeout(PATIENCE):
            while not over(process):
                stop(process)
                await asyncio.sleep(SECONDS / 4)
    finally:
        init.close()
        theirs.close()


def stopped(process):
    """Whether it is."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


def test_it_is_let_go_on_and_lives():
    """Once stopped it runs again."""
    seen = []

    def once(process):
        if not seen:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            seen.append(stopped(process))

    def goes_on(process):
        return bool(seen) and not stopped(process)

    assert watched(once, goes_on) is None
    assert seen == [True]


def test_the_launcher_gives_up_on_what_will_not_die_before_the_supervisor_does():
    """Who waits for it hears what is left."""
    assert DYING_PATIENCE < REAP_SECONDS


def test_it_is_killed_where_it_is_stopped_again_and_again():
    """It would never end its job."""

    def always(process):
        process.send_signal(signal.SIGSTOP)

    assert watched(always, lambda process: process.poll() is not None) == -signal.SIGKILL
