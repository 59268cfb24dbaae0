"""QEMU's control socket."""

import json
import socket
import time
from pathlib import Path
from typing import Any


class QmpError(Exception):
    """QEMU refused a command."""


class Qmp:
    """Commands go in order from one thread; events are kept, for tests that look for one."""

    def __init__(self, path: Path, *, timeout: float = 30) -> None:
        self.events: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + timeout
        while self._socket.connect_ex(str(path)):
            if time.monotonic() > deadline:
                raise QmpError(f"no control socket at {path}")
            time.sleep(0.02)
        self._file = self._socket.makefile("rwb", buffering=0)
        self._file.readline()  # the greeting
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: object) -> Any:
        self._file.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while line := self._file.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise QmpError(f"{name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self.events.append(answer)
        raise QmpError(f"{name}: the machine is gone")

    def close(self) -> None:
        self._file.close()
        self._socket.close()
