"""PID 1 of a job: builds the box, starts the command, reaps, passes signals on, enforces the end, writes the record.

It is single-threaded, forked from the launcher without exec, stays outside the job's user namespace, and has ids of its
own and no dumps, so that no job can signal, trace or limit it, not even one that runs as root.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import select
import signal
import socket
import time
from typing import Any

from cbx_sandbox.box import cgroup, diskwatch, joblog, network, operations, payload, spare, terminal, unmounting
from cbx_sandbox.box.cgroup import Meter
from cbx_sandbox.box.diskwatch import DiskWatch
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.box.readwatch import ReadWatch
from cbx_sandbox.box.spec import BoxSpec
from cbx_sandbox.box.stage import Stage
from cbx_sandbox.box.timelimit import TimeLimit
from cbx_sandbox.linux import keyring, namespaces, privileges

# Nobody of the host: a root job has init's uid otherwise, and could set its scheduler, affinity, nice and limits.
INIT_ID = 0x3FFFFFFF
REAP_PATIENCE = 10.0  # s that killed processes may take to die before they are reported
OUTPUT_CHUNK = 1 << 16
OUTPUT_LAST = 64  # pieces that a pipe may still hold when all that wrote to it are dead
# cgroup v1 tells that memory has run out before it chooses and counts a victim, and tells once.
OOM_PATIENCE, OOM_INTERVAL = 5.0, 0.02


@dataclasses.dataclass(slots=True)
class Handed:
    """What the launcher hands over: descriptors and the outside facts of one job."""

    spec: BoxSpec
    descriptors: dict[str, int]
    control: int
    record: int
    payload_group: int
    v1_procs: list[int]
    v1_directories: dict[str, int]
    userns_fd: int | None
    first_id: int

    def kept(self) -> set[int]:
        """Every descriptor that init needs."""
        fds = {self.control, self.record, self.payload_group, *self.v1_procs, *self.v1_directories.values()}
        return fds | set(self.descriptors.values()) | ({self.userns_fd} if self.userns_fd is not None else set())


def main(handed: Handed, last_capability: int) -> None:
    """Run as PID 1 for one job and exit; never returns."""
    init = Init(last_capability)
    init.accept(handed)
    _live(init, fresh=True, operations_=handed.spec["operations"])


def wait(
    handover: socket.socket,
    built: list[dict[str, Any]],
    group: cgroup.JobGroup,
    tree: int,
    last_capability: int,
) -> None:
    """Run as PID 1 of a box in waiting: build what is known, fork the payload, serve the one job that is handed over.

    ``tree`` is the payload's group as a detached mount.
    """
    init = Init(last_capability)
    init.begin(own_network=True)
    init.stage.descriptors = {"cgroup": tree}
    init.build(built)
    init.waiting_payload = spare.WaitingPayload(group, last_capability)
    init.meter = Meter(group.payload, group.v1_directories)
    # As payload.rehearse(): what this process will do in the end, done once while nobody waits.
    json.loads(json.dumps(init.meter.usage()))
    for fd in group.v1_procs:
        os.close(fd)
    given = spare.receive(handover)
    if given is None:
        os._exit(0)
    handover.close()
    named = given.descriptors
    spec = given.spec
    handed = Handed(
        spec=spec,
        control=named.pop("control"),
        record=named.pop("record"),
        payload_group=group.payload,
        v1_procs=[],
        v1_directories=group.v1_directories,
        userns_fd=named.pop("userns", None),
        first_id=given.first_id,
        descriptors=init.stage.descriptors | named,
    )
    init.accept(handed)
    _live(init, fresh=False, operations_=spec["operations"][len(built) :])


def _live(init: Init, *, fresh: bool, operations_: list[dict[str, Any]]) -> None:
    try:
        if fresh:
            init.begin(own_network=init.spec["own_network"])
        init.build(operations_)
        init.await_go()
        init.start()
    except OSError as error:
        init.failed(init.step, error)
    except BaseException as error:  # noqa: BLE001  # nothing above us could report it
        init.failed(init.step, OSError(None, f"{type(error).__name__}: {error}"))
    else:
        try:
            init.watch()
        except OSError:
            # The command cannot be watched any more (a disk that fails under the layers): it ends, with a record.
            init.reason = init.reason or "lost"
    init.end()
    os._exit(0)


class Init:
    """The state of one PID 1."""

    spec: BoxSpec
    handed: Handed
    control: socket.socket
    meter: Meter

    def __init__(self, last_capability: int) -> None:
        self.last_capability = last_capability
        self.stage = Stage(descriptors={})
        self.waiting_payload: spare.WaitingPayload | None = None
        self.step = "namespaces"
        self.child = -1
        self.status: int | None = None
        self.reason = ""
        self.failure: dict[str, object] | None = None
        self.began = time.monotonic()
        self.kill_at: float | None = None
        self.limit = TimeLimit(None, self.began)
        self.out_of_memory_until = 0.0  # it is looked whether the kernel has killed a process for that
        self.give_up_at: float | None = None  # what was killed is dead by then, or cannot be killed
        self.child_pidfd = self.oom_event = self.wakeup = self.report = self.output = -1
        self.log: joblog.Writer | None = None
        self.reads: ReadWatch | None = None

    # ── building ──

    def begin(self, *, own_network: bool) -> None:
        """What no job can change any more: session, dumps, children, network."""
        os.setsid()
        if os.getpid() != 1:
            # It shares the host's processes: what the command leaves behind is to come to this one all the same.
            privileges.adopt_orphans()
        keyring.join_new_session()  # here, as root: a user's share of keys could run out
        privileges.undumpable()
        _reset_priorities()
        self._listen_for_children()
        if own_network:
            self.step = "loopback interface"
            network.loopback_up()

    def accept(self, handed: Handed) -> None:
        """Serve this job."""
        self.handed = handed
        self.spec = handed.spec
        self.began = time.monotonic()
        self.limit = TimeLimit(self.spec["limits"]["timeout"], self.began)
        self.control = socket.socket(fileno=handed.control)
        if self.waiting_payload is None:
            self.meter = Meter(handed.payload_group, handed.v1_directories)
        self.meter.begin()
        self.stage.descriptors = handed.descriptors
        self.stage.owner = handed.first_id
        self.stage.userns_fd = handed.userns_fd
        identity = handed.spec["identity"]
        self.stage.job_user = (identity["uid"], identity["gid"]) if "instead_of" in identity else None

    def build(self, operations_: list[dict[str, Any]]) -> None:
        """Build the tree, in the order of the plan."""
        for value in operations_:
            operation = operations.from_json(value)
            self.step = operation.describe()
            operation.execute(self.stage)

    def _listen_for_children(self) -> None:
        self.wakeup, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def await_go(self) -> None:
        """Wait for the order to start the command: the box is built while the supervisor writes the start down."""
        self.step = "order to start"
        if (lease := self.handed.descriptors.get("lease", -1)) >= 0:
            # No supervisor may be there any more to take the job back when its caller goes.
            poll = select.poll()
            poll.register(lease, 0)
            poll.register(self.control, select.POLLIN)
            if self.control.fileno() not in dict(poll.poll()):
                raise OSError(errno.ECANCELED, "its caller is gone")
        if self.control.recv(256) != b"go":
            raise OSError(errno.ECANCELED, "the supervisor took the job back")

    def start(self) -> None:
        """Fork the payload into its cgroup."""
        self.step = "identity of init"
        os.chdir("/")
        os.setresgid(INIT_ID, INIT_ID, INIT_ID)
        privileges.keep_capabilities_across_ids(on=True)
        os.setresuid(INIT_ID, INIT_ID, INIT_ID)
        privileges.undumpable()  # a change of ids makes a process dumpable again (prctl(2))
        self.step = "terminal"
        if (size := self.spec["terminal"]) is not None:
            master, tty = terminal.open_master(size)
            os.chown(tty, self.stage.owner + self.spec["identity"]["uid"], -1)
            socket.send_fds(self.control, [b'{"event":"pty"}'], [master])
            os.close(master)
        if (log := self.handed.descriptors.get("log")) is not None:
            self._keep_output(log)
        if (report := self.handed.descriptors.get("reads")) is not None:
            self.reads = ReadWatch(report, self.spec["reads"])
        self.step = "fork"
        self.report, report_write = os.pipe2(os.O_CLOEXEC)
        self.child, self.child_pidfd = self._fork(report_write)
        os.close(report_write)
        self._let_go()
        self.oom_event = -1 if (event := self.meter.watch_oom()) is None else event

    def _fork(self, report: int) -> tuple[int, int]:
        given = self.handed.descriptors
        if self.waiting_payload is not None:
            named = {name: given[name] for name in ("spec", "cpuset", *payload.STANDARD) if name in given}
            if self.handed.userns_fd is not None and self.spec["identity"]["shifted"]:
                named["userns"] = self.handed.userns_fd
            return self.waiting_payload.start({**named, "report": report})
        pid, pidfd = namespaces.clone3(cgroup_fd=self.handed.payload_group)
        if pid == 0:
            standing = payload.Standing(
                stdio=[given.get(name) for name in payload.STANDARD],
                tty=payload.tty_of(self.spec),
                report=report,
                userns_fd=self.handed.userns_fd,
                last_capability=self.last_capability,
                cpuset=given.get("cpuset"),
            )
            payload.run(self.spec, standing, self.handed.v1_procs)
        return pid, pidfd

    def _keep_output(self, log: int) -> None:
        """Nobody reads it: it goes through a pipe into a log, since a file that can be written is in no lock set."""
        self.step = "output log"
        self.log = joblog.Writer(log, self.spec["log_bytes"])
        self.output, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.output, False)
        self.handed.descriptors |= {"stdout": write, "stderr": os.dup(write)}

    def _copy_output(self) -> int | None:
        """Copy one piece of what has come; its bytes, 0 at the end, None if nothing has come."""
        if self.log is None:
            return 0
        try:
            data = os.read(self.output, OUTPUT_CHUNK)
        except BlockingIOError:
            return None
        self.log.write(data)
        return len(data)

    def _let_go(self) -> None:
        # Init must not hold the command's ends of pipes open: their readers wait for the end of file.
        for name in (*payload.STANDARD, "cpuset"):
            if (fd := self.handed.descriptors.pop(name, None)) is not None:
                os.close(fd)
        for fd in self.handed.v1_procs:
            os.close(fd)
        self.handed.v1_procs.clear()

    # ── watching ──

    def watch(self) -> None:
        """Until the command has ended: time limit, lease, orders, memory."""
        poll = self._watched()
        disk = DiskWatch(self.stage.uppers, self.spec["limits"]["layer_bytes"]) if self.stage.uppers else None
        while self.status is None:
            now = time.monotonic()
            looks = disk is not None and not self.reason
            for fd, _ in poll.poll(self._patience(now, looks=looks)):
                self._hear_of(fd, poll, now)
            if self.out_of_memory_until and self.meter.oom_kills():
                self.out_of_memory_until = 0.0
                self._stop("oom", gently=False)
            if looks and disk is not None and disk.exceeded():
                self._stop("disk", gently=False)
            now = time.monotonic()
            if not self.reason and self.limit.over(now):
                self._stop("timeout", gently=True)
            if self.kill_at is not None and now >= self.kill_at:
                self.kill_at = None
                self._kill()
            self._reap()
            if self.give_up_at is not None and now >= self.give_up_at:
                return
        self._hear()

    def _watched(self) -> select.poll:
        poll = select.poll()
        lease = self.handed.descriptors.get("lease", -1)
        reads = -1 if self.reads is None else self.reads.group
        told = (self.child_pidfd, self.wakeup, self.control.fileno(), self.oom_event, self.report, self.output, reads)
        for fd in told:
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        if lease >= 0:
            poll.register(lease, 0)  # its hang-up only: nothing is ever written to it
        return poll

    def _patience(self, now: float, *, looks: bool) -> float | None:
        """Milliseconds until something is due although nothing was heard; ``looks``: the disk is looked at."""
        look_at = now + diskwatch.INTERVAL if looks else None
        count_at = now + OOM_INTERVAL if now < self.out_of_memory_until else None
        end = None if self.reason else self.limit.end
        due = [at for at in (self.kill_at, self.give_up_at, look_at, count_at, end) if at is not None]
        return max(0.0, min(due) - now) * 1000 + 1 if due else None

    def _hear_of(self, fd: int, poll: select.poll, now: float) -> None:
        """One of what is watched has something to say."""
        if fd == self.handed.descriptors.get("lease", -1):
            poll.unregister(fd)
            self._stop("cancelled", gently=True)
        elif fd == self.control.fileno():
            if not self._obey():
                poll.unregister(fd)
        elif fd == self.oom_event:
            os.eventfd_read(fd)
            self.out_of_memory_until = now + OOM_PATIENCE
        elif fd == self.wakeup:
            os.read(fd, 512)
        elif fd == self.report:
            poll.unregister(fd)
            self._hear()
        elif fd == self.output:
            if self._copy_output() == 0:
                poll.unregister(fd)  # every process has closed it
        elif self.reads is not None and fd == self.reads.group:
            self.reads.take(self.child)

    def _hear(self) -> None:
        """Read why the command was not executed; end of file is the successful execve, which closes the pipe.

        Never waited for on its own: a file system of the job's user may keep the command's start from ending.
        """
        if self.report < 0:
            return
        text = os.read(self.report, 65536)
        os.close(self.report)
        self.report = -1
        if text:
            self.failure = json.loads(text)

    def _obey(self) -> bool:
        """Carry out one order of the supervisor's; False once it is gone (the job goes on)."""
        order = self.control.recv(256).split()
        if not order:
            return False
        if order[0] == b"signal":
            # The command leads its own session and group; a terminal would signal the same.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child, int(order[1]))
        elif order[0] == b"kill":
            self._stop("cancelled", gently=False)
        elif order[0] == b"stop":
            self._stop("cancelled", gently=True)
        elif order[0] in {b"freeze", b"thaw"}:
            self._freeze(on=order[0] == b"freeze")
        return True

    def _freeze(self, *, on: bool) -> None:
        """Stop or resume the command, and its time limit with it."""
        self.meter.freeze(on=on)
        self.limit.freeze(time.monotonic(), on=on)

    def _stop(self, reason: str, *, gently: bool) -> None:
        self.reason = self.reason or reason
        if not gently:
            self._kill()
        elif self.kill_at is None:
            # To every process of the job, as a service manager would; frozen ones cannot hear it.
            self._freeze(on=False)
            self._signal_all(signal.SIGTERM)
            self.kill_at = time.monotonic() + self.spec["limits"]["kill_after"]

    def _kill(self) -> None:
        self.give_up_at = self.give_up_at or time.monotonic() + REAP_PATIENCE
        # Where the group was killed as a whole, in the host's namespace the numbers may be others' by now.
        if not self.meter.kill() or os.getpid() == 1:
            self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        """Signal every process of the job but init itself."""
        if os.getpid() == 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, number)  # all that is in this PID namespace
            return
        # In the host's, -1 would be everything there: those of the job's group are meant.
        for pid in self.meter.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _reap(self) -> bool:
        """Reap what has ended; True when no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.child:
                self.status = status

    # ── the end ──

    def failed(self, step: str, error: OSError) -> None:
        """Remember why the box could not be built."""
        self.failure = {"step": step, "errno": error.errno, "text": error.strerror or str(error)}

    def end(self) -> None:
        """Leave nothing alive, take the overlays down, write the record."""
        wall = time.monotonic() - self.began
        unkillable = self._end_everything()
        for _ in range(OUTPUT_LAST):
            if not self._copy_output():
                break
        if self.reads is not None:
            self.reads.finish(self.child)
        usage = self.meter.usage()
        frozen = unmounting.overlays(self.stage) if not unkillable else False
        code = None if self.status is None else os.waitstatus_to_exitcode(self.status)
        reason = self.reason or "exited"
        if usage["oom_kills"]:
            reason = "oom"
        if self.failure is not None:
            reason = "not-started"
        outcome: Outcome = {
            "job": self.spec["job"],
            "reason": reason,
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "frozen": frozen,
            "unkillable": unkillable,
            "wall_seconds": wall,
            "usage": usage,
        }
        if self.failure is not None:
            outcome["failure"] = self.failure  # type: ignore[typeddict-item]  # made here and in payload, same keys
        text = json.dumps(outcome).encode()
        # Less than a page in one write: also who is killed in it leaves all of it or nothing. Without fsync and rename:
        # it lies with what ends with the boot, as its job does; of another boot no record is believed.
        os.write(self.handed.record, text)
        with contextlib.suppress(OSError):  # the supervisor may be gone: then the record is what it will read
            self.control.send(b'{"event":"ended","outcome":' + text + b"}")
        # To end takes a namespace longer than the supervisor needs for the result: that one goes first on this core.
        os.sched_yield()

    def _end_everything(self) -> int:
        if self._reap() and not self.meter.populated():
            return 0  # as nearly always
        self._kill()
        assert self.give_up_at is not None
        poll = select.poll()
        poll.register(self.wakeup, select.POLLIN)
        while not self._reap():
            if time.monotonic() >= self.give_up_at:
                return 1
            poll.poll(50)
            with contextlib.suppress(BlockingIOError):
                os.read(self.wakeup, 512)
            self._kill()
        return 0


def _reset_priorities() -> None:
    """What a protected service passes on: a job that the kernel may not choose would hang at its memory limit."""
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        protected = int(file.read()) < 0
    if protected:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("0")
    # Where lowering it is not allowed, it is the caller's own choice that stays.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
