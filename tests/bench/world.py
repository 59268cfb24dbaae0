"""A supervisor of the bench's own, warm, in a temporary directory; and a client that calls it over the exec socket."""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cbx_supervisor.protocol import frame

PROGRAM = Path(sys.executable).with_name("cbx-sandbox")
PATIENCE = 60.0


class World:
    """One supervisor; what is asked of it runs in ``directory``."""

    def __init__(self, directory: str, settings: Mapping[str, str]) -> None:
        self.directory = directory
        self.socket = f"{directory}/run/exec.sock"
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "CBX_RUNTIME_DIR": f"{directory}/run",
            "CBX_STATE_DIR": f"{directory}/state",
            **settings,
        }
        # The project: a conditional job locks it and looks for links that leave it, so it has some files.
        self.project = f"{directory}/project"
        os.makedirs(f"{self.project}/.git")
        for number in range(50):
            Path(f"{self.project}/file-{number}").write_text("content\n", encoding="ascii")
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.cwd = os.open(self.project, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.pid = self.status()["supervisor"]["pid"] if self.command("run", "-q", "--", "true") else 0

    def command(self, *arguments: str) -> bool:
        """Call the command line as a whole process."""
        argv = [str(PROGRAM), *arguments]
        done = subprocess.run(argv, cwd=self.project, env=self.environment, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise SystemExit(f"bench: {' '.join(argv)} exited with {done.returncode}")
        return True

    def status(self) -> dict[str, Any]:
        """What the supervisor says of itself."""
        argv = [str(PROGRAM), "status", "--json"]
        return json.loads(subprocess.run(argv, env=self.environment, check=True, capture_output=True).stdout)

    def shown(self, job: int) -> dict[str, Any]:
        """What is known of a job."""
        argv = [str(PROGRAM), "show", "--json", str(job)]
        return json.loads(subprocess.run(argv, env=self.environment, check=True, capture_output=True).stdout)

    def launcher(self) -> int:
        """The pid of its launcher."""
        for child in children(self.pid):
            if b"launcher" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
        raise SystemExit("bench: the supervisor has no launcher")

    def submit(self, argv: Sequence[str], *, project: str = "", **options: str) -> "Call":
        """Send one request, from ``project`` or the common one; :meth:`Call.wait` waits for the answer."""
        return Call(self, argv, options, project)

    def begin_anew(self) -> float:
        """Kill the supervisor; the seconds until the next one answers, which a client starts."""
        handle = os.pidfd_open(self.pid)
        began = time.monotonic()
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], PATIENCE)
        os.close(handle)
        self.pid = self.status()["supervisor"]["pid"]
        return time.monotonic() - began

    def stop(self) -> None:
        """End the supervisor and wait for it."""
        handle = os.pidfd_open(self.pid)
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        select.select([handle], [], [], PATIENCE)
        os.close(handle)
        os.close(self.null)
        os.close(self.cwd)


class Call:
    """One job over the exec socket, as a program that is already running would ask for it."""

    def __init__(self, world: World, argv: Sequence[str], options: dict[str, str], project: str) -> None:
        self.result: dict[str, Any] | None = None
        self.accepted = False
        self.job = 0
        self._splitter = frame.Splitter()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        lease, self._lease = os.pipe2(os.O_CLOEXEC)
        fields = [("kind", "run"), ("version", "1"), ("fds", "stdin,stdout,stderr,cwd,lease")]
        fields += [("cwd", project or world.project)]
        fields += [("arg", word) for word in argv]
        fields += [("env", f"{name}={value}") for name, value in world.environment.items()]
        fields += list(options.items())
        data = frame.encode((key, value.encode()) for key, value in fields)
        cwd = os.open(project, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if project else world.cwd
        try:
            self._socket.connect(world.socket)
            socket.send_fds(self._socket, [data], [world.null, world.null, world.null, cwd, lease])
        finally:
            os.close(lease)
            if project:
                os.close(cwd)

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def step(self) -> bool:
        """Read what came; True once the result is there."""
        data = self._socket.recv(1 << 16)
        if not data:
            raise SystemExit("bench: the supervisor hung up")
        for payload in self._splitter.feed(data):
            fields = dict(frame.decode(payload))
            if fields["kind"] == b"error":
                raise SystemExit(f"bench: {fields['text'].decode()}")
            if fields["kind"] == b"accepted":
                self.accepted, self.job = True, int(fields["job"])
            if fields["kind"] == b"result":
                self.result = json.loads(fields["json"])
        return self.result is not None

    def wait(self) -> dict[str, Any]:
        """Wait for the end; the result must be a success."""
        while not self.step():
            pass
        return self.finish()

    def finish(self) -> dict[str, Any]:
        """Hang up after the result, and return it."""
        self.close()
        assert self.result is not None
        if self.result["exit_code"] != 0:
            raise SystemExit(f"bench: a job ended with {self.result['message']}")
        return self.result

    def close(self) -> None:
        """Hang up, which ends a job that still runs."""
        self._socket.close()
        if self._lease >= 0:
            os.close(self._lease)
            self._lease = -1


def children(pid: int) -> list[int]:
    """The pids of a process's children."""
    with contextlib.suppress(FileNotFoundError):
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    return []


@contextlib.contextmanager
def supervisor(settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[World]:
    """A warm supervisor for the length of a with-block; ``settings`` as its environment names them."""
    directory = tempfile.mkdtemp(prefix="cbx-bench-")
    try:
        world = World(directory, settings)
        try:
            settle(1.0)
            yield world
        finally:
            world.stop()
            _wait_for_lock(f"{directory}/run/lock")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for_lock(path: str) -> None:
    with contextlib.suppress(OSError), open(path, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def settle(seconds: float) -> None:
    """Let the kernel finish what the last run left to do: name spaces are taken down in the background."""
    time.sleep(seconds)
