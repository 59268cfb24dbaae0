"""What somebody asked for, and the way back to them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Protocol

from cbx_sandbox.errors import CbxError
from cbx_sandbox.runner import Request
from cbx_supervisor.model.result import Result
from cbx_supervisor.scheduling.order import Importance


@dataclasses.dataclass(frozen=True, slots=True)
class Submission:
    """One request to run, as far as it is not the sandbox's business."""

    request: Request
    uid: int
    gid: int
    pid: int
    detached: bool = False
    interactive: bool = False  # a detached job keeps the stdin that was passed
    dry_run: bool = False
    lock_timeout: float | None = None
    after: tuple[int, ...] = ()  # jobs that must have succeeded
    retries: int | None = None  # how often it is tried again when that may help; None: as configured
    resources: tuple[tuple[str, int], ...] = ()  # that the configuration counts, and how many of each
    importance: Importance = Importance.NORMAL
    session: str | None = None  # whose jobs keep their order
    unordered: bool = False  # it keeps no order but that of ``after``
    terminal: tuple[int, int] | None = None  # rows and columns
    sudo_uid: int | None = None
    token: str | None = None  # by which the client of a foreground job finds it again
    again: bool = False  # it was sent before, and its supervisor went away
    transaction: int | None = None  # whose layers it works in
    view: int | None = None  # the checkpoint that it looks around in
    key: tuple[str, str] | None = None  # the submitter's name for this request, and the digest of what it asks for


class Descriptors:
    """The caller's descriptors by name; whoever holds this closes them, once.

    Not one by one: closing asks a file system, which may hang, so that is left to :meth:`Executor.close`.
    """

    def __init__(self, fds: Mapping[str, int]) -> None:
        self._fds = dict(fds)
        self._dropped: list[int] = []

    def __contains__(self, name: object) -> bool:
        return name in self._fds

    def __getitem__(self, name: str) -> int:
        return self._fds[name]

    def put(self, name: str, fd: int) -> None:
        """Add one, in place of the one of that name."""
        self.drop(name)
        self._fds[name] = fd

    def drop(self, name: str) -> None:
        """Leave one out, if it is there."""
        fd = self._fds.pop(name, None)
        if fd is not None:
            self._dropped.append(fd)

    def left_out(self) -> list[int]:
        """Give those away that were left out: they are the caller's to close."""
        fds = []
        # One by one, since two threads may ask: each gets what the other one does not, and nothing is closed twice.
        with contextlib.suppress(IndexError):
            while True:
                fds.append(self._dropped.pop())
        return fds

    def release(self) -> list[int]:
        """Give all of them away, those that were left out too: they are the caller's to close."""
        fds = []
        with contextlib.suppress(KeyError):
            while True:
                fds.append(self._fds.popitem()[1])
        return fds + self.left_out()


class Caller(Protocol):
    """Who waits for a job; every method returns at once, also when nobody listens any more."""

    def accepted(self, job: int) -> None:
        """The job is on disk."""

    def started(self, job: int) -> None:
        """Its command is started: what the caller passed has arrived."""

    def waiting(self, text: str) -> None:
        """It waits, and for whom."""

    def terminal(self, master: int) -> None:
        """Here is the master of its private terminal; still the executor's to close."""


class Nobody:
    """The caller of a job that nobody waits for."""

    def accepted(self, job: int) -> None:
        """Nobody listens."""

    def started(self, job: int) -> None:
        """Nobody listens."""

    def waiting(self, text: str) -> None:
        """Nobody listens."""

    def terminal(self, master: int) -> None:
        """Nobody listens."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """How it ended: the result, and the error if the job never came to run."""

    result: Result
    error: CbxError | None = None
