"""The launcher and the inits, for coroutines: one watcher of the launcher's socket, one of each job's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from cbx_sandbox.box.launcher_client import (
    Adopted,
    Control,
    Ended,
    Failed,
    LauncherClient,
    Ready,
    Reaped,
    Started,
    Terminal,
)
from cbx_sandbox.box.outcome import Outcome
from cbx_sandbox.box.spec import BoxSpec
from cbx_sandbox.errors import CbxError

RECORDED = Outcome.__annotations__.keys() - {"failure"}  # what every exit record has
REAP_SECONDS = 5.0  # from init's record to the removal of its groups
LOOK_SECONDS = 2.0  # between two looks at whether a job has stopped its init


class Launching:
    """One launcher process and the jobs that it started."""

    def __init__(self, client: LauncherClient, on_lost: Callable[[], None]) -> None:
        self.ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self.client = client
        self.adopted: dict[str, Adopted] = {}  # what an earlier supervisor's launcher still runs; known when ready
        self._starts: dict[str, asyncio.Future[Started | Failed]] = {}
        self._ends: dict[str, asyncio.Future[Reaped]] = {}
        self._on_lost = on_lost
        asyncio.get_running_loop().add_reader(client.fileno(), self._receive)

    def recovered(self) -> None:
        """Tell the launcher that all jobs of launchers before it are decided on."""
        with contextlib.suppress(OSError):  # it has ended, which is found out when it is listened to
            self.client.recovered()

    async def start(self, spec: BoxSpec, fds: Sequence[int]) -> Started:
        """Start one job. Raises CbxError: it was not started, and nothing of it is left."""
        job = spec["job"]
        loop = asyncio.get_running_loop()
        answer = self._starts[job] = loop.create_future()
        self._ends[job] = loop.create_future()
        try:
            self.client.launch(spec, list(fds))
            # Once asked it happens: the descriptors of "started" must not get lost with a cancelled waiter.
            event: Started | Failed = await asyncio.shield(answer)
        except OSError as error:
            del self._ends[job]
            raise CbxError(f"cannot reach the launcher: {error.strerror}", hint="restart the supervisor") from error
        finally:
            del self._starts[job]
        if isinstance(event, Failed):
            del self._ends[job]
            raise CbxError(f"cannot start the job: {event.text}", hint="`cbx-sandbox doctor` tries what this host can")
        return event

    async def reaped(self, job: str) -> list[str]:
        """Wait until the launcher has removed the job's groups; returns those that it could not remove.

        Of a job whose init ended before this supervisor came, nobody is told any more.
        """
        if job not in self._ends:
            return []
        try:
            return (await asyncio.wait_for(self._ends[job], REAP_SECONDS)).leaks
        except TimeoutError:
            return [f"cgroup of job {job}"]
        finally:
            del self._ends[job]

    def close(self) -> None:
        """Let go of the launcher: it ends after its last job."""
        asyncio.get_running_loop().remove_reader(self.client.fileno())
        self.client.close()

    def _receive(self) -> None:
        try:
            while (event := self.client.receive()) is not None:
                self._handle(event)
        except (CbxError, OSError):
            asyncio.get_running_loop().remove_reader(self.client.fileno())
            error = CbxError("the launcher has ended", hint="restart the supervisor; its log says why")
            futures: list[asyncio.Future[Any]] = [self.ready, *self._starts.values(), *self._ends.values()]
            for future in futures:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # looked at: nobody may be waiting for it
            self._on_lost()

    def _handle(self, event: Ready | Started | Failed | Reaped) -> None:
        match event:
            case Ready():
                self.ready.set_result(event)
            case Adopted():
                self.adopted[event.job] = event
                self._ends[event.job] = asyncio.get_running_loop().create_future()
            case Reaped():
                ended = self._ends.get(event.job)
                if ended is not None and not ended.done():
                    ended.set_result(event)
            case Started() | Failed():
                answer = self._starts.get(event.job)
                if answer is not None and not answer.done():
                    answer.set_result(event)
                elif isinstance(event, Started):
                    # Nobody asked any more: end it, its descriptors would stay open for ever.
                    call_off(event)


def call_off(started: Started) -> None:
    """End a job that nobody wants."""
    control = Control(started.control)
    control.kill()
    control.close()
    os.close(started.pidfd)


class Init:
    """One job's init: what it says, and orders to it."""

    def __init__(self, started: Started, record: str, on_terminal: Callable[[int], None]) -> None:
        self.pid = started.pid
        self.missing = started.missing
        self.control = Control(started.control)
        self.pidfd = started.pidfd
        self.closed = False
        self._record = record
        self._on_terminal = on_terminal
        self._loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[Outcome | None] = self._loop.create_future()
        self._loop.add_reader(self.control.fileno(), self._receive)

    @property
    def over(self) -> bool:
        """True once it has said how the job ended, or is gone."""
        return self._outcome.done()

    async def outcome(self) -> Outcome | None:
        """The end: as init reported it, else as its record says, else None (lost)."""
        return await asyncio.shield(self._outcome)

    def keep_going(self, every: float = LOOK_SECONDS) -> None:
        """Let no job stop it for long: root's can that share the host's processes, and would outlast every limit.

        It is let go on; where it is stopped again ``every`` seconds later, it is killed, and the launcher ends the job.
        """
        self._loop.call_later(every, self._look, every, signal.SIGCONT)

    def _look(self, every: float, remedy: signal.Signals) -> None:
        if self.closed or self.over:
            return
        stopped = _state(self.pid) == b"T"
        if stopped:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, remedy)
        self._loop.call_later(every, self._look, every, signal.SIGKILL if stopped else signal.SIGCONT)

    def close(self) -> None:
        """Stop watching."""
        self.closed = True
        self._loop.remove_reader(self.control.fileno())
        self.control.close()
        os.close(self.pidfd)

    def _receive(self) -> None:
        try:
            while (message := self.control.receive()) is not None:
                match message:
                    case Terminal(master):
                        try:
                            self._on_terminal(master)
                        finally:
                            os.close(master)
                    case Ended(outcome):
                        self._finish(outcome)
                        return
        except (EOFError, OSError, ValueError, KeyError):
            self._finish(read_record(self._record))

    def _finish(self, outcome: Outcome | None) -> None:
        self._loop.remove_reader(self.control.fileno())
        if not self._outcome.done():
            self._outcome.set_result(outcome)


def read_record(path: str) -> Outcome | None:
    """The exit record of a job; None if init did not come to write it whole: half of one says nothing."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        outcome: Outcome = json.load(file)
        if isinstance(outcome, dict) and outcome.keys() >= RECORDED:
            return outcome
    return None


def process_start(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: tells it from a later one of the same number (proc(5))."""
    try:
        return int(_status(pid)[19])
    except (OSError, ValueError, IndexError):
        return None


def _state(pid: int) -> bytes:
    """In one letter; empty if there is no such process any more."""
    try:
        return _status(pid)[0]
    except (OSError, IndexError):
        return b""


def _status(pid: int) -> list[bytes]:
    """What follows a process's name in its line of status (proc(5))."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()
