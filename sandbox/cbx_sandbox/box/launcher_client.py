"""The supervisor's side of the launcher: start it, hand it jobs, hear what became of them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from typing import Any

from cbx_sandbox.box.launcher import REQUEST_FD, VERSION
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.box.spec import BoxSpec, LimitSpec
from cbx_sandbox.errors import CbxError

_MESSAGE_BYTES = 1 << 17


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """The launcher serves.

    ``missing``: limits this host cannot enforce, with the reason; ``unshifted``: why root's dangerous jobs cannot run
    with shifted ids here, None if they can; ``ended``: jobs of an earlier launcher that were ended. ``known``: the last
    few thousand jobs that it started, or one before it that ended in order; ``kept``: no other one was started.
    ``cgroup`` is what its groups are called; ``placement`` what can be asked for (box/placing), {} if it is too old.
    """

    missing: dict[str, str]
    hybrid: bool
    landlock: int
    unshifted: str | None
    ended: list[str]
    known: list[str] = dataclasses.field(default_factory=list)
    kept: bool = False
    cgroup: str = ""
    placement: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """A job's init lives and builds the box; the command starts at the order ``go``.

    ``control`` (orders, the end) and ``pidfd`` belong to the receiver.
    """

    job: str
    pid: int
    missing: dict[str, str]
    control: int
    pidfd: int


@dataclasses.dataclass(frozen=True, slots=True)
class Adopted(Started):
    """A job that an earlier supervisor asked for, and whose init has not ended; it may still wait for ``go``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """A job was not started, and nothing of it is left."""

    job: str
    errno: int | None
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reaped:
    """A job's init is gone. ``leaks``: groups that could not be removed because something lives in them."""

    job: str
    status: int
    leaks: list[str]


Event = Ready | Started | Adopted | Failed | Reaped
HELLO_SECONDS = 5.0  # for a launcher to answer; it never works for so long on one thing


class LauncherClient:
    """A connection to one launcher process. Non-blocking to read: watch ``fileno()`` for reading."""

    def __init__(self, name: str, path: str | None = None, *, may_start: bool = True) -> None:
        """Find the launcher that listens at ``path``, or start one whose groups are called ``name``.

        Raises CbxError where none listens and none may be started, because that is the service manager's to do.
        """
        self.process: subprocess.Popen[bytes] | None = None  # the one that was started here
        found = None if path is None else _connected(path)
        if found is None and not may_start:
            raise CbxError(f"cannot reach the launcher at {path}", hint="start it: systemctl start cbx-launcher")
        if found is None:
            found, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            with theirs:
                self.process = _spawn([name] if path is None else [name, path], theirs.fileno())
        self.socket = found
        found.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self.socket.fileno()

    def launch(self, spec: BoxSpec, fds: list[int]) -> None:
        """Ask for a job; ``fds`` in the order of ``spec['descriptors']``, still the caller's afterwards."""
        self._send(b"launch", spec, fds)

    def prepare(self, beginnings: list[list[dict[str, Any]]], limits: LimitSpec | None = None) -> None:
        """Keep boxes in waiting that begin with one of these (box/plan: standard, overlaid) and these limits."""
        self._send(b"standard", {"beginnings": beginnings, "limits": limits}, [])

    def recovered(self) -> None:
        """All jobs of launchers before this one are decided on: what it does not name, none has started."""
        self._send(b"recovered", {}, [])

    def _send(self, order: bytes, value: object, fds: list[int]) -> None:
        memory = os.memfd_create("cbx-order", os.MFD_CLOEXEC)
        try:
            text = json.dumps(value).encode()
            written = 0
            while written < len(text):
                written += os.write(memory, text[written:])
            socket.send_fds(self.socket, [order], [memory, *fds])
        finally:
            os.close(memory)

    def receive(self) -> Event | None:
        """The next event, or None if there is none now. Raises CbxError once the launcher is gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, _MESSAGE_BYTES, 4)
        except BlockingIOError:
            return None
        if not data:
            raise CbxError("the launcher has ended", hint="restart the supervisor; its log says why")
        return _event(json.loads(data), fds)

    def close(self) -> None:
        """Let go: the launcher ends once its last job has ended."""
        self.socket.close()


def _event(message: dict[str, Any], fds: list[int]) -> Event:
    kind = message.pop("event")
    if kind in {"started", "adopted"}:
        return (Started if kind == "started" else Adopted)(**message, control=fds[0], pidfd=fds[1])
    kinds: dict[str, type[Ready | Failed | Reaped]] = {"ready": Ready, "failed": Failed, "reaped": Reaped}
    return kinds[kind](**message)


def _connected(path: str) -> socket.socket | None:
    """A connection to the launcher of an earlier supervisor; None if there is none that can be talked to.

    One that does not answer, or speaks otherwise, is ended: a new launcher then ends its jobs.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    connection.settimeout(HELLO_SECONDS)
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    pid = struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    hello: bytes | None = None
    with contextlib.suppress(OSError):
        hello = connection.recv(_MESSAGE_BYTES)
    if hello and json.loads(hello) == {"event": "hello", "version": VERSION}:
        return connection
    connection.close()
    if hello != b"":  # at the end of file it was just ending
        os.kill(pid, signal.SIGKILL)
    return None


