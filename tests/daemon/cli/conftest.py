"""A supervisor that is not one: it takes the request, then does what the test says, so the client is seen alone."""

import os
import socket
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

from cbx_supervisor.protocol import frame

CLIENT = Path(sysconfig.get_path("scripts")) / "cbx-sandbox"
PATIENCE = 20  # seconds that a test waits for what must come


class Job:
    """One request as the supervisor sees it."""

    def __init__(self, connection):
        self._connection = connection
        self._splitter = frame.Splitter()
        self._waiting = []
        connection.settimeout(PATIENCE)
        data, descriptors, _flags, _address = socket.recv_fds(connection, 1 << 16, 16)
        self.fields = self._grouped(self._next(data))
        self.descriptors = dict(zip(self.text("fds").split(","), descriptors, strict=True))

    def _grouped(self, payload):
        fields = {}
        for key, value in frame.decode(payload):
            fields.setdefault(key, []).append(value)
        return fields

    def _next(self, data=b""):
        while True:
            self._waiting += self._splitter.feed(data)
            if self._waiting:
                return self._waiting.pop(0)
            data = self._connection.recv(1 << 16)
            if not data:
                raise EOFError

    def text(self, key):
        """One field, as text."""
        return self.fields[key][0].decode()

    def next(self):
        """The client's next frame, as "signal TERM" or "kill"."""
        fields = self._grouped(self._next())
        return b" ".join(fields["kind"] + fields.get("name", [])).decode()

    def send(self, kind, descriptor=None, **fields):
        """Send a frame."""
        data = frame.encode([("kind", kind.encode()), *((key, str(value).encode()) for key, value in fields.items())])
        if descriptor is None:
            self._connection.sendall(data)
        else:
            socket.send_fds(self._connection, [data], [descriptor])

    def run(self, script, *arguments):
        """Run a shell script on the descriptors that came, as a box would; return its status."""
        given = [self.descriptors.pop(name) for name in ("stdin", "stdout", "stderr")]
        try:
            return subprocess.run(
                ["sh", "-c", script, *arguments], stdin=given[0], stdout=given[1], stderr=given[2], check=False
            ).returncode
        finally:
            for number in given:
                os.close(number)

    def close(self):
        """Close what came."""
        while self.descriptors:
            os.close(self.descriptors.popitem()[1])


class FakeSupervisor:
    """Listens on exec.sock; `behave` is called with each job, in a thread of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.jobs = []
        self.errors = []
        self.greeting = None  # sent instead of reading a request
        self.behave = lambda job: job.send("result", status=0, line="", json="{}")
        self.environment = {**os.environ, "CBX_RUNTIME_DIR": str(directory)}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / "exec.sock"))
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            with connection:
                if self.greeting is not None:
                    connection.sendall(self.greeting)
                    continue
                try:
                    job = Job(connection)
                except EOFError:  # it found something wrong before it sent anything
                    continue
                self.jobs.append(job)
                try:
                    self.behave(job)
                except Exception as why:  # noqa: BLE001 - shown by the test
                    self.errors.append(why)
                finally:
                    job.close()

    def close(self):
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)
        assert not self.errors

    def run(self, *arguments, **options):
        """Run the client to its end."""
        options = {"stdin": subprocess.DEVNULL, "capture_output": "stdout" not in options, **options}
        command = [CLIENT, "run", *arguments]
        return subprocess.run(command, env=self.environment, timeout=PATIENCE, check=False, **options)

    def start(self, *arguments, **options):
        """Start the client."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([CLIENT, "run", *arguments], env=self.environment, **{**pipes, **options})


@pytest.fixture
def supervisor(tmp_path):
    """A fake supervisor in a directory of its own."""
    directory = tmp_path / "run"
    directory.mkdir()
    fake = FakeSupervisor(directory)
    yield fake
    fake.close()


@pytest.fixture(scope="session")
def client():
    """The command, as it is installed beside this interpreter."""
    assert CLIENT.exists(), f"{CLIENT} is missing: pip install -e . (for {sys.executable})"
    return CLIENT
