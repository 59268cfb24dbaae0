"""The launcher: a small single-threaded process, parent of all inits. It forks so that nobody else has to.

A Python process with threads or an event loop must not fork; this one imports little, keeps no state of jobs but
their groups and the ways to their inits, and survives the supervisor: jobs that run go on and leave their exit
records, and the next supervisor finds this process at the socket where it listens.

Protocol, on a SOCK_SEQPACKET socket: a request is ``launch`` with descriptors, the first of which is a memory file
with the BoxSpec as JSON, the others in the order of its ``descriptors``. Answers are JSON objects: ``hello`` to who
connects, with the version of this protocol; ``adopted`` for each job that runs and ``ready``, once a connection;
``started`` (as ``adopted``: with the control socket and a pidfd), ``failed``, ``reaped``.

A supervisor that has decided on all jobs of earlier launchers says ``recovered``. A launcher that ends in order after
that leaves word of what it started (box/testament): the next one knows it as its own.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import errno
import functools
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
from typing import Any

from cbx_sandbox.box import cgroup, descriptors, init, leaving, placing, profiles, spare, stale, testament, userns
from cbx_sandbox.box.nursery import Nursery
from cbx_sandbox.box.spec import BoxSpec
from cbx_sandbox.linux import files, landlock, mountinfo, mounts, namespaces, notify, privileges

REQUEST_FD = 3
VERSION = 2  # of the protocol; a supervisor that speaks another one ends this launcher and starts its own
REMEMBERED = 4096  # jobs that were started: more than can be on their way when a supervisor dies
MAX_DESCRIPTORS = 250  # SCM_MAX_FD is 253


IDLE_MS = 15  # nothing happened for so long: the last job has ended, or runs


@dataclasses.dataclass(slots=True)
class Running:
    """A job whose init lives."""

    job: str
    group: cgroup.JobGroup
    userns: tuple[int, int] | None
    control: socket.socket  # the supervisor's end, for the next one; what init says waits in it meanwhile
    among_the_hosts: bool  # its processes have no PID namespace that would end with init


class Launcher:
    """The loop: requests in, children out."""

    def __init__(
        self, connection: socket.socket | None, groups: cgroup.Groups, listener: socket.socket | None = None
    ) -> None:
        self.connection = connection
        self.listener = listener
        self.stays = connection is None  # a service of its own: waits for supervisors for ever
        self.report: dict[str, object] = {}
        # Whether jobs that are not named in `started` are known not to have been started, by no launcher before either:
        # one that ended in order said so, or a supervisor has closed the books on them.
        self.complete = False
        self.started: collections.deque[str] = collections.deque(maxlen=REMEMBERED)
        self.groups = groups
        self.namespaces = userns.Pool()
        self.spares = spare.Pool(groups)
        self.running: dict[int, Running] = {}
        self.leaving = leaving.Leaving()
        self.last_capability = privileges.last_capability()
        self.wakeup, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Serve until the supervisor is gone and the last job has ended, one supervisor after the other."""
        poll = select.poll()
        poll.register(self.wakeup, select.POLLIN)
        nursery = Nursery(self.groups, self.last_capability)
        poll.register(nursery, select.POLLIN)
        # All that the last supervisor asked for comes before the next one is heard.
        first = self.connection or self.listener
        if first is not None:
            poll.register(first, select.POLLIN)
        while self.stays or self.connection or self.running or self.leaving or self.spares.unfinished():
            # Making a box slows down the start of a job beside it: unless few are left, that waits for a quiet moment.
            more = self.connection is not None and self.spares.wanted(idle=True) is not None
            pauses = [pause for pause in (IDLE_MS if more else None, self.leaving.pause_ms()) if pause is not None]
            events = poll.poll(min(pauses, default=None))
            idle = not events and min(pauses, default=0) >= IDLE_MS
            if self.connection is not None and (wanted := self.spares.wanted(idle=idle)) is not None:
                self.spares.order(wanted, nursery)
            for fd, _ in events:
                if fd == self.wakeup:
                    os.read(self.wakeup, 512)
                elif fd == nursery.fileno():
                    if not self.spares.receive(nursery):
                        poll.unregister(nursery)
                elif self.listener is not None and fd == self.listener.fileno():
                    if (found := self._welcome()) is not None:
                        poll.unregister(self.listener)
                        poll.register(found, select.POLLIN)
                elif self.connection is not None and not self._serve(self.connection):
                    poll.unregister(self.connection)
                    self._hung_up()
                    if self.listener is not None:
                        poll.register(self.listener, select.POLLIN)
            self._reap(nursery)
            self.leaving.look()
        if self.listener is not None:
            # Before the socket closes: who finds it closed starts the next launcher, which reads this.
            if self.complete:
                testament.leave(self.listener.getsockname(), self.started)
            self.listener.close()
        nursery.close()
        os.waitpid(nursery.pid, 0)

    def inherit(self, started: list[str] | None) -> None:
        """Know what the launcher before this one started; None: nobody can say what that was."""
        if started is not None:
            self.started.extend(started)
            self.complete = True

    def tell_ready(self) -> None:
        """Tell the supervisor, if there is one, what this host can do and what has been started."""
        self.send({"event": "ready", **self.report, "known": list(self.started), "kept": self.complete})

    def _hung_up(self) -> None:
        assert self.connection is not None
        self.connection.close()
        self.connection = None
        self.spares.discard()

    def _welcome(self) -> socket.socket | None:
        """Take the next supervisor and tell it what runs."""
        assert self.listener is not None
        # It finds the record of a job whose init is gone, and gives its locks back: first all of that job must be gone.
        self.leaving.finish()
        connection, _ = self.listener.accept()
        uid = struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid != 0:
            connection.close()
            return None
        self.connection = connection
        self.send({"event": "hello", "version": VERSION})
        for pid, job in self.running.items():
            pidfd = os.pidfd_open(pid)
            message: dict[str, object] = {"event": "adopted", "job": job.job, "pid": pid}
            self.send(message | {"missing": job.group.missing}, [job.control.fileno(), pidfd])
            os.close(pidfd)
        self.tell_ready()
        return connection

    def try_shifting(self) -> str | None:
        """None if the host's root can be shown with shifted ids; else why not (containers on overlayfs cannot)."""
        try:
            namespace = self.namespaces.acquire()
            try:
                tree = mounts.open_tree("/")
                try:
                    mounts.mount_setattr(tree, set_=mounts.ATTR_IDMAP, userns_fd=namespace[1])
                finally:
                    os.close(tree)
            finally:
                self.namespaces.release(namespace)
        except OSError as error:
            return f"id-mapped mounts of / are refused: {error.strerror}"
        return None

    def send(self, message: dict[str, object], fds: list[int] | None = None) -> None:
        """Answer the supervisor; it may be gone, which ``run`` finds out."""
        if self.connection is None:
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self.connection, [json.dumps(message).encode()], fds or [])

    def _serve(self, connection: socket.socket) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(connection, 64, MAX_DESCRIPTORS)
        except ConnectionResetError:
            return False
        if not data:
            return False
        spec: BoxSpec | None = None
        try:
            if data == b"recovered":
                self.complete = True
                return True
            if data == b"standard":
                standard = _read_json(fds[0])
                self.spares.prepare(standard["beginnings"], standard["limits"])
                return True
            spec = _read_json(fds[0])
            assert spec is not None
            self._launch(spec, fds[0], dict(zip(spec["descriptors"], fds[1:], strict=True)))
        except Exception as error:  # noqa: BLE001  # one bad request must not end the parent of all jobs
            job = spec["job"] if spec else ""
            number = error.errno if isinstance(error, OSError) else errno.EINVAL
            self.send({"event": "failed", "job": job, "errno": number, "text": str(error)})
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _launch(self, spec: BoxSpec, spec_fd: int, received: dict[str, int]) -> None:
        if "pid" in spec.get("shared", ()) and not spec["landlock"]:
            # /proc/PID/root of its user's own processes leads past the box, and nothing else keeps that shut.
            raise OSError(errno.EPERM, "no job shares the host's processes without Landlock")
        waiting = self.spares.take(spec)
        group: cgroup.JobGroup | None = None
        own: dict[str, int] = {}
        namespace: tuple[int, int] | None = None
        try:
            # mkdir of the job's group is the token: the same job cannot be started twice.
            if waiting is not None:
                waiting.group.take(spec["job"], spec["limits"])
            group = waiting.group if waiting else self.groups.create(spec["job"], spec["limits"])
            if spec["identity"]["shifted"]:
                namespace = self.namespaces.acquire()
            own = descriptors.prepared(spec, received)
            if (submitter := spec["identity"].get("instead_of")) is not None:
                uid, gid = submitter
                own["userns"] = userns.for_mounts((uid, spec["identity"]["uid"]), (gid, spec["identity"]["gid"]))
            if (wanted := spec.get("placement")) is not None and (cpuset := placing.place(group, wanted)) is not None:
                own["cpuset"] = cpuset
            if waiting is None:
                own["cgroup"] = mounts.open_tree("", dir_fd=group.payload)
            own["record"] = os.open(spec["record"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            given = {name: fd for name, fd in received.items() if not name.startswith(descriptors.DIRECTORIES)} | own
            theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            with contextlib.ExitStack() as stack:
                stack.enter_context(ours)
                stack.callback(theirs.close)
                given["control"] = ours.fileno()
                if waiting is not None:
                    pid, pidfd = _hand_over(waiting, {"spec": spec_fd, **given}, namespace)
                else:
                    pid, pidfd = namespaces.clone3(_namespace_flags(spec), group.init)
                    if pid == 0:
                        ours.detach()
                        self._become_init(spec, group, given, namespace)
                self.running[pid] = Running(spec["job"], group, namespace, theirs, "pid" in spec.get("shared", ()))
                stack.pop_all()
                ours.close()
                self.started.append(spec["job"])
                message: dict[str, object] = {"event": "started", "job": spec["job"], "pid": pid}
                self.send(message | {"missing": group.missing}, [theirs.fileno(), pidfd])
                os.close(pidfd)
            group.close()
        except BaseException:
            if waiting is not None:
                self.spares.let_go(waiting)
            elif group is not None:
                group.close()
                group.remove()
            if namespace is not None:
                self.namespaces.release(namespace)
            raise
        finally:
            for fd in own.values():
                os.close(fd)

    def _become_init(
        self, spec: BoxSpec, group: cgroup.JobGroup, given: dict[str, int], namespace: tuple[int, int] | None
    ) -> None:
        try:
            handed = init.Handed(
                spec=spec,
                control=given.pop("control"),
                record=given.pop("record"),
                payload_group=group.payload,
                v1_procs=group.v1_procs,
                v1_directories=group.v1_directories,
                userns_fd=namespace[1] if namespace else given.pop("userns", None),
                first_id=userns.first_id(namespace[0]) if namespace else 0,
                descriptors=given,
            )
            signal.set_wakeup_fd(-1)
            files.close_others(handed.kept())
            init.main(handed, self.last_capability)
        finally:
            os._exit(1)

    def _reap(self, nursery: Nursery) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == nursery.pid:
                continue
            ended = self.running.pop(pid, None)
            if ended is None:
                self.spares.reaped(pid)
                continue
            ended.control.close()
            if ended.among_the_hosts:
                ended.group.kill()
            if ended.userns is not None:
                self.namespaces.release(ended.userns)
            code = os.waitstatus_to_exitcode(status)
            self.leaving.add(ended.group, functools.partial(self._gone, ended.job, code))

    def _gone(self, job: str, code: int, left: list[str]) -> None:
        self.send({"event": "reaped", "job": job, "status": code, "leaks": left})


def _log(text: str) -> None:
    """One line in the supervisor's log, which is this process's standard error."""
    os.write(2, f"launcher: {text}\n".encode())


def _read_json(fd: int) -> Any:
    with open(fd, encoding="utf-8", closefd=False) as file:
        file.seek(0)
        return json.load(file)


_NAMESPACES = namespaces.CLONE_NEWNS | namespaces.CLONE_NEWPID | namespaces.CLONE_NEWIPC | namespaces.CLONE_NEWUTS


def _hand_over(waiting: spare.Spare, given: dict[str, int], namespace: tuple[int, int] | None) -> tuple[int, int]:
    """Give a job to a box in waiting. Nothing may fail after that: it serves the job then."""
    first_id = 0
    if namespace is not None:
        given = {**given, "userns": namespace[1]}
        first_id = userns.first_id(namespace[0])
    spare.send(waiting.handover, given, first_id)
    waiting.handover.close()
    return waiting.pid, waiting.pidfd


_SHARED = {"pid": namespaces.CLONE_NEWPID, "uts": namespaces.CLONE_NEWUTS, "ipc": namespaces.CLONE_NEWIPC}


def _namespace_flags(spec: BoxSpec) -> int:
    flags = _NAMESPACES | (namespaces.CLONE_NEWNET if spec["own_network"] else 0)
    for name in spec.get("shared", ()):
        flags &= ~_SHARED[name]
    return flags


def listen(path: str) -> socket.socket:
    """Where the next supervisor finds this launcher; what an earlier one left there is replaced."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(1)
    return listener


def main() -> None:
    """``cbx-launcher NAME [SOCKET]``: jobs in cgroups called NAME, for a supervisor on descriptor 3.

    With SOCKET it listens there for the next one. ``cbx-launcher --service NAME SOCKET`` waits there for the first one,
    too, and stays when it has nothing to do.
    """
    arguments = sys.argv[1:]
    service = arguments[:1] == ["--service"]
    name, *rest = arguments[1:] if service else arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A job sees its group and its /run as its own user: what nobody may read says so where it is made.
    os.umask(0o022)
    connection = None
    if not service:
        connection = socket.socket(fileno=REQUEST_FD)
        connection.set_inheritable(False)
    groups = cgroup.Groups(mountinfo.read(), name)
    if service:
        groups.enter()
    groups.prepare()
    profiles.programs(), profiles.keepers()  # every payload is forked from here
    ended = stale.clear(groups)
    launcher = Launcher(connection, groups, listen(rest[0]) if rest else None)
    if rest:
        launcher.inherit(testament.take(rest[0]))
    # Inits are forked from here: what the collector never touches stays shared with them.
    gc.disable()
    gc.freeze()
    launcher.report = {
        "missing": groups.missing(),
        "hybrid": groups.layout.hybrid,
        "landlock": landlock.abi(),
        "unshifted": launcher.try_shifting(),
        "ended": ended,
        "cgroup": name,
        "placement": placing.report(groups),
    }
    launcher.tell_ready()
    if service:
        notify.tell("READY=1")
    launcher.run()
    groups.remove()


if __name__ == "__main__":
    main()
