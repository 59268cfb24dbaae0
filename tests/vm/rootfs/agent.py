#!/usr/bin/python3
"""The guest's end of the harness: carries out requests that arrive on a virtio-serial port.

Not ssh, because tests cut the network, fill the process table and break PAM; a serial port outlives all of that.
One JSON object a line each way, each request in a thread of its own, so that a hung command does not block a probe:

    {"id": 1, "op": "run", "argv": [...], "env": {...}, "cwd": "/", "timeout": 5, "channel": true}
    {"id": 2, "op": "put", "path": "/x", "data": "<base64>", "append": false, "mode": 420}
    {"id": 3, "op": "get", "path": "/x"}
    {"id": 4, "op": "ping"}
    {"id": 5, "op": "resume", "time": 1700000000.0, "entropy": "<base64>"}

Each is answered by any number of {"id", "out": text} (a command's output), {"id", "line": text} (what it wrote to its
channel) and {"id", "data": base64}, then by exactly one {"id", "done": status} or {"id", "error": text}.
"""

import base64
import codecs
import contextlib
import fcntl
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

Request = dict[str, Any]
CHUNK = 48 * 1024
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207  # linux/random.h
LINGER = 0.3  # seconds in which what a dead command left in its pipe is read; a child of its may hold the pipe for ever


class Port:
    """The serial port, written to by many threads."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        rest = memoryview(json.dumps(message).encode() + b"\n")
        with self._lock:
            while rest:
                rest = rest[os.write(self.fd, rest) :]

    def requests(self):
        pending = b""
        while True:
            chunk = os.read(self.fd, 65536)
            if not chunk:  # nobody holds the host's end yet
                time.sleep(0.05)
                continue
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):  # the tail of a request that a restart cut in two
                    yield json.loads(line)


def run(request: Request, reply: Callable[..., None]) -> int:
    """Start the command and pass on what it says until it ends; 124 says that its time was up, as timeout(1) does."""
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    pipes = {out_read: "out"}
    env = {**os.environ, "HOME": "/root", "LANG": "C.UTF-8", **request.get("env", {})}
    pass_fds: tuple[int, ...] = ()
    if request.get("channel"):
        channel_read, channel_write = os.pipe2(os.O_CLOEXEC)
        pipes[channel_read] = "line"
        pass_fds = (channel_write,)
        env["CBX_AGENT_CHANNEL"] = str(channel_write)
    try:
        process = subprocess.Popen(
            request["argv"],
            cwd=request.get("cwd", "/root"),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out_write,
            stderr=out_write,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except BaseException:
        for fd in pipes:
            os.close(fd)
        raise
    finally:
        for fd in (out_write, *pass_fds):
            os.close(fd)
    return relay(process, pipes, request.get("timeout"), reply)


def relay(process: subprocess.Popen, pipes: dict[int, str], limit: float | None, reply: Callable[..., None]) -> int:
    decoders = {fd: codecs.getincrementaldecoder("utf-8")("replace") for fd in pipes}
    deadline = time.monotonic() + limit if limit else None
    timed_out = False
    pidfd = os.pidfd_open(process.pid)
    with selectors.DefaultSelector() as selector:
        for fd in (*pipes, pidfd):
            selector.register(fd, selectors.EVENT_READ)
        while len(selector.get_map()) > 0:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = selector.select(wait)
            if not ready:
                if process.poll() is not None:
                    break
                timed_out, deadline = True, None
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            for key, _ in ready:
                if key.fd == pidfd:
                    selector.unregister(pidfd)
                    process.wait()
                    deadline = time.monotonic() + LINGER
                elif chunk := os.read(key.fd, 65536):
                    reply(**{pipes[key.fd]: decoders[key.fd].decode(chunk)})
                else:
                    selector.unregister(key.fd)
    for fd in (*pipes, pidfd):
        os.close(fd)
    return 124 if timed_out else process.wait()


def put(request: Request, _reply: Callable[..., None]) -> int:
    with open(request["path"], "ab" if request.get("append") else "wb") as file:
        file.write(base64.b64decode(request["data"]))
    os.chmod(request["path"], request.get("mode", 0o644))
    return 0


def get(request: Request, reply: Callable[..., None]) -> int:
    with open(request["path"], "rb") as file:
        while chunk := file.read(CHUNK):
            reply(data=base64.b64encode(chunk).decode())
    return 0


def resume(request: Request, _reply: Callable[..., None]) -> int:
    """A restored machine believes it is still then, and draws the same random numbers as every other one restored."""
    time.clock_settime(time.CLOCK_REALTIME, request["time"])
    entropy = base64.b64decode(request["entropy"])
    with open("/dev/urandom", "wb") as device:
        fcntl.ioctl(device, RNDADDENTROPY, struct.pack("ii", len(entropy) * 8, len(entropy)) + entropy)
        fcntl.ioctl(device, RNDRESEEDCRNG)
    return 0


OPERATIONS = {"run": run, "put": put, "get": get, "resume": resume, "ping": lambda _request, _reply: 0}


def serve(port: Port, request: Request) -> None:
    def reply(**message: object) -> None:
        port.send({"id": request["id"], **message})

    try:
        reply(done=OPERATIONS[request["op"]](request, reply))
    except Exception as error:  # noqa: BLE001 - whatever it is, the host is who has to hear of it
        reply(error=f"{type(error).__name__}: {error}")


def main(path: str) -> None:
    port = Port(path)
    for request in port.requests():
        threading.Thread(target=serve, args=(port, request), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
