"""The nursery: a process that makes boxes in waiting beside the launcher, on another core if there is one.

Its children are the launcher's (CLONE_PARENT): that one hands them jobs and reaps them. So the launcher forks rarely,
and what it has in memory is not copied page by page after each fork.
"""

from __future__ import annotations

import json
import os
import signal
import socket

from cbx_sandbox.box import cgroup, init, spare
from cbx_sandbox.box.spec import LimitSpec
from cbx_sandbox.linux import files, mounts, namespaces

FLAGS = (
    namespaces.CLONE_NEWNS
    | namespaces.CLONE_NEWPID
    | namespaces.CLONE_NEWIPC
    | namespaces.CLONE_NEWUTS
    | namespaces.CLONE_NEWNET
    | namespaces.CLONE_PARENT
)
ORDER_BYTES = 1 << 16


class Nursery:
    """The nursery, seen from the launcher."""

    def __init__(self, groups: cgroup.Groups, last_capability: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self.pid, pidfd = namespaces.clone3()
        if self.pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                files.close_others({theirs.fileno()})
                _serve(theirs, groups, last_capability)
            finally:
                os._exit(1)
        os.close(pidfd)
        theirs.close()
        self.socket = ours

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self.socket.fileno()

    def order(self, built: spare.Operations, limits: LimitSpec | None) -> None:
        """Ask for a spare with these operations done and limits set. Raises OSError when the nursery is gone."""
        self.socket.send(json.dumps({"built": built, "limits": limits}).encode())

    def receive(self) -> spare.Born | str:
        """What became of the oldest order: a spare, or why there is none. Raises EOFError when the nursery is gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, ORDER_BYTES, 2, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            raise EOFError from None
        if not data:
            raise EOFError
        message = json.loads(data)
        if "error" in message:
            return str(message["error"])
        return spare.Born(message["name"], message["pid"], message["missing"], fds[1], socket.socket(fileno=fds[0]))

    def close(self) -> None:
        """Let it go: it ends after the order that it works on."""
        self.socket.close()


def _serve(connection: socket.socket, groups: cgroup.Groups, last_capability: int) -> None:
    made = 0
    while order := connection.recv(ORDER_BYTES):
        made += 1
        wanted = json.loads(order)
        group = cgroup.JobGroup(groups, f"{spare.NAME}{made}")
        try:
            group.make()
            if wanted["limits"] is not None:
                group.limit(wanted["limits"])
            _bear(connection, wanted["built"], group, last_capability)
        except OSError as error:
            group.close()
            group.remove()
            connection.send(json.dumps({"error": str(error)}).encode())
        else:
            group.close()
    os._exit(0)


def _bear(connection: socket.socket, built: spare.Operations, group: cgroup.JobGroup, last_capability: int) -> None:
    tree = mounts.open_tree("", dir_fd=group.payload)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    with ours, theirs:
        pid, pidfd = namespaces.clone3(FLAGS, group.init)
        if pid == 0:
            try:
                files.close_others({theirs.fileno(), tree, *group.descriptors})
                ours.detach()
                connection.detach()
                init.wait(theirs, built, group, tree, last_capability)
            except OSError as error:
                os.write(2, f"launcher: cannot build a box ahead: {error}\n".encode())
            finally:
                os._exit(1)
        message = json.dumps({"name": os.path.basename(group.path), "pid": pid, "missing": group.missing}).encode()
        try:
            socket.send_fds(connection, [message], [ours.fileno(), pidfd])
        finally:
            os.close(pidfd)
            os.close(tree)
