"""A supervisor that dies at its n-th boundary: before each thing that others can see, or that outlives it.

Executed as a script, instead of the daemon, with ``PLAN`` (JSON): ``at`` is the number of the boundary (0: none) or a
part of its name, ``trace`` the file that gets their names, ``late``: "starting" is written after the command was let
go, which is the fault that the tests have to notice; ``wait_for``: a file that must be there before it dies.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import sys
import threading
import time

CALLS = (
    *("mkdir", "rmdir", "unlink", "link", "symlink", "mknod", "rename", "replace"),
    *("write", "pwrite", "ftruncate", "fsync", "fdatasync"),
    *("utime", "chmod", "chown", "fchown", "setxattr", "removexattr"),
)
LATE_SECONDS, WAIT_SECONDS = 0.5, 20.0
WAKING = repr(b"\0")  # one thread of the supervisor wakes another: nobody else sees that


class Boundaries:
    """Counts from the moment the supervisor serves."""

    def __init__(self, plan):
        self.at, self.wait_for = plan["at"], plan.get("wait_for")
        self.trace = os.open(plan["trace"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.serving, self.count = False, 0
        self._write, self._lock = os.write, threading.Lock()

    def reached(self, name):
        if not self.serving:
            return
        with self._lock:
            self.count += 1
            self._write(self.trace, f"{name}\n".encode())
            if self.at == self.count or (isinstance(self.at, str) and self.at in name):
                end = time.monotonic() + WAIT_SECONDS
                while self.wait_for and not os.path.exists(self.wait_for) and time.monotonic() < end:
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)  # until it is delivered: not one step further

    def before(self, owner, name, show=lambda _arguments: ""):
        """Have ``owner.name`` announce itself."""
        real = getattr(owner, name)

        def call(*arguments, **options):
            what = show(arguments)
            if what != WAKING:
                self.reached(f"{name} {what}".strip())
            return real(*arguments, **options)

        setattr(owner, name, call)


def _file(arguments):
    """The name of the file that a call is about, the directory that it lies in before it."""
    first = arguments[0] if arguments else None
    if isinstance(first, int):
        try:
            first = os.readlink(f"/proc/self/fd/{first}")
        except OSError:
            first = ""
    return "/".join(os.fsdecode(first or "").split("/")[-2:])


def _sent(arguments):
    data = arguments[1] if len(arguments) > 1 else b""
    return repr(bytes(data if isinstance(data, (bytes, bytearray, memoryview)) else b"".join(data))[:12])


def _connection(boundaries):
    class Connection(sqlite3.Connection):
        """Before a transaction is on disk, and after."""

        def execute(self, statement, *values):
            commits = statement == "COMMIT"
            if commits:
                boundaries.reached("commit")
            found = super().execute(statement, *values)
            if commits:
                boundaries.reached("committed")
            return found

    return Connection


def _write_late(records, executor):
    """The fault: a start that is not on disk before the command runs."""
    starting = records.starting

    async def late(job, *arguments):
        async def write():
            await asyncio.sleep(LATE_SECONDS)
            await starting(job, *arguments)

        executor.written_late = asyncio.get_running_loop().create_task(write())

    records.starting = late


async def _never(_launching, _spec, _fds):
    """The word to the launcher, which a supervisor that is killed may not come to."""
    await asyncio.get_running_loop().create_future()


def main():
    plan = json.loads(os.environ.pop("PLAN"))
    boundaries = Boundaries(plan)
    from cbx_sandbox.linux import files  # noqa: PLC0415
    from cbx_supervisor.daemon import main as daemon  # noqa: PLC0415
    from cbx_supervisor.daemon import systemd  # noqa: PLC0415
    from cbx_supervisor.execution import executor, launching, records  # noqa: PLC0415

    for name in CALLS:
        boundaries.before(os, name, _file)
    for name in ("renameat2", "syncfs"):
        boundaries.before(files, name, _file)
    for name in ("send", "sendmsg", "sendall"):
        boundaries.before(socket.socket, name, _sent)
    connect, made = sqlite3.connect, _connection(boundaries)
    sqlite3.connect = lambda *arguments, **options: connect(*arguments, **{"factory": made, **options})
    if plan.get("late"):
        _write_late(records, executor)
    if plan.get("mute"):
        launching.Launching.start = _never
    ready = systemd.Manager.ready

    def serving(manager):
        boundaries.serving = True
        ready(manager)

    systemd.Manager.ready = serving
    daemon.main(sys.argv[1:])


if __name__ == "__main__":
    main()
