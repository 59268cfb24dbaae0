"""What the command of one job reads, as the kernel tells it: watched by init, for jobs that are to be looked at.

The kernel only tells, after the fact: nobody waits for init, and where it is too slow events are lost, which is said.
Descriptors in the events keep files open, so the group is closed before overlays are taken down.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Sequence

from cbx_sandbox.linux import fanotify

# Closed without having been open for writing: was read, or mapped. Of what was open for both only reads are told.
MASK = fanotify.ACCESS | fanotify.CLOSE_NOWRITE | fanotify.OPEN_EXEC | fanotify.ONDIR
MOST_PATHS, MOST_DIRECTORIES = 2000, 500
MOST_BYTES = 256 << 10  # of the names of each
_LAST = 1 << 16  # events that are read when all is over: more than a queue holds

# What nearly every program reads before its own work begins: counted, not listed.
SYSTEM = ("/usr/", "/lib/", "/lib32/", "/lib64/", "/bin/", "/sbin/", "/etc/alternatives/", "/etc/ssl/certs/")
SYSTEM_FILES = frozenset(
    "/usr /etc/gai.conf /etc/group /etc/host.conf /etc/hosts /etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.preload"
    " /etc/locale.alias /etc/localtime /etc/networks /etc/nsswitch.conf /etc/passwd /etc/protocols /etc/resolv.conf"
    " /etc/services /etc/ssl/openssl.cnf /etc/timezone".split()
)


class Names:
    """Paths, each once, at most so many: beyond that the directories of the rest, and beyond that nothing."""

    def __init__(self) -> None:
        self.paths: dict[str, None] = {}
        self.directories: dict[str, None] = {}
        self.system: set[str] = set()
        self.overflowed = False
        self._left = [MOST_BYTES, MOST_BYTES]

    def add(self, path: str, *, directory: bool) -> None:
        """One path that was read; a directory, whose names were read, gets a slash at its end."""
        name = path.rstrip("/") + "/" if directory else path
        if path in SYSTEM_FILES or path.startswith(SYSTEM):
            if len(self.system) < MOST_PATHS:
                self.system.add(path)
        elif name not in self.paths and not self._kept(0, self.paths, name, MOST_PATHS):
            above = path if directory else os.path.dirname(path)
            if above not in self.directories and not self._kept(1, self.directories, above, MOST_DIRECTORIES):
                self.overflowed = True

    def _kept(self, which: int, names: dict[str, None], name: str, most: int) -> bool:
        size = len(os.fsencode(name))
        if len(names) >= most or size > self._left[which]:
            return False
        self._left[which] -= size
        names[name] = None
        return True


class ReadWatch:
    """The reads of one job. Nothing here raises: a job that cannot be looked at runs all the same."""

    def __init__(self, report: int, mounts: Sequence[str]) -> None:
        """Watch what is read through the mounts at these paths; ``report`` is where it is written in the end."""
        self.report = report
        self.names = Names()
        self.why = ""  # something is missing
        self.begun = False  # the command is executed: what was read before was not read by it
        self.group = -1
        self.watched = False
        try:
            self.group = fanotify.group()
            for path in mounts:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it is hidden in this box
                    fanotify.mark_mount(self.group, path, MASK)
            self.watched = True
        except OSError as error:
            self.why = f"{error.strerror}"
            self._close()

    def take(self, command: int) -> None:
        """Take some of what has happened; ``command`` is the process that becomes the command."""
        try:
            events = fanotify.read(self.group)
        except BlockingIOError:
            return  # nothing is there, or a file that must not be opened now
        except OSError as error:
            self._lost(f"a file could not be opened again: {error.strerror}")
            return
        for event in events:
            if event.fd < 0:
                self._lost("more was read at once than the kernel keeps")
                continue
            try:
                self._add(event, command)
            except OSError as error:
                self._lost(f"a path could not be told: {error.strerror}")
            finally:
                os.close(event.fd)

    def _lost(self, why: str) -> None:
        """Events are missing; that the command was executed may be one of them."""
        self.why = self.why or why
        self.begun = True

    def _add(self, event: fanotify.Event, command: int) -> None:
        if event.pid == os.getpid():
            return
        if event.pid == command and not self.begun:
            if not event.mask & fanotify.OPEN_EXEC:
                return
            self.begun = True
        status = os.fstat(event.fd)
        directory = stat.S_ISDIR(status.st_mode)
        # Opened and not listed, as by who only wants to go there.
        if status.st_nlink and not (directory and not event.mask & fanotify.ACCESS):
            path = os.readlink(f"/proc/self/fd/{event.fd}")
            if path.startswith("/"):
                self.names.add(path, directory=directory)

    def finish(self, command: int) -> None:
        """All processes are dead: take the rest, let go of the files, and write the report."""
        for _ in range(_LAST):
            if self.group < 0 or not self._more():
                break
            self.take(command)
        self._close()
        found = self.names
        if found.overflowed:
            self.why = self.why or "more was read than is kept"
        text = json.dumps(
            {
                "paths": list(found.paths),
                "directories": list(found.directories),
                "system": len(found.system),
                "why": self.why,
                "watched": self.watched,
            }
        )
        with contextlib.suppress(OSError):  # then it says nothing, which is told
            os.write(self.report, text.encode())

    def _more(self) -> bool:
        try:
            return fanotify.pending(self.group)
        except OSError:
            return False

    def _close(self) -> None:
        if self.group >= 0:
            os.close(self.group)
            self.group = -1
