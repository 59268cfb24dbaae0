"""Boxes in waiting: made ahead up to the point where the job matters, so that a job starts in what is left.

A spare is an init in its namespaces, with its groups, and serves one job or none. Three kinds are kept: with what every
job below DANGEROUS begins with, with what DANGEROUS begins with, and one with nothing built. The payload is forked
ahead, too, and waits in its groups: where limits go through cgroup v1, joining them waits for an RCU grace period
(about 8 ms for each hierarchy on an idle host).
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import select
import socket
from typing import Any, NamedTuple, Protocol

from cbx_sandbox.box import cgroup, payload
from cbx_sandbox.box.spec import BoxSpec, LimitSpec
from cbx_sandbox.linux import namespaces

HANDOVER_BYTES = 1 << 16
MAX_DESCRIPTORS = 250
NAME = "spare-"  # and a number: the groups of a spare

COUNTS = (4, 2)  # how many of each beginning, the last for all others; each holds a few MB
BARE = 1
MAX_ORDERS = 2
MAX_FAILURES = 3  # then no more are made

Operations = list[dict[str, Any]]


class Born(NamedTuple):
    """A spare that the nursery made: its groups' name and limits, its init, the socket that waits for a job."""

    name: str
    pid: int
    missing: dict[str, str]
    pidfd: int
    handover: socket.socket


class Maker(Protocol):
    """The nursery, as the pool needs it."""

    def order(self, built: Operations, limits: LimitSpec | None) -> None:
        """Ask for one. Raises OSError when there will be none."""

    def receive(self) -> Born | str:
        """One, or why there is none. Raises EOFError when there will be no more."""


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

    def __init__(self, groups: cgroup.Groups) -> None:
        self.groups = groups
        self.kinds: list[tuple[Operations, int]] = []
        self.waiting: list[Spare] = []
        self.ending: dict[int, Spare] = {}
        self.limits: LimitSpec | None = None
        self.ordered: collections.deque[Operations] = collections.deque()
        self.failures = 0
        self._stale = 0  # how many of the oldest orders were made before the last discard
        self._dead: set[int] = set()  # ended before the nursery told of them
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._mounts, select.POLLPRI)

    def prepare(self, beginnings: list[Operations], limits: LimitSpec | None) -> None:
        """From now on spares begin with one of these and have these limits; those that begin otherwise are let go."""
        self.discard()
        self.limits = limits
        counts = (*COUNTS, *[COUNTS[-1]] * len(beginnings))
        self.kinds = [*zip(beginnings, counts, strict=False), ([], BARE)]

    def wanted(self, *, idle: bool) -> Operations | None:
        """What the next one should have built, if another one should be made; on a busy host only half are kept."""
        if self.failures < MAX_FAILURES and len(self.ordered) < MAX_ORDERS:
            coming = [*(spare.built for spare in self.waiting), *list(self.ordered)[self._stale :]]
            for built, target in self.kinds:
                if sum(1 for other in coming if other is built) < (target if idle else target // 2):
                    return built
        return None

    def order(self, built: Operations, nursery: Maker) -> None:
        """Have one made."""
        try:
            nursery.order(built, self.limits)
        except OSError:
            self.failures = MAX_FAILURES
        else:
            self.ordered.append(built)

    def receive(self, nursery: Maker) -> bool:
        """Take one that was made. False: there will be no more."""
        try:
            born = nursery.receive()
        except EOFError:
            self.ordered.clear()
            self.failures = MAX_FAILURES
            return False
        built = self.ordered.popleft()
        stale, self._stale = self._stale > 0, max(0, self._stale - 1)
        if isinstance(born, str):
            os.write(2, f"launcher: cannot make a box ahead: {born}\n".encode())
            self.failures += 1
            return True
        group = cgroup.JobGroup(self.groups, born.name)
        group.limits, group.missing = self.limits, born.missing
        spare = Spare(born.pid, born.pidfd, born.handover, group, built)
        if born.pid in self._dead:
            self._dead.remove(born.pid)
            spare.close()
            group.remove()
        elif stale:
            self.let_go(spare)
        else:
            self.waiting.append(spare)
        return True

    def take(self, spec: BoxSpec) -> Spare | None:
        """A spare that fits this job; none if there is none, or the host's mounts have changed since."""
        if self._poll.poll(0):
            self.discard()
        if not spec["own_network"] or spec.get("shared") or not self._can_have(spec["limits"]):
            return None
        for built, _ in self.kinds:
            if spec["operations"][: len(built)] == built:
                for index, spare in enumerate(self.waiting):
                    if spare.built is built:
                        return self.waiting.pop(index)
        return None

    def _can_have(self, limits: LimitSpec) -> bool:
        # A limit that was set ahead can be changed; "none" is never written, so it could not be taken off.
        set_ahead = self.limits
        return set_ahead is None or not any(
            limits[name] is None and set_ahead[name] is not None for name in cgroup.IN_GROUPS
        )

    def discard(self) -> None:
        """Let all spares go, also those that are being made."""
        for spare in self.waiting:
            self.let_go(spare)
        self.waiting.clear()
        self._stale = len(self.ordered)

    def let_go(self, spare: Spare) -> None:
        """Let one go; its groups are removed when it has ended."""
        spare.close()
        self.ending[spare.pid] = spare

    def unfinished(self) -> bool:
        """True while something of a spare is still to be removed."""
        return bool(self.ending or self.ordered)

    def reaped(self, pid: int) -> None:
        """A spare that never got a job is gone: one that was let go, or one that could not be built."""
        spare = self.ending.pop(pid, None)
        if spare is None:
            # Jobs then start without; what is wrong shows there, with the job's name.
            self.failures += 1
            spare = next((waiting for waiting in self.waiting if waiting.pid == pid), None)
            if spare is None:
                self._dead.add(pid)
                return
            self.waiting.remove(spare)
            spare.close()
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
        payload.enter(v1_procs, last_capability)
        payload.rehearse()
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
            cpuset=named.get("cpuset"),
        ),
    )