def _spawn(arguments: list[str], fd: int) -> subprocess.Popen[bytes]:
    # dup2 onto the fixed number in the child; -I: nothing of the environment or the working directory is trusted.
    # cgroupspy brings logging and threading, whose handlers would run after every fork: 130 page faults, 0.5 ms. Here
    # is one thread that logs nothing, so they are not registered at all.
    code = f"""import os
os.dup2({fd}, {REQUEST_FD})
os.register_at_fork = lambda **handlers: None
from cbx_sandbox.box.launcher import main
main()"""
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code, *arguments], pass_fds=(fd,), stdin=subprocess.DEVNULL, cwd="/", env={}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Terminal:
    """The job's private terminal: its master belongs to the receiver."""

    master: int


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """Init has written the record and exits."""

    outcome: Outcome


class Control:
    """Orders to one init, and what it says."""

    def __init__(self, fd: int) -> None:
        self.socket = socket.socket(fileno=fd)
        self.socket.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self.socket.fileno()

    def go(self) -> None:
        """Start the command as soon as its box is built. Any other order before this one, or none, calls it off."""
        self._order("go")

    def signal(self, number: int) -> None:
        """Send a signal to the command's process group."""
        self._order(f"signal {number}")

    def stop(self) -> None:
        """SIGTERM to everything, then the end after the grace period."""
        self._order("stop")

    def kill(self) -> None:
        """End everything at once."""
        self._order("kill")

    def freeze(self, *, on: bool) -> None:
        """Stop or resume everything."""
        self._order("freeze" if on else "thaw")

    def _order(self, text: str) -> None:
        try:
            self.socket.send(text.encode())
        except (BrokenPipeError, ConnectionResetError):
            return  # it has just ended: the record is on its way

    def receive(self) -> Terminal | Ended | None:
        """The next message; None if there is none now. Raises EOFError when init is gone."""
        try:
            try:
                data, fds, _, _ = socket.recv_fds(self.socket, _MESSAGE_BYTES, 1)
            except ConnectionResetError:
                # Init left an order unread; the kernel says so before it gives out what init said last.
                data, fds, _, _ = socket.recv_fds(self.socket, _MESSAGE_BYTES, 1)
        except BlockingIOError:
            return None
        if not data:
            raise EOFError
        message = json.loads(data)
        if message["event"] == "pty":
            return Terminal(fds[0])
        return Ended(message["outcome"])

    def close(self) -> None:
        """Let go of init."""
        self.socket.close()
