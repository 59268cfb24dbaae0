"""A host and an internet, each in a network namespace of its own, and a supervisor on that host.

Nothing of the machine's own network is used or changed: the host's resolver, too, is the test's, by a mount of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.daemon.conftest import PATIENCE, Supervisor
from tests.daemon.law.conftest import CLIENT, PYTHON, Shell, opened, script

from cbx_sandbox.linux import mounts

INTERNET = Path(__file__).parent / "internet.py"
# Addresses of the world, which only this test's own namespaces know.
DNS, WEB, OTHER, WEB_6 = "9.9.9.9", "93.184.216.34", "151.101.1.69", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
PRIVATE, METADATA, HOST = "10.99.0.7", "169.254.169.254", "8.8.4.2"
NAMES = {
    "web.test": [WEB],
    "six.test": [WEB_6],
    "both.test": [WEB_6, WEB],
    "other.test": [OTHER],
    "sub.web.test": [OTHER],
    "git.test": [WEB],
    "evil-web.test": [OTHER],
    "web.test.evil.test": [OTHER],
    "rebind.test": [PRIVATE],
    "loop.test": ["127.0.0.1"],
    "meta.test": [METADATA],
    "mixed.test": [PRIVATE, WEB],
    "mapped.test": ["::ffff:10.99.0.7"],
    "self.test": [HOST],
    "empty.test": [],
}


class World:
    """Two namespaces joined by a pair of interfaces: ``host`` holds the supervisor, the other one the servers."""

    def __init__(self, directory):
        self.directory = directory
        self.holders = [
            subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 3600"], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for holder in self.holders:
            holder.stdout.readline()
        self.host, self.outside = (f"--net=/proc/{holder.pid}/ns/net" for holder in self.holders)
        theirs = [DNS, WEB, OTHER, PRIVATE, METADATA, WEB_6]
        out = str(self.holders[1].pid)
        self.inside(self.host, "ip", "link", "add", "world", "type", "veth", "peer", "name", "host", "netns", out)
        for where, name, addresses in ((self.host, "world", [HOST]), (self.outside, "host", theirs)):
            for address in addresses:
                more = ["nodad"] if ":" in address else []
                self.inside(where, "ip", "addr", "add", address, "dev", name, *more)
            for link in ("lo", name):
                self.inside(where, "ip", "link", "set", link, "up")
        self.inside(self.host, "ip", "addr", "add", "2606:2800:21f::2", "dev", "world", "nodad")
        for version in ("-4", "-6"):
            for where, name in ((self.host, "world"), (self.outside, "host")):
                self.inside(where, "ip", version, "route", "add", "default", "dev", name)
        table = [f"{name}={','.join(addresses)}" for name, addresses in NAMES.items()]
        self.servers = subprocess.Popen(
            ["nsenter", self.outside, "--", PYTHON, "-I", INTERNET, *theirs, "--", *table],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.servers.stdout.readline() == b"ready\n"
        subprocess.run(["cp", "-a", "/etc", directory / "etc"], check=True)
        for name, text in {
            "resolv.conf": f"nameserver {DNS}\noptions timeout:2 attempts:2\n",
            "hosts": "127.0.0.1 localhost\n::1 localhost\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        }.items():
            (directory / "etc" / name).unlink(missing_ok=True)
            (directory / "etc" / name).write_text(text)

    @staticmethod
    def inside(where, *argv, **options):
        return subprocess.run(["nsenter", where, "--", *argv], check=True, capture_output=True, text=True, **options)

    def on_host(self, *argv):
        """A control: the same on the test's host, without cbx."""
        done = subprocess.run(
            self.host_command(argv), check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE
        )
        return subprocess.CompletedProcess(argv, done.returncode, done.stdout, done.stderr)

    def host_command(self, argv):
        # A mount of a directory: overlays cannot lie over single files.
        mounted = f'mount --bind {self.directory}/etc /etc && exec "$@"'
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c", mounted, "sh"]
        return ["nsenter", self.host, "--", *command, *map(os.fspath, argv)]

    def links(self):
        return sorted(link["ifname"] for link in json.loads(self.inside(self.host, "ip", "-j", "link").stdout))

    def ruleset(self):
        return self.inside(self.host, "nft", "list", "ruleset").stdout

    def close(self):
        self.servers.stdin.close()
        for process in (self.servers, *self.holders):
            process.kill()
            process.wait()
            process.stdout.close()


class HostedSupervisor(Supervisor):
    """A supervisor on the test's host."""

    def __init__(self, directory, world):
        super().__init__(directory)
        self.world = world

    def spawn(self, *arguments, pass_fds=(), **settings):
        environment = self.environment | {f"CBX_{name}": value for name, value in settings.items()}
        command = [sys.executable, "-I", "-m", "cbx_supervisor.daemon.main", *arguments]
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                self.world.host_command(command),
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=log,
                stdout=log,
                pass_fds=pass_fds,
            )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


@contextlib.contextmanager
def hosted(world, tmp_path_factory):
    directory = tmp_path_factory.mktemp("d")
    made = HostedSupervisor(directory, world)
    try:
        yield made
    finally:
        made.clean()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def shared(world, tmp_path_factory):
    """A supervisor for tests that leave it as it was."""
    with hosted(world, tmp_path_factory) as made:
        yield made.start("--idle-exit", "600")


@pytest.fixture
def own(world, tmp_path_factory):
    """A supervisor of the test's own; not started yet."""
    with hosted(world, tmp_path_factory) as made:
        yield made


class Net(Shell):
    """Jobs with an allowlist."""

    def job(self, allow, code, *options, tier="safe", **more):
        """Run Python code in a job that may reach ``allow``; returns what it printed as JSON, and the result."""
        asked = [word for host in allow for word in ("--allow-host", host)]
        arguments = ["run", "--json", "--tier", tier, "--network", "allowlist", *asked, *options, "--"]
        done = self.call(*arguments, *hidden(code), **more)
        lines = done.stdout.splitlines()
        result = json.loads(lines[-1]) if lines else None
        assert result is not None, done.stderr
        assert result["status"] == 0, (result["message"], done.stderr[-800:], self.supervisor.log.read_text()[-2000:])
        return json.loads(lines[0]), result["usage"]["network"]


@pytest.fixture
def net(shared):
    opened(shared)
    shell = Net(shared)
    yield shell
    shell.close()


def hidden(code):
    """An argument vector that runs Python code after the prelude."""
    return script(PRELUDE + textwrap.dedent(code))


PRELUDE = """
import errno, json, socket, struct, sys
socket.setdefaulttimeout(20)
def name(error):
    if isinstance(error, socket.gaierror):
        return "EAI"
    if isinstance(error, TimeoutError):
        return "TIMEOUT"
    return errno.errorcode.get(error.errno, repr(error))
def connect(host, port, send=b"GET / HTTP/1.0\\r\\n\\r\\n", kind=socket.SOCK_STREAM):
    "What came back, or the name of the error."
    try:
        infos = socket.getaddrinfo(host, port, type=kind)
        with socket.socket(*infos[0][:3]) as made:
            made.settimeout(20)
            made.connect(infos[0][4])
            if send: made.sendall(send)
            return made.recv(4096).decode("latin-1") or "closed"
    except OSError as error:
        return name(error)
def say(value):
    print(json.dumps(value), flush=True)
"""
__all__ = ["CLIENT", "mounts"]
