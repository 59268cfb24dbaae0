"""One caller at exec.sock: a framed request with its own descriptors, then frames both ways until the job's end.

asyncio's own socket calls lose descriptors, so this reads with recvmsg from a watcher. Whatever a caller sends, the
descriptors that came with it are closed on every way out.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cbx_sandbox.errors import CbxError, ConfirmationError, DeniedError, UsageError
from cbx_supervisor.daemon import descriptors as received
from cbx_supervisor.daemon import peers, requests
from cbx_supervisor.execution.live import LiveJob
from cbx_supervisor.execution.outcome import printable
from cbx_supervisor.execution.returning import Claim
from cbx_supervisor.execution.submission import Descriptors, Ending, Submission
from cbx_supervisor.model import result as results
from cbx_supervisor.model.result import Result
from cbx_supervisor.protocol import frame
from cbx_supervisor.store import audit

if TYPE_CHECKING:
    from cbx_supervisor.daemon.server_exec import ExecServer

READ_SIZE = 1 << 16
MAX_DESCRIPTORS = len(requests.DESCRIPTORS)
# Room for more than are allowed: too many must be seen and closed, not cut off by the kernel.
_ANCILLARY = socket.CMSG_SPACE(64 * 4)
MAX_UNSENT = 8 << 20  # a caller that does not read is hung up on
MAX_PARTING = 64  # so many at once; more are hung up on without a word
LINGER = 1.0  # s for a refused caller to finish its request and read why
_SIGNALS = frozenset({"INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH", "TSTP", "CONT"})


def _duplicate(submission: Submission) -> list[tuple[str, bytes]]:
    return [] if submission.again else [("duplicate", b"1")]


class Connection:
    """One caller. Also the executor's way back to it."""

    def __init__(self, server: ExecServer, accepted: socket.socket, peer: peers.Peer) -> None:
        self.peer = peer
        self._server = server
        self._socket = accepted
        self._loop = asyncio.get_running_loop()
        self._splitter = frame.Splitter()
        self._fds: list[int] = []
        self._live: LiveJob | None = None
        self._detached = False
        self._accepted = False
        self._requested = False
        self._open = True
        self._closing = False
        self._unsent: collections.deque[tuple[bytes, int | None]] = collections.deque()
        self._unsent_size = 0
        self._deadline: asyncio.TimerHandle | None = None

    def listen(self) -> None:
        """Read what it says, from now on: who calls has often said it by now."""
        if not self._closing:
            self._readable()
        if self._open:
            self._loop.add_reader(self._socket.fileno(), self._readable)
            if not self._requested:
                patience = self._server.executor.settings.timeouts.first_frame_seconds
                self._deadline = self._loop.call_later(patience, self._too_late)

    @property
    def parting(self) -> bool:
        """True once it was told its last word."""
        return self._closing

    # ── the executor's side ──

    def accepted(self, job: int) -> None:
        """The job is on disk."""
        self._say_accepted(job)
        if self._detached:
            self._finish()

    def started(self, job: int) -> None:
        """What it passed has arrived: it need not keep that for another supervisor."""
        if self._accepted:
            self._send([("kind", b"started")])
        else:
            self._say_accepted(job, ("started", b"1"))

    def _say_accepted(self, job: int, *more: tuple[str, bytes]) -> None:
        self._accepted = True
        self._send([("kind", b"accepted"), ("job", str(job).encode()), *more])

    def waiting(self, text: str) -> None:
        """It waits, and for whom."""
        self._send([("kind", b"waiting"), ("text", printable(text).replace("\0", "").encode())])

    def terminal(self, master: int) -> None:
        """Pass the master of the job's terminal on."""
        self._send([("kind", b"pty")], os.dup(master))

    def fail(self, error: CbxError, json: bytes = b"") -> None:
        """Say why nothing ran, and hang up."""
        text = printable(str(error)).replace("\0", "").encode()
        status = str(error.exit_status).encode()
        ask = [("ask", b"1")] if isinstance(error, ConfirmationError) else []
        self._send([("kind", b"error"), ("status", status), ("text", text), ("json", json), *ask])
        self._finish()

    def close(self) -> None:
        """The daemon ends: its jobs have ended before."""
        self._close()

    # ── reading ──

    def _readable(self) -> None:
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(READ_SIZE, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            self._hang_up()
            return
        self._fds += received.unpack(ancillary)
        if not data:
            self._hang_up()
            return
        if self._closing:
            self._close_fds()
            return
        try:
            if flags & socket.MSG_CTRUNC or len(self._fds) > MAX_DESCRIPTORS or (self._requested and self._fds):
                raise UsageError(f"cannot take the request: more than {MAX_DESCRIPTORS} descriptors, or too late")
            for payload in self._splitter.feed(data):
                self._handle(frame.decode(payload))
                if not self._open or self._closing:
                    return
        except CbxError as error:
            if isinstance(error, DeniedError):
                record = audit.denied(time.time(), "submission", self.peer.uid, self.peer.pid, error.brief)
                self._server.executor.writing.write_later(record)
            self._break(error)
        except (frame.FrameError, OSError) as error:
            self._break(UsageError(f"cannot take the request: {error}"))

    def _handle(self, fields: list[tuple[str, bytes]]) -> None:
        if not self._requested:
            self._wait_no_longer()
            self._requested = True
            self._begin(fields)
            return
        kind = dict(fields).get("kind")
        if self._live is None:
            return
        if kind == b"kill":
            self._live.kill()
        elif kind == b"signal":
            name = dict(fields).get("name", b"").decode("ascii", "replace")
            if name not in _SIGNALS:
                raise UsageError(f"cannot pass the signal {name[:20]} on")
            self._live.signal(name, signal.Signals["SIG" + name])
        else:
            raise UsageError("cannot take the frame: expected signal or kill")

    def _begin(self, raw: list[tuple[str, bytes]]) -> None:
        fds, self._fds = self._fds, []
        owned = received.Owned(fds)
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: self._close_files(owned.release()))
            fields = requests.Fields(raw)
            passed = owned.named(requests.names_of_descriptors(fields))
            stack.callback(lambda: self._close_files(passed.release()))
            submission = requests.submission(fields, self.peer, lambda right: self._server.may(self.peer, right))
            known = submission.again or submission.key is not None
            live = None if submission.dry_run or known else self._server.executor.submit(submission)
            if submission.detached:
                received.detach(passed, submission)
            stack.pop_all()
        self._detached = submission.detached
        self._live = live
        check = functools.partial(received.check, passed, submission)
        if live is not None:
            self._server.spawn(self._run(live, passed, check))
        elif submission.dry_run:
            self._server.spawn(self._describe(submission, passed, check))
        else:
            self._server.spawn(self._once(submission, passed, check))

    async def _once(self, submission: Submission, passed: Descriptors, check: Callable[[], None]) -> None:
        """Run what may be known already: its client has come back, or its key was used before."""
        returning = self._server.executor.returning
        try:
            found: LiveJob | Result | None = None
            if submission.again and submission.token is not None:
                found = await returning.find(submission.uid, submission.token)
            async with returning.alone([submission]):
                if found is None and submission.key is not None:
                    found = await returning.bound(submission)
                if found is None:
                    # Nothing is waited for between the last look and this, so nobody comes between.
                    self._live = self._server.executor.submit(submission)
        except CbxError as error:
            self._close_files(passed.release())
            self.fail(error)
            return
        if self._live is not None:
            await self._run(self._live, passed, check)
        else:
            assert found is not None
            await self._join(found, submission, passed, check)

    async def _join(
        self, found: LiveJob | Result, submission: Submission, passed: Descriptors, check: Callable[[], None]
    ) -> None:
        """Have the caller wait for a job that is known already."""
        if isinstance(found, Result):
            self._close_files(passed.release())
            self._say_accepted(found.job, ("started", b"1"), *_duplicate(submission))
            if submission.detached:
                self._finish()
            else:
                self._tell(Ending(found))
            return
        claim = Claim(submission, passed, self, check)
        if not (submission.again and self._server.executor.returning.claim(found, claim)):
            self._close_files(passed.release())
            self._say_accepted(found.number, ("started", b"1"), *_duplicate(submission))
        if submission.detached:
            self._finish()
            return
        if submission.again:
            # It is its own job again: signals reach it, and it ends with its caller.
            self._live = found
            if (master := found.take_terminal()) is not None:
                self._send([("kind", b"pty")], master)
        try:
            result = await asyncio.shield(found.result)
        except asyncio.CancelledError:
            self.fail(CbxError(f"cannot tell how job {found.number} ended", hint="the supervisor is ending"))
        else:
            self._tell(Ending(result))
        finally:
            self._live = None

    async def _describe(self, submission: Submission, passed: Descriptors, check: Callable[[], None]) -> None:
        try:
            described = await self._server.executor.planning.describe(submission, check)
        except CbxError as error:
            self._close_files(passed.release())
            self.fail(error)
        except Exception as error:  # noqa: BLE001  # a bug must not leave the caller waiting
            self._server.executor.log("internal error", error=repr(error))
            self._close_files(passed.release())
            self.fail(CbxError(f"internal error: {error!r}"))
        else:
            self._close_files(passed.release())
            self._send([("kind", b"result"), ("status", b"0"), ("line", b""), ("json", described)])
            self._finish()

    async def _run(self, live: LiveJob, passed: Descriptors, check: Callable[[], None]) -> None:
        try:
            ending = await self._server.executor.run(live, passed, self, check)
        except Exception as error:  # noqa: BLE001  # a bug must not leave the caller waiting
            self._server.executor.log("internal error", job=live.number, error=repr(error))
            self.fail(CbxError(f"internal error: {error!r}"))
        else:
            if ending is not None:
                self._tell(ending)
        finally:
            self._live = None

    def _tell(self, ending: Ending) -> None:
        json = results.encode(ending.result)
        if ending.error is not None:
            self.fail(ending.error, json)
            return
        result = ending.result
        line = result.message.replace("\0", "").replace("\n", " ").encode()
        self._send([("kind", b"result"), ("status", str(result.status).encode()), ("line", line), ("json", json)])
        self._finish()

    # ── writing ──

    def _send(self, fields: list[tuple[str, bytes]], fd: int | None = None) -> None:
        if not self._open or self._closing:
            if fd is not None:
                os.close(fd)
            return
        data = frame.encode(fields)
        self._unsent.append((data, fd))
        self._unsent_size += len(data)
        if len(self._unsent) == 1:
            self._flush()
        if self._open and self._unsent_size > MAX_UNSENT:
            self._hang_up()

    def _flush(self) -> None:
        while self._unsent:
            data, fd = self._unsent[0]
            try:
                sent = socket.send_fds(self._socket, [data], [] if fd is None else [fd])
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._writable)
                return
            except OSError:
                self._hang_up()
                return
            if fd is not None:
                os.close(fd)
            self._unsent_size -= sent
            if sent < len(data):
                self._unsent[0] = (data[sent:], None)
            else:
                self._unsent.popleft()

    def _writable(self) -> None:
        self._flush()
        if self._open and not self._unsent:
            self._loop.remove_writer(self._socket.fileno())
            if self._closing:
                self._part()

    # ── the end ──

    def _finish(self) -> None:
        """Hang up once everything was sent."""
        if not self._closing:
            self._closing = True
            self._server.parts(self)
        if self._open and not self._unsent:
            self._part()

    def _part(self) -> None:
        if self._requested or sum(1 for other in self._server.connections if other.parting) > MAX_PARTING:
            self._close()
            return
        # Closing a socket with unread data throws away what was sent: let the caller finish, and read the reason.
        self._requested = True
        self._wait_no_longer()
        self._deadline = self._loop.call_later(LINGER, self._close)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _hang_up(self) -> None:
        """The caller is gone: so is its job, unless it is detached. Its lease says the same to init."""
        self._abandon()
        self._close()

    def _break(self, error: CbxError) -> None:
        """The caller does not keep to the protocol: it is told, and treated like one that is gone."""
        self._close_fds()
        self._abandon()
        self.fail(error)

    def _abandon(self) -> None:
        if self._live is not None and not self._detached:
            self._live.stop()

    def _wait_no_longer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self.fail(UsageError("cannot wait longer for the request"))

    def _close_fds(self) -> None:
        fds, self._fds = self._fds, []
        self._close_files(fds)

    def _close_files(self, fds: list[int]) -> None:
        self._server.executor.files.close(fds, self.peer.uid)

    def _close(self) -> None:
        if not self._open:
            return
        self._open = False
        if not self._closing:
            self._closing = True
            self._server.parts(self)
        self._wait_no_longer()
        self._loop.remove_reader(self._socket.fileno())
        if self._unsent:
            self._loop.remove_writer(self._socket.fileno())
        if self._fds:
            self._close_fds()
        for _, fd in self._unsent:
            if fd is not None:
                os.close(fd)
        self._unsent.clear()
        self._socket.close()
        self._server.gone(self)
