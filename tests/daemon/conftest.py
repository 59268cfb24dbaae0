"""A real supervisor in directories of its own, and a caller that speaks the exec socket by hand."""

from __future__ import annotations

import contextlib
import glob
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from cbx_supervisor import paths as places
from cbx_supervisor.protocol import frame

PATIENCE = 150.0 if os.environ.get("CBX_IN_GUEST") else 60.0  # s; the guest is emulated


def until(condition, patience=PATIENCE):
    """Wait for a condition, not for a time."""
    end = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)
    return value


class Call:
    """One request on the exec socket."""

    def __init__(self, path, fields, fds=None, raw=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self._splitter = frame.Splitter()
        self.frames = []
        self.lease = None
        if raw is not None:
            socket.send_fds(self.socket, [raw], fds or [])
            return
        if fds is None:
            null = os.open("/dev/null", os.O_RDWR)
            self.output, write = os.pipe()
            read, self.lease = os.pipe()
            passed = {"stdin": null, "stdout": write, "stderr": write, "lease": read}
        else:
            passed, null, write, read = fds, None, None, None
        head = [("kind", b"run"), ("version", b"1"), ("fds", ",".join(passed).encode())]
        names = {key for key, _ in fields}
        head += [] if "cwd" in names else [("cwd", b"/")]
        head += [("env", b"PATH=/usr/bin:/bin")]
        socket.send_fds(self.socket, [frame.encode([*head, *fields])], list(passed.values()))
        for fd in (null, write, read):
            if fd is not None:
                os.close(fd)

    def next(self, *kinds):
        """The next frame of one of these kinds (any, if none is named)."""
        while True:
            for place, found in enumerate(self.frames):
                if not kinds or found["kind"].decode() in kinds:
                    return self.frames.pop(place)
            data = self.socket.recv(1 << 16)
            assert data, "the supervisor hung up"
            self.frames += [dict(frame.decode(payload)) for payload in self._splitter.feed(data)]

    def end(self):
        """The last frame; its JSON as ``result``."""
        last = self.next("result", "error")
        last["status"] = int(last["status"])
        last["result"] = json.loads(last["json"]) if last.get("json") else None
        return last

    def job(self):
        return int(self.next("accepted")["job"])

    def send(self, *fields):
        self.socket.sendall(frame.encode(fields))

    def hung_up(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.socket.close()
        if self.lease is not None:
            os.close(self.lease)
            self.lease = None


class Supervisor:
    """One lock domain; the process in it may be started several times."""

    def __init__(self, directory):
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "CBX_RUNTIME_DIR": str(directory / "run"),
            "CBX_STATE_DIR": str(directory / "state"),
            "CBX_CONFIG_DIR": str(directory / "etc"),
        }
        self.paths = places.from_environment(self.environment, uid=0)
        self.log = directory / "log"
        self.process = None
        self._calls = []

    def spawn(self, *arguments, pass_fds=(), **settings):
        environment = self.environment | {f"CBX_{name}": value for name, value in settings.items()}
        command = [sys.executable, "-I", "-m", "cbx_supervisor.daemon.main", *arguments]
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stderr=log, stdout=log, pass_fds=pass_fds
            )

    def start(self, *arguments, **settings):
        ready, told = os.pipe()
        self.process = self.spawn(*arguments, "--ready-fd", str(told), pass_fds=(told,), **settings)
        os.close(told)
        with open(ready, "rb") as answer:
            assert answer.read(), self.log.read_text()
        return self

    def call(self, *fields, **options):
        made = Call(self.paths.exec_socket, fields, **options)
        self._calls.append(made)
        return made

    def run(self, line, *fields, **options):
        return self.call(("line", line.encode()), *fields, **options)

    def http(self, method, path, body=None):
        connection = http.client.HTTPConnection("cbx", timeout=PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.paths.http_socket)
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, json.loads(content) if "json" in (response.headers["content-type"] or "") else content

    def get(self, path):
        status, content = self.http("GET", path)
        assert status == 200, content
        return content

    def post(self, path, body=None):
        status, content = self.http("POST", path, body or {})
        assert status == 200, content
        return content

    def stop(self, number=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
        return self.process and self.process.wait(PATIENCE)

    def hang_up(self):
        for call in self._calls:
            call.close()
        self._calls.clear()

    def clean(self):
        self.hang_up()
        if self.process is not None:
            self.stop()
        groups = [path for root in ("", "*/") for path in glob.glob(f"/sys/fs/cgroup/{root}{self.paths.cgroup}")]
        until(lambda: all(_removed(group) for group in groups))


def _removed(group):
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            if os.path.exists(f"{directory}/cgroup.kill") and directory.endswith("jobs"):
                with open(f"{directory}/cgroup.kill", "w") as file:
                    file.write("1")
            os.rmdir(directory)
    return not os.path.exists(group)


@contextlib.contextmanager
def lock_domain(tmp_path_factory):
    """A supervisor's directories, and nothing left of it afterwards."""
    # A socket's path has 107 bytes at most: pytest's own directories are too deep.
    directory = tmp_path_factory.mktemp("d")
    supervisor = Supervisor(directory)
    try:
        yield supervisor
    finally:
        supervisor.clean()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def made(tmp_path_factory):
    """A lock domain; nothing is started yet."""
    with lock_domain(tmp_path_factory) as supervisor:
        yield supervisor


@pytest.fixture
def supervisor(made):
    """A supervisor that serves."""
    return made.start("--idle-exit", "120")


@pytest.fixture
def shared(made):
    """A supervisor that some users may reach, with roles."""
    from tests.daemon.people import SETTINGS  # noqa: PLC0415  # it uses this module

    os.makedirs(made.paths.config, mode=0o755)
    with open(f"{made.paths.config}/cbx.toml", "w") as file:
        file.write(SETTINGS)
    os.chmod(file.name, 0o644)
    return made.start("--idle-exit", "120")


@pytest.fixture
def project(tmp_path):
    """A directory that is one unit to lock."""
    (tmp_path / "project/.git").mkdir(parents=True)
    return tmp_path / "project"
