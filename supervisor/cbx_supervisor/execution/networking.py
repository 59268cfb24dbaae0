"""Networks of jobs with an allowlist or published ports, for coroutines: a relay for each, from a keeper started once.

Imported when the first such job comes; others know nothing of it.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from cbx_sandbox.errors import CbxError, NotStartedError, UnavailableError
from cbx_sandbox.network.client import KeeperClient
from cbx_sandbox.policy import Policy, Published
from cbx_supervisor.model.result import NetworkUsage
from cbx_supervisor.settings import Settings

READY_SECONDS = 60.0
FIGURES_SECONDS = 10.0
_MESSAGE_BYTES = 1 << 17


class JobNetwork:
    """The relay of one job."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    async def ready(self) -> None:
        """Wait until the job's namespace leads to it. Raises CbxError."""
        answer = await self._hear(READY_SECONDS)
        if answer is None:
            raise NotStartedError(
                "cannot start the job: its network could not be made", hint="the daemon's log has why"
            )
        if answer["event"] == "failed":
            raise UnavailableError(answer["brief"], details=answer["details"], hint=answer["hint"])

    async def end(self) -> NetworkUsage | None:
        """End it, once the job has ended; returns its figures, None if it was lost."""
        try:
            self._control.send(b"end")
            answer = await self._hear(FIGURES_SECONDS)
            return None if answer is None else msgspec.convert(answer["figures"], NetworkUsage)
        except OSError:
            return None
        finally:
            self.close()

    def close(self) -> None:
        """Let go of it: it ends with the job."""
        self._control.close()

    async def _hear(self, patience: float) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(patience):
                data = await asyncio.get_running_loop().sock_recv(self._control, _MESSAGE_BYTES)
        except OSError:  # TimeoutError, too
            return None
        answer: dict[str, Any] | None = json.loads(data) if data else None
        return answer


class Networks:
    """The keeper, as long as it lives; another one after it."""

    def __init__(self) -> None:
        self._keeper: KeeperClient | None = None

    async def open(self, policy: Policy, pid: int, pidfd: int, settings: Settings) -> JobNetwork:
        """Give the job of init ``pid``, which waits for its order to start, its network. Raises CbxError."""
        if self._keeper is None or self._keeper.process.poll() is not None:
            self.close()
            self._keeper = KeeperClient()
        listeners = _listen(policy.publish)
        try:
            # Init waits: while its pidfd is open and it has not ended, /proc/PID is its own.
            netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                control = self._keeper.relay(
                    netns,
                    pidfd,
                    allow=policy.allow,
                    connections=settings.resources.network_connections_max,
                    bytes_per_second=settings.network.bandwidth_mbps * 125_000,
                    publish=[(listener, entry.port) for listener, entry in zip(listeners, policy.publish, strict=True)],
                )
            finally:
                os.close(netns)
        except OSError as error:
            raise NotStartedError(f"cannot start the job: its network is gone: {error.strerror}") from error
        finally:
            for listener in listeners:
                listener.close()
        network = JobNetwork(control)
        try:
            await network.ready()
        except BaseException:
            network.close()
            raise
        return network

    def close(self) -> None:
        """Let go of the keeper."""
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None


def _listen(published: Sequence[Published]) -> list[socket.socket]:
    made: list[socket.socket] = []
    try:
        for entry in published:
            family = socket.AF_INET6 if ":" in entry.host else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            made.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((entry.host, entry.host_port))
            listener.listen(64)
    except OSError as error:
        for listener in made:
            listener.close()
        where = f"{entry.host} port {entry.host_port}"
        other = "choose an address of this host" if error.errno == errno.EADDRNOTAVAIL else "choose another port"
        raise CbxError(f"cannot publish on {where}: {error.strerror}", hint=other) from error
    return made
