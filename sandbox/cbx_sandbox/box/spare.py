"""Boxes in waiting: made ahead up to the point where the job matters, so that a job starts in what is left.

A spare is an init in its namespaces with the standard part of its tree built, and it serves one job or none. Where
limits go through cgroup v1 it also has a *forker*: moving a process between v1 groups waits for an RCU grace period
(about 8 ms on an idle host), being born in them costs nothing. So the forker joins the groups ahead and the payload
is forked from it.
"""

from __future__ import annotations

import array
import contextlib
import dataclasses
import json
import os
import select
import socket
from typing import Any

from cbx_sandbox.box import cgroup, hybrid, payload
from cbx_sandbox.box.spec import BoxSpec
from cbx_sandbox.linux import namespaces

HANDOVER_BYTES = 1 << 16
MAX_DESCRIPTORS = 250


@dataclasses.dataclass(slots=True)
class Spare:
    """A box in waiting, seen from the launcher."""

    pid: int
    handover: socket.socket
    v1: hybrid.V1Group

    def close(self) -> None:
        """Let it go: it ends when its socket closes."""
        self.handover.close()


class Pool:
    """The spares of one launcher."""

    def __init__(self, groups: cgroup.Groups, target: int) -> None:
        self.groups = groups
        self.target = target
        self.standard: list[dict[str, Any]] = []
        self.waiting: list[Spare] = []
        self.ending: dict[int, Spare] = {}
        self.made = 0
        self.failures = 0
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._mounts, select.POLLPRI)

    def prepare(self, standard: list[dict[str, Any]]) -> None:
        """From now on spares begin with these operations; those that begin otherwise are let go."""
        self.discard()
        self.standard = standard

    def wanted(self) -> bool:
        """True if another one should be made when there is time."""
        return bool(self.standard) and self.failures < 3 and len(self.waiting) < self.target

    def take(self, spec: BoxSpec) -> Spare | None:
        """A spare that fits this job; none if its box begins differently or the host's mounts have changed since."""
        if self._poll.poll(0):
            self.discard()
        fits = spec["own_network"] and not spec["identity"]["shifted"]
        if not fits or not self.waiting or spec["operations"][: len(self.standard)] != self.standard:
            return None
        return self.waiting.pop(0)

    def discard(self) -> None:
        """Let all spares go."""
        for spare in self.waiting:
            spare.close()
            self.ending[spare.pid] = spare
        self.waiting.clear()

    def name(self) -> str:
        """A name for the next spare's groups."""
        self.made += 1
        return f"spare-{self.made}"

    def reaped(self, pid: int) -> None:
        """A spare that never got a job is gone: one that was let go, or one that could not be built."""
        spare = self.ending.pop(pid, None)
        if spare is None:
            # Jobs then start without; what is wrong shows there, with the job's name.
            self.failures += 1
            spare = next((waiting for waiting in self.waiting if waiting.pid == pid), None)
            if spare is None:
                return  # it ended while it was being handed a job: that job was reported as failed
            self.waiting.remove(spare)
            spare.close()
        spare.v1.remove()


@dataclasses.dataclass(frozen=True, slots=True)
class Handover:
    """What a spare receives: descriptors by name; "spec" is the BoxSpec as JSON in a memory file."""

    descriptors: dict[str, int]

    @property
    def spec(self) -> BoxSpec:
        """The job."""
        with open(self.descriptors["spec"], encoding="utf-8", closefd=False) as file:
            file.seek(0)
            spec: BoxSpec = json.load(file)
        return spec


def send(connection: socket.socket, named: dict[str, int]) -> None:
    """Hand descriptors over by name."""
    socket.send_fds(connection, [json.dumps(list(named)).encode()], list(named.values()))


def receive(connection: socket.socket) -> Handover | None:
    """Wait for descriptors; None when the other end is gone."""
    data, fds, _, _ = socket.recv_fds(connection, HANDOVER_BYTES, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    return Handover(dict(zip(json.loads(data), fds, strict=True)))


class Forker:
    """A process that was born before the job and joined its v1 groups; forks the payload as init's child."""

    def __init__(self, v1_procs: list[int], last_capability: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        pid, pidfd = namespaces.clone3()
        if pid == 0:
            ours.close()
            try:
                _fork_on_demand(theirs, v1_procs, last_capability)
            finally:
                os._exit(1)
        os.close(pidfd)
        theirs.close()
        self.connection = ours

    def fork(self, named: dict[str, int]) -> tuple[int, int]:
        """Fork the payload with these descriptors; returns (pid, pidfd)."""
        send(self.connection, named)
        data, fds, _, _ = socket.recv_fds(self.connection, 64, 1, socket.MSG_CMSG_CLOEXEC)
        self.connection.close()
        if not data:
            raise OSError("the forker of this box has ended")
        return int(data), fds[0]


def _fork_on_demand(connection: socket.socket, v1_procs: list[int], last_capability: int) -> None:
    for fd in v1_procs:
        os.write(fd, b"0")
        os.close(fd)
    handed = receive(connection)
    if handed is None:
        os._exit(0)
    named = handed.descriptors
    # The child is init's, not ours: it is reaped, signalled and waited for there.
    pid, pidfd = namespaces.clone3(namespaces.CLONE_PARENT, cgroup_fd=named["payload"])
    if pid == 0:
        payload.run(
            handed.spec,
            payload.Standing(
                stdio=[named.get(name) for name in payload.STANDARD],
                tty=payload.tty_of(handed.spec),
                report=named["report"],
                userns_fd=None,
                v1_procs=[],
                last_capability=last_capability,
            ),
        )
    with contextlib.suppress(OSError):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [pidfd]))]
        connection.sendmsg([str(pid).encode()], ancillary)
    os._exit(0)
