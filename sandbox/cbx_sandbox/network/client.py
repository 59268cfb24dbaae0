"""The supervisor's side of the keeper: start it, order a relay for a job."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Sequence

from cbx_sandbox.errors import CbxError

_REQUEST_FD = 3


class KeeperClient:
    """A connection to one keeper process."""

    def __init__(self) -> None:
        """Start a keeper."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        with theirs:
            self.process = _spawn(theirs.fileno())
        self.socket = ours

    def relay(
        self,
        netns: int,
        pidfd: int,
        *,
        allow: Sequence[str],
        connections: int,
        bytes_per_second: int,
        publish: Sequence[tuple[socket.socket, int]] = (),
    ) -> socket.socket:
        """Order a relay; returns the socket that it answers on. Descriptors stay the caller's. Raises CbxError.

        ``publish``: listeners of the host's, and the port in the job's namespace that each leads to.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        order = {
            "allow": list(allow),
            "connections": connections,
            "bytes_per_second": bytes_per_second,
            "publish": [port for _, port in publish],
        }
        with theirs:
            fds = [netns, pidfd, theirs.fileno(), *(listener.fileno() for listener, _ in publish)]
            try:
                socket.send_fds(self.socket, [json.dumps(order).encode()], fds)
            except OSError as error:
                ours.close()
                raise CbxError(f"cannot reach the keeper of networks: {error}", hint="try again") from error
        ours.setblocking(False)
        return ours

    def close(self) -> None:
        """Let go: it ends, relays of running jobs do not."""
        self.socket.close()


def _spawn(fd: int) -> subprocess.Popen[bytes]:
    # As the launcher: nothing of the environment or of the working directory is trusted.
    code = f"""import os
os.dup2({fd}, {_REQUEST_FD})
from cbx_sandbox.network.keeper import main
main()"""
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code], pass_fds=(fd,), stdin=subprocess.DEVNULL, cwd="/", env={}
    )
