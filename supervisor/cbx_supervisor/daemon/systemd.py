"""What the service manager and the daemon say to each other: ready, alive, and the sockets that were opened for it.

sd_notify(3) and sd_listen_fds(3) are a datagram and two variables; that needs no library.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from cbx_sandbox.linux import notify

FIRST_LISTENER = 3  # SD_LISTEN_FDS_START


class Manager:
    """The service manager that started this process, or nobody: then everything here does nothing."""

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        self._environment = environment
        self._pid = pid

    def ready(self) -> None:
        """The sockets are open, or what was to be read anew has been."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The configuration is being read anew; ``ready`` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The daemon is on its way out."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Work goes on; without this for a while the manager ends and restarts the daemon."""
        self._tell("WATCHDOG=1")

    def watchdog_seconds(self) -> float | None:
        """How often ``alive`` is due at the latest; None if nobody watches."""
        if self._environment.get("WATCHDOG_PID", str(self._pid)) != str(self._pid):
            return None
        text = self._environment.get("WATCHDOG_USEC", "")
        return int(text) / 1e6 if text.isdecimal() and int(text) else None

    def listeners(self) -> dict[str, socket.socket]:
        """The listening sockets that were passed, by the names that their units gave them."""
        count = self._environment.get("LISTEN_FDS", "")
        if self._environment.get("LISTEN_PID") != str(self._pid) or not count.isdecimal():
            return {}
        names = self._environment.get("LISTEN_FDNAMES", "").split(":")
        found = {}
        for fd, name in zip(range(FIRST_LISTENER, FIRST_LISTENER + int(count)), names, strict=False):
            os.set_inheritable(fd, False)
            found[name] = socket.socket(fileno=fd)
        return found

    def _tell(self, text: str) -> None:
        notify.tell(text, self._environment)
