"""SQLite with one writer thread: whoever waits at the same moment shares one transaction and one fsync.

WAL with synchronous=FULL: when a write is acknowledged it is on disk. An operation that fails is rolled back alone; a
commit that fails (disk full) fails everything that was in it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

from cbx_sandbox.errors import CbxError
from cbx_supervisor.store.migrations import migrate, refuse_other

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], object]
Told = Callable[[object, BaseException | None], object]


class _Write(NamedTuple):
    operation: Operation
    wanted: Callable[[], bool]
    told: Told


GROUP = 256  # operations in one transaction at most: bounds what one of them waits for
BUSY_SECONDS = 10.0


def _connect(path: str, *, read_only: bool = False) -> sqlite3.Connection:
    flags = "mode=ro" if read_only else "mode=rwc"
    # The path may hold any character but NUL: escape it for the URI.
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(
        f"file:{quoted}?{flags}", uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    return connection


@contextlib.contextmanager
def looking(path: str) -> Iterator[sqlite3.Connection]:
    """The database as it is, for reading only. Raises CbxError: it is not there, or another release wrote it."""
    try:
        with contextlib.closing(_connect(path, read_only=True)) as connection:
            refuse_other(connection, path)
            yield connection
    except sqlite3.Error as error:
        raise CbxError(f"cannot read {path}: {error}") from error


class Database:
    """One file. ``write`` from any thread; ``read`` from one thread at a time each."""

    def __init__(self, path: str) -> None:
        """Open and migrate ``path``. Raises CbxError: unreadable, damaged, or written by a newer release."""
        self.path = path
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            self._writer = _connect(path)
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA synchronous = FULL")
            self._writer.execute("PRAGMA foreign_keys = ON")
            migrate(self._writer, path)
            self._reader = _connect(path, read_only=True)
        except (sqlite3.Error, OSError) as error:
            hint = "check the file and its disk; move it away to begin with an empty history"
            raise CbxError(f"cannot open {path}: {error}", hint=hint) from error
        self._reading = threading.Lock()
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._closed = False
        self.commits = 0
        self.committed = threading.Event()  # set with each transaction, for one who follows them
        self._thread = threading.Thread(target=self._write_forever, name="cbx-store", daemon=True)
        self._thread.start()

    def write(self, operation: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run ``operation`` in the next transaction; the future is done when that is on disk."""
        future: Future[T] = Future()

        def told(value: object, error: BaseException | None) -> None:
            if error is None:
                future.set_result(value)  # type: ignore[arg-type]  # what the operation has returned
            else:
                future.set_exception(error)

        # Once it is begun it cannot be cancelled.
        self.put(operation, future.set_running_or_notify_cancel, told)
        return future

    def put(self, operation: Operation, wanted: Callable[[], bool], told: Told) -> None:
        """The same for many callers: ``wanted`` is asked before it is begun, ``told`` called when it is on disk.

        Both in the writer's thread; whoever waits for several is told of one after the other.
        """
        if self._closed:
            told(None, CbxError(f"cannot write to {self.path}: it is closed"))
            return
        self._queue.put(_Write(operation, wanted, told))

    def read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``operation`` on the read-only connection, on what was committed last."""
        with self._reading:
            return operation(self._reader)

    def close(self) -> None:
        """Finish what was asked for and close."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        with self._reading:
            self._reader.close()
        with contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.close()

    def _write_forever(self) -> None:
        stop = False
        while not stop:
            batch: list[_Write] = []
            item = self._queue.get()
            while item is not None:
                if item.wanted():
                    batch.append(item)
                if len(batch) >= GROUP:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            stop = item is None
            if batch:
                self._transact(batch)

    def _transact(self, batch: list[_Write]) -> None:
        done: list[tuple[Told, object, BaseException | None]] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for write in batch:
                value, error = self._one(write.operation)
                done.append((write.told, value, error))
            self._writer.execute("COMMIT")
            self.commits += 1
            self.committed.set()
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            hint = "check the disk: is it full, or read-only?"
            failed = [own for _, _, own in done] + [None] * (len(batch) - len(done))
            for write, own in zip(batch, failed, strict=True):
                write.told(None, own or CbxError(f"cannot write to {self.path}: {error}", hint=hint))
            return
        for told, value, own in done:
            told(value, own)

    def _one(self, operation: Operation) -> tuple[object, BaseException | None]:
        self._writer.execute("SAVEPOINT one")
        try:
            value = operation(self._writer)
        except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to the one who asked
            self._writer.execute("ROLLBACK TO one")
            self._writer.execute("RELEASE one")
            return None, error
        self._writer.execute("RELEASE one")
        return value, None
