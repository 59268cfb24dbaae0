"""Clients that are forked from one process that has imported them: in the guest a Python takes seconds to start.

Executed as a script it is that process: ``preloaded.py FD``, a socket by which it is asked for clients, one message
each: the arguments and the environment as JSON, stdout, stderr, and a socket that is told the client's pidfd and, at
its end, its status.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import traceback

LONGEST = 1 << 16


class Clients:
    """The process that they are forked from, called as campaign.Client is."""

    def __init__(self, environment=None):
        """``environment`` is that of all clients; without one :meth:`of` says it."""
        self._environment = environment
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-I", __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )

    def of(self, environment):
        """The same, for clients with this environment."""
        found = copy.copy(self)
        found._environment = environment
        return found

    def begun(self, *arguments, stdout=subprocess.PIPE):
        told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  # the client's, closed with it
        shown = {subprocess.PIPE: out.fileno(), subprocess.DEVNULL: os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)}
        fds = [stdout.fileno() if hasattr(stdout, "fileno") else shown[stdout], err.fileno(), theirs.fileno()]
        with theirs:
            socket.send_fds(self._socket, [json.dumps([arguments, self._environment]).encode()], fds)
        os.close(shown[subprocess.DEVNULL])
        return Running(told, out, err)

    def __call__(self, *arguments, stdout=subprocess.PIPE):
        process = self.begun(*arguments, stdout=stdout)
        out, said = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, out, said)

    def close(self):
        """No more of them; those that run go on."""
        self._socket.close()
        self._process.wait()


class Running:
    """One client, as subprocess.Popen has it."""

    def __init__(self, told, out, err):
        self.returncode = None
        self._told, self._out, self._err = told, out, err
        _, (self._pidfd,), _, _ = socket.recv_fds(told, 16, 1, socket.MSG_CMSG_CLOEXEC)

    def kill(self):
        """At once, if it has not ended by itself."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def communicate(self, timeout=None):
        """What it said. Raises TimeoutExpired."""
        self._told.settimeout(timeout)
        try:
            self.returncode = int(self._told.recv(16))
        except TimeoutError:
            raise subprocess.TimeoutExpired("client", timeout) from None
        os.close(self._pidfd)
        self._told.close()
        with self._out, self._err:
            for file in (self._out, self._err):
                file.seek(0)
            return self._out.read().decode(), self._err.read().decode()


def main():
    """Fork one client for each message, until there is nobody to send one."""
    from cbx_supervisor.cli import main as cli  # noqa: PLC0415
    from cbx_supervisor.cli.commands import cancel, logs, status, submit, wait  # noqa: F401, PLC0415
    from cbx_supervisor.client import run  # noqa: PLC0415

    asked = socket.socket(fileno=int(sys.argv[1]))
    with selectors.DefaultSelector() as selector:
        selector.register(asked, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    data, fds, _, _ = socket.recv_fds(asked, LONGEST, 3, socket.MSG_CMSG_CLOEXEC)
                    if not data:
                        return
                    _fork(selector, asked, *json.loads(data), fds, run, cli)
                else:
                    selector.unregister(key.fd)
                    _tell(key.fd, *key.data)


def _fork(selector, asked, arguments, environment, fds, run, cli):
    out, err, tell = fds
    pid = os.fork()
    if pid == 0:
        status = 125
        try:
            asked.close()
            os.close(selector.fileno())
            os.dup2(out, 1)
            os.dup2(err, 2)
            for fd in fds:
                os.close(fd)
            os.environ.clear()
            os.environ.update(environment)
            status = run.status_of(arguments[1:]) if arguments[0] == "run" else cli.status_of(arguments)
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:  # noqa: BLE001  # it must not go on as the process that it was forked from
            os.write(2, traceback.format_exc().encode())
        os._exit(status)
    os.close(out)
    os.close(err)
    pidfd = os.pidfd_open(pid)
    socket.send_fds(told := socket.socket(fileno=tell), [b"begun"], [pidfd])
    selector.register(pidfd, selectors.EVENT_READ, (pid, told))


def _tell(pidfd, pid, told):
    _, ended = os.waitpid(pid, 0)
    os.close(pidfd)
    with told, contextlib.suppress(OSError):  # nobody may wait for it
        told.send(str(os.waitstatus_to_exitcode(ended)).encode())


if __name__ == "__main__":
    main()
