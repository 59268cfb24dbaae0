"""exec.sock: who is let in, how many at once, and the connections that are open."""

from __future__ import annotations

import asyncio
import collections
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from cbx_sandbox.errors import CbxError, NotStartedError
from cbx_supervisor.daemon import peers
from cbx_supervisor.daemon.connection import Connection
from cbx_supervisor.execution.executor import Executor
from cbx_supervisor.model.roles import Right

BACKLOG = 512
MAX_HANGING = 64  # files of one caller that cannot be closed, because their file systems do not answer


class ExecServer:
    """The listening socket and the connections."""

    def __init__(
        self,
        listener: socket.socket,
        executor: Executor,
        *,
        on_activity: Callable[[], None],
        may: Callable[[peers.Peer, Right], bool],
    ) -> None:
        self.executor = executor
        self.may = may
        self.connections: set[Connection] = set()
        self._served: collections.Counter[int] = collections.Counter()  # each user's, but those that part
        self._served_users = 0  # of them, not root's
        self._on_activity = on_activity
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self.listen(listener)

    def listen(self, listener: socket.socket) -> None:
        """Take connections from ``listener`` from now on."""
        self.listener = listener
        listener.setblocking(False)
        self._loop.add_reader(listener.fileno(), self.accept)

    def accept(self) -> None:
        """Take all connections that wait."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # EMFILE and the like: the connection stays in the backlog; try again when something was closed.
                self.executor.log("cannot accept", error=str(error))
                self._loop.remove_reader(self.listener.fileno())
                self._loop.call_later(0.5, self._listen_again)
                return
            self._welcome(connection)

    def close_listener(self) -> None:
        """Take no more connections."""
        if self.listener.fileno() >= 0:
            self._loop.remove_reader(self.listener.fileno())
            self.listener.close()

    def close(self) -> None:
        """Take no more connections, hang up on those that have nothing to wait for."""
        self.close_listener()
        for connection in tuple(self.connections):
            connection.close()

    def parts(self, connection: Connection) -> None:
        """A connection is told its last word: it takes no room any more."""
        uid = connection.peer.uid
        self._served[uid] -= 1
        if not self._served[uid]:
            del self._served[uid]
        self._served_users -= uid != 0

    def gone(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        self._on_activity()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` until it is done, whoever hangs up meanwhile."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _listen_again(self) -> None:
        if self.listener.fileno() >= 0:
            self._loop.add_reader(self.listener.fileno(), self.accept)

    def _welcome(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        try:
            peer = peers.credentials(accepted)
        except OSError:
            accepted.close()
            return
        connection = Connection(self, accepted, peer)
        self.connections.add(connection)
        self._served[peer.uid] += 1
        self._served_users += peer.uid != 0
        self._on_activity()
        try:
            self._check_room(peer)
            peers.refuse_jobs(accepted, peer, self.executor.paths.cgroup)
        except CbxError as error:
            if isinstance(error, peers.FromJobError):
                self.executor.incidents.called_from(error.group, peer.pid)
            connection.fail(error)
        except BaseException:
            connection.close()  # who was not looked at is not served
            raise
        connection.listen()

    def _check_room(self, peer: peers.Peer) -> None:
        access = self.executor.settings.access
        # Users take no room from root, and those who are being refused none from anybody.
        mine, users = self._served[peer.uid], self._served_users
        most = access.connections_max if peer.uid == 0 else access.connections_per_user_max
        if mine > most or (peer.uid != 0 and users > access.connections_max):
            raise NotStartedError("cannot serve this connection: too many are open", hint="try again later")
        if self.executor.files.closing(peer.uid) > MAX_HANGING:
            raise NotStartedError("cannot serve this connection: too many of your files hang", hint="try again later")
