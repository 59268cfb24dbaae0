"""Boxes in waiting: made ahead up to the point where the job matters, so that a job starts in what is left.

A spare is an init in its namespaces, with its groups, and serves one job or none. Two kinds are kept: one with the tree
built that every job below DANGEROUS begins with, and one with nothing built. The payload is forked ahead, too, and
waits in its groups: where limits go through cgroup v1, joining them waits for an RCU grace period (about 8 ms for each
hierarchy on an idle host).
"""

from __future__ import annotations

import dataclasses
import json
import os
import select
import socket
from typing import Any

from cbx_sandbox.box import cgroup, payload
from cbx_sandbox.box.spec import BoxSpec
from cbx_sandbox.linux import namespaces

HANDOVER_BYTES = 1 << 16
MAX_DESCRIPTORS = 250
NAME = "spare-"  # and a number: the groups of a spare

BUILT, BARE = 4, 2  # how many of each kind; each holds a few MB

Operations = list[dict[str, Any]]


@dataclasses.dataclass(slots=True)
class Spare:
    """A box in waiting, seen from the launcher."""

    pid: int
    pidfd: int
    handover: socket.socket
    group: cgroup.JobGroup
    built: Operations

    def close(self) -> None:
        """Let it go: it ends when its socket closes."""
        self.handover.close()
        os.close(self.pidfd)


class Pool:
    """The spares of one launcher."""

    def __init__(self) -> None:
        self.kinds: list[tuple[Operations, int]] = []
        self.waiting: list[Spare] = []
        self.ending: dict[int, Spare] = {}
        self.made = 0
        self.failures = 0
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._mounts, select.POLLPRI)

    def prepare(self, standard: Operations) -> None:
        """From now on most spares begin with these operations; those that begin otherwise are let go."""
        self.discard()
        self.kinds = [(standard, BUILT), ([], BARE)]

    def wanted(self) -> Operations | None:
        """What the next one should have built, if another one should be made when there is time."""
        if self.failures < 3:
            for built, target in self.kinds:
                if sum(1 for spare in self.waiting if spare.built is built) < target:
                    return built
        return None

    def take(self, spec: BoxSpec) -> Spare | None:
        """A spare that fits this job; none if there is none, or the host's mounts have changed since."""
        if self._poll.poll(0):
            self.discard()
        if not spec["own_network"]:
            return None
        for built, _ in self.kinds:
            if spec["operations"][: len(built)] == built:
                for index, spare in enumerate(self.waiting):
                    if spare.built is built:
                        return self.waiting.pop(index)
        return None

    def discard(self) -> None:
        """Let all spares go."""
        for spare in self.waiting:
            self.let_go(spare)
        self.waiting.clear()

    def let_go(self, spare: Spare) -> None:
        """Let one go; its groups are removed when it has ended."""
        spare.close()
        self.ending[spare.pid] = spare

    def name(self) -> str:
        """A name for the next spare's groups."""
        self.made += 1
        return f"{NAME}{self.made}"

    def reaped(self, pid: int) -> None:
        """A spare that never got a job is gone: one that was let go, or one that could not be built."""
        spare = self.ending.pop(pid, None)
        if spare is None:
            # Jobs then start without; what is wrong shows there, with the job's name.
            self.failures += 1
            spare = next((waiting for waiting in self.waiting if waiting.pid == pid), None)
            if spare is None:
                return
            self.waiting.remove(spare)
            spare.close()
        spare.group.close()
        spare.group.remove()


@dataclasses.dataclass(frozen=True, slots=True)
class Handover:
    """What a spare receives: descriptors by name ("spec" is the BoxSpec as JSON in a memory file), and who root is."""

    descriptors: dict[str, int]
    first_id: int

    @property
    def spec(self) -> BoxSpec:
        """The job."""
        # By position, not by seeking: init and the payload share the open file.
        size = os.fstat(self.descriptors["spec"]).st_size
        spec: BoxSpec = json.loads(os.pread(self.descriptors["spec"], size, 0))
        return spec


def send(connection: socket.socket, named: dict[str, int], first_id: int = 0) -> None:
    """Hand descriptors over by name."""
    message = json.dumps({"names": list(named), "first_id": first_id}).encode()
    socket.send_fds(connection, [message], list(named.values()))


def receive(connection: socket.socket) -> Handover | None:
    """Wait for descriptors; None when the other end is gone."""
    data, fds, _, _ = socket.recv_fds(connection, HANDOVER_BYTES, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    message = json.loads(data)
    return Handover(dict(zip(message["names"], fds, strict=True)), message["first_id"])


class WaitingPayload:
    """A payload that was forked before its job was known, seen from init."""

    def __init__(self, group: cgroup.JobGroup, last_capability: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self.pid, self.pidfd = namespaces.clone3(cgroup_fd=group.payload)
        if self.pid == 0:
            ours.close()
            try:
                _wait_for_job(theirs, group.v1_procs, last_capability)
            finally:
                os._exit(1)
        theirs.close()
        self.connection = ours

    def start(self, named: dict[str, int]) -> tuple[int, int]:
        """Let it become the command; returns (pid, pidfd)."""
        send(self.connection, named)
        self.connection.close()
        return self.pid, self.pidfd


def _wait_for_job(connection: socket.socket, v1_procs: list[int], last_capability: int) -> None:
    failed: OSError | None = None
    try:
        payload.enter(v1_procs)
    except OSError as error:
        failed = error
    handed = receive(connection)
    if handed is None:
        os._exit(0)
    named = handed.descriptors
    if failed is not None:
        payload.fail(named["report"], "session", failed)
    spec = handed.spec
    payload.become(
        spec,
        payload.Standing(
            stdio=[named.get(name) for name in payload.STANDARD],
            tty=payload.tty_of(spec),
            report=named["report"],
            userns_fd=named.get("userns"),
            last_capability=last_capability,
        ),
    )
