"""A second copy of the audit trail, in the system's journal: whoever writes to the database finds it there still.

A thread follows the table some moments behind; nobody waits for it. What was sent last is noted in a file, so an entry
is sent again after a crash rather than never. A host without journald has no second copy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable, Mapping

from cbx_supervisor.store import audit
from cbx_supervisor.store.database import Database

SOCKET = "/run/systemd/journal/socket"
SETTLE_SECONDS = 1.0  # many jobs end in this time, and are sent together
PAGE = 500
NOTICE = "5"  # syslog(3)


class Journal:
    """Sends each entry once its transaction is on disk."""

    def __init__(self, database: Database, marker: str, log: Callable[..., None], path: str = SOCKET) -> None:
        """``marker`` is the file with the number of the entry that was sent last; ``path`` journald's socket."""
        self._database = database
        self._marker = marker
        self._log = log
        self._path = path
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> bool:
        """Begin, if there is a journal; returns whether there is."""
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.stat(self._path).st_mode):
                self._thread = threading.Thread(target=self._follow, name="cbx-journal", daemon=True)
                self._thread.start()
        return self._thread is not None

    def stop(self) -> None:
        """Send what is left, and end."""
        if self._thread is not None:
            self._ending.set()
            self._database.committed.set()
            self._thread.join()

    def _follow(self) -> None:
        # What was written before this supervisor, too.
        while True:
            over = self._ending.is_set()
            self._database.committed.clear()
            try:
                self._send_new()
            except OSError as error:
                self._log("cannot write to the journal", error=str(error))
            if over:
                return
            self._database.committed.wait()
            self._ending.wait(SETTLE_SECONDS)

    def _send_new(self) -> None:
        last = self._sent()
        while entries := self._database.read(lambda c, after=last: audit.following(c, after=after, limit=PAGE)):  # type: ignore[misc]  # a default is how a loop's value is kept
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
                journal.connect(self._path)
                for entry in entries:
                    _send(journal, entry)
            last = int(str(entries[-1]["id"]))
            with open(self._marker, "w", encoding="ascii", opener=_private) as file:
                file.write(f"{last}\n")

    def _sent(self) -> int:
        with contextlib.suppress(OSError, ValueError), open(self._marker, encoding="ascii") as file:
            return int(file.read())
        return 0


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _send(journal: socket.socket, entry: Mapping[str, object]) -> None:
    try:
        journal.sendall(message(entry))
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        # The hash vouches for the rest, which is in the database.
        journal.sendall(message({**entry, "record": "(too long for the journal)"}))


def message(entry: Mapping[str, object]) -> bytes:
    """One datagram of journald's native protocol: each value with its length, so that it may hold anything."""
    fields = {
        "MESSAGE": f"audit entry {entry['id']}: {entry['action']} {entry['subject']}",
        "PRIORITY": NOTICE,
        "SYSLOG_IDENTIFIER": "cbx-audit",
        **{f"CBX_AUDIT_{name.upper()}": entry[name] for name in _NAMES},
    }
    parts = []
    for name, value in fields.items():
        data = ("" if value is None else str(value)).encode("utf-8", "backslashreplace")
        parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
    return b"".join(parts)


_NAMES = ("id", "at", "uid", "pid", "action", "subject", "record", "previous", "hash")
