"""The host's end of the agent's port: requests out, their answers sorted by request."""

import base64
import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Message = dict[str, Any]
CHUNK = 192 * 1024
HEARTBEAT = 120.0  # seconds: a guest that does nothing else, or too much, still answers a ping within that


class GuestLost(Exception):  # noqa: N818 - a state of the guest, and how tests on power cuts read it
    """The guest does not answer: it panicked, hangs, was killed, or QEMU ended."""


class AgentError(Exception):
    """The agent could not do what it was asked for."""


class AgentClient:
    """May be used by several threads: each request has a queue of its own."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._lock = threading.Lock()
        self._answers: dict[int, queue.Queue[Message]] = {}
        self._count = 0
        self._gone = False
        threading.Thread(target=self._receive, name="agent", daemon=True).start()

    def _receive(self) -> None:
        with contextlib.suppress(OSError), self._socket.makefile("rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # half a line, from before a power cut
                    message = json.loads(line)
                    if answers := self._answers.get(message.get("id")):
                        answers.put(message)
        with self._lock:
            self._gone = True
            for answers in self._answers.values():
                answers.put({"gone": True})

    def request(self, op: str, *, silence: float, **arguments: object) -> Iterator[Message]:
        """Yield the answers to a request, the last one with "done"; `silence` is the longest wait for one."""
        answers: queue.Queue[Message] = queue.Queue()
        with self._lock:
            if self._gone:
                raise GuestLost("the guest is gone")
            self._count += 1
            number = self._count
            self._answers[number] = answers
            try:
                self._socket.sendall(json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n")
            except OSError as error:
                raise GuestLost(f"the guest is gone: {error}") from error
        try:
            while True:
                message = self._next(answers, silence)
                if "gone" in message:
                    raise GuestLost(f"the guest went away during {op}")
                if "error" in message:
                    raise AgentError(f"{op}: {message['error']}")
                yield message
                if "done" in message:
                    return
        except queue.Empty:
            raise GuestLost(f"no answer to {op} within {silence:.0f} s") from None
        finally:
            del self._answers[number]

    def _next(self, answers: queue.Queue[Message], timeout: float) -> Message:
        """Wait for an answer; in a long silence ask whether the guest is alive, for a panic is silent too."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > HEARTBEAT:
            with contextlib.suppress(queue.Empty):
                return answers.get(timeout=HEARTBEAT)
            self.ping(timeout=HEARTBEAT)
        return answers.get(timeout=max(left, 0))

    def ping(self, *, timeout: float) -> None:
        for _ in self.request("ping", silence=timeout):
            pass

    def wait_ready(self, *, timeout: float) -> None:
        """Ask again and again: a request made while the guest boots can be lost with a port that is not open yet."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.ping(timeout=max(0.1, min(2.0, deadline - time.monotonic())))
            except GuestLost:
                if self._gone or time.monotonic() > deadline:
                    raise

    def put(self, data: bytes, path: str, *, mode: int, timeout: float) -> None:
        chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)] or [b""]
        for index, chunk in enumerate(chunks):
            encoded = base64.b64encode(chunk).decode()
            for _ in self.request("put", silence=timeout, path=path, data=encoded, append=index > 0, mode=mode):
                pass

    def get(self, path: str, *, timeout: float) -> bytes:
        answers = self.request("get", silence=timeout, path=path)
        return b"".join(base64.b64decode(message["data"]) for message in answers if "data" in message)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
