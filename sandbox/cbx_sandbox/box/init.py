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

from cbx_sandbox.box import cgroup, diskwatch, joblog, network, operations, payload, spare, terminal
from cbx_sandbox.box.cgroup import Meter
from cbx_sandbox.box.diskwatch import DiskWatch
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.box.readwatch import ReadWatch
from cbx_sandbox.box.spec import BoxSpec
from cbx_sandbox.linux import keyring, mountinfo, mounts, namespaces, privileges

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
        self.stage = operations.Stage(descriptors={})
        self.waiting_payload: spare.WaitingPayload | None = None
        self.step = "namespaces"
        self.child = -1
        self.status: int | None = None
        self.reason = ""
        self.failure: dict[str, object] | None = None
        self.began = time.monotonic()
        self.kill_at: float | None = None
        self.frozen_since: float | None = None
        self.frozen_for = 0.0  # s, before that
        self.give_up_at: float | None = None  # what was killed is dead by then, or cannot be killed
        self.child_pidfd = self.oom_event = self.wakeup = self.report = self.output = -1
        self.log: joblog.Writer | None = None
        self.reads: ReadWatch | None = None

    # ── building ──

    def begin(self, *, own_network: bool) -> None:
        """What no job can change any more: session, dumps, children, network."""
        os.setsid()
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
            named = {name: given[name] for name in ("spec", *payload.STANDARD) if name in given}
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
        for name in ("stdin", "stdout", "stderr"):
            if (fd := self.handed.descriptors.pop(name, None)) is not None:
                os.close(fd)
        for fd in self.handed.v1_procs:
            os.close(fd)
        self.handed.v1_procs.clear()

    # ── watching ──

    def watch(self) -> None:
        """Until the command has ended: time limit, lease, orders, memory."""
        timeout = self.spec["limits"]["timeout"]
        deadline = None if timeout is None else self.began + timeout
        poll = select.poll()
        lease = self.handed.descriptors.get("lease", -1)
        watched = (
            self.child_pidfd,
            self.wakeup,
            self.control.fileno(),
            lease,
            self.oom_event,
            self.report,
            self.output,
            -1 if self.reads is None else self.reads.group,
        )
        for fd in watched:
            if fd >= 0:
                # The lease is asked for its hang-up only: nothing is ever written to it.
                poll.register(fd, 0 if fd == lease else select.POLLIN)
        disk = DiskWatch(self.stage.uppers, self.spec["limits"]["layer_bytes"]) if self.stage.uppers else None
        out_of_memory_until = 0.0
        while self.status is None:
            now = time.monotonic()
            look_at = now + diskwatch.INTERVAL if disk is not None and not self.reason else None
            count_at = now + OOM_INTERVAL if now < out_of_memory_until else None
            ends = [at for at in (self.kill_at, self.give_up_at, look_at, count_at) if at is not None]
            if deadline is not None and not self.reason and self.frozen_since is None:
                ends.append(deadline + self.frozen_for)
            wait = None if not ends else max(0.0, min(ends) - now) * 1000 + 1
            for fd, _ in poll.poll(wait):
                if fd == lease:
                    poll.unregister(lease)
                    self._stop("cancelled", gently=True)
                elif fd == self.control.fileno():
                    if not self._obey():
                        poll.unregister(fd)
                elif fd == self.oom_event:
                    os.eventfd_read(fd)
                    out_of_memory_until = now + OOM_PATIENCE
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
            if out_of_memory_until and self.meter.oom_kills():
                out_of_memory_until = 0.0
                self._stop("oom", gently=False)
            if look_at is not None and disk is not None and disk.exceeded():
                self._stop("disk", gently=False)
            now = time.monotonic()
            running = self.frozen_since is None  # the time that it was frozen is not the command's
            if deadline is not None and not self.reason and running and now >= deadline + self.frozen_for:
                self._stop("timeout", gently=True)
            if self.kill_at is not None and now >= self.kill_at:
                self.kill_at = None
                self._kill()
            self._reap()
            if self.give_up_at is not None and now >= self.give_up_at:
                return
        self._hear()

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
        now = time.monotonic()
        if on and self.frozen_since is None:
            self.frozen_since = now
        elif not on and self.frozen_since is not None:
            self.frozen_for += now - self.frozen_since
            self.frozen_since = None

    def _stop(self, reason: str, *, gently: bool) -> None:
        self.reason = self.reason or reason
        if not gently:
            self._kill()
        elif self.kill_at is None:
            # To every process of the job, as a service manager would; frozen ones cannot hear it.
            self._freeze(on=False)
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGTERM)
            self.kill_at = time.monotonic() + self.spec["limits"]["kill_after"]

    def _kill(self) -> None:
        self.give_up_at = self.give_up_at or time.monotonic() + REAP_PATIENCE
        self.meter.kill()
        # Everything in this PID namespace but init itself: also where the kernel has no cgroup.kill.
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)

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
        frozen = self._unmount_overlays() if not unkillable else False
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

    def _unmount_overlays(self) -> bool:
        """Unmount without force: it succeeds only if nobody holds a file of the overlay open any more."""
        if not self.stage.overlays:
            return True
        self.stage.finish()
        try:
            if "/" in self.stage.overlays:
                # The root itself goes: step aside onto the job's own /run first.
                os.mkdir("/run/.old")
                os.chdir("/run")
                mounts.pivot_root(".", ".old")
                os.chdir("/")
                prefix = "/.old"
            else:
                prefix = ""
            with open(
                f"{prefix}/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n"
            ) as file:
                table = mountinfo.parse(file.read())
            roots = {prefix + path if path != "/" else prefix for path in self.stage.overlays}
            on_top = _with_all_on_top(table, roots)
            for target in _without_overlays(on_top):
                # Nothing of an overlay is in there: the whole tree goes in one step, also what is still in use.
                mounts.umount(target, mounts.MNT_DETACH)
            _unmount_all([mount.target for mount in on_top if mount.kind == "overlay"])
        except OSError:
            return False
        return True


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


def _with_all_on_top(table: list[mountinfo.Mount], roots: set[str]) -> list[mountinfo.Mount]:
    """The overlays on ``roots``, and everything that is mounted on them."""
    chosen = {m.mount_id for m in table if m.kind == "overlay" and m.source == operations.SOURCE and m.target in roots}
    grown = True
    while grown:
        more = {mount.mount_id for mount in table if mount.parent_id in chosen} - chosen
        chosen |= more
        grown = bool(more)
    return [mount for mount in table if mount.mount_id in chosen]


def _without_overlays(on_top: list[mountinfo.Mount]) -> list[str]:
    """Where the largest trees without an overlay in them are mounted, the last mounted first."""
    parents = {mount.mount_id: mount.parent_id for mount in on_top}
    leads_to_overlay: set[int] = set()
    for mount in on_top:
        at = mount.mount_id
        while mount.kind == "overlay" and at in parents and at not in leads_to_overlay:
            leads_to_overlay.add(at)
            at = parents[at]
    tops = [m for m in on_top if m.mount_id not in leads_to_overlay and m.parent_id in leads_to_overlay]
    return [mount.target for mount in sorted(tops, key=lambda mount: -mount.mount_id)]


def _unmount_all(targets: list[str]) -> None:
    """Unmount without force; what another mount still covers, or stands on, comes in a later round."""
    left = sorted(targets, key=len, reverse=True)
    while left:
        again = []
        for target in left:
            try:
                mounts.umount(target)
            except OSError as error:
                refused = error
                again.append(target)
        if len(again) == len(left):
            raise refused
        left = again
