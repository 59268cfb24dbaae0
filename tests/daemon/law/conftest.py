"""The real command line against a real supervisor, as root and as a user who means harm; sacrificial places only."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
import textwrap
from pathlib import Path

import pytest
from tests.daemon.conftest import PATIENCE, Supervisor, until
from tests.root.checkpoint.conftest import go_back
from tests.vm.places import thin_out

from cbx_sandbox.linux import landlock, mountinfo, mounts, namespaces

CLIENT = str(Path(sysconfig.get_path("scripts")) / "cbx-sandbox")
PYTHON = "/usr/bin/python3"
NOBODY = 65534


def pytest_collection_modifyitems(config, items):
    """In the guest one set of parameters of each test."""
    thin_out(config, items, os.path.dirname(__file__), lambda _: None)


def script(text):
    """An argument vector that runs Python code; the analysis does not see it, so tests name its tier."""
    return [PYTHON, "-I", "-c", "import sys; exec(sys.argv.pop(1))", textwrap.dedent(text)]


def at_stake(path):
    """Everything about a file that must not have changed."""
    status = os.stat(path, follow_symlinks=False)
    content = Path(path).read_bytes() if path.is_file() else None
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_ctime_ns, content


class Shell:
    """The command line, as root (told where by the environment) or as somebody else (who finds it in /run/cbx)."""

    def __init__(self, supervisor):
        self.supervisor = supervisor
        self._started = []

    def start(self, *arguments, uid=0, groups=(), environment=None, **options):
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": "/"}
        command = [CLIENT, *map(os.fspath, arguments)]
        inherited = {**self.supervisor.environment, **(environment or {})}
        if uid:
            command = [*self._as(uid, groups), *command]
            inherited = {"PATH": inherited["PATH"], **(environment or {})}
        process = subprocess.Popen(command, env=inherited, **{**given, **options})
        self._started.append(process)
        return process

    def call(self, *arguments, **options):
        """Run it to its end: status, stdout, stderr."""
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def run(self, *arguments, tier="safe", **options):
        """``cbx-sandbox run`` with the words of a command last."""
        asked = [] if tier is None else ["--tier", tier]
        return self.call("run", *asked, *arguments, **options)

    def _as(self, uid, groups):
        # A mount namespace of its own, in which /run/cbx is this supervisor's: users cannot name another place.
        runtime = self.supervisor.paths.runtime
        setup = f"mount -t tmpfs -o mode=755 none /run && mkdir /run/cbx && mount --bind {runtime} /run/cbx"
        listed = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
        become = f'exec setpriv --reuid={uid} --regid={uid} {listed} --inh-caps=-all -- "$@"'
        return ["unshare", "-m", "sh", "-c", f"{setup} && {become}", "sh"]

    def close(self):
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def opened(supervisor):
    """The command line of a supervisor that users may call, too."""
    for path in (supervisor.paths.exec_socket, supervisor.paths.http_socket):
        os.chmod(path, 0o666)
    return Shell(supervisor)


@pytest.fixture(scope="module", autouse=True)
def own_mounts():
    """What is mounted here is seen by this process and its children alone: mounts of other tests come and go."""
    if os.geteuid() != 0:
        yield
        return
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    directory = os.getcwd()
    namespaces.unshare(namespaces.CLONE_NEWNS)
    try:
        mounts.mount_setattr(mounts.AT_FDCWD, "/", propagation=mounts.MS_PRIVATE, recursive=True)
        for mount in reversed(mountinfo.read()):
            if mount.target.startswith(("/tmp/", "/var/tmp/")):
                mounts.umount(mount.target, mounts.MNT_DETACH)
        yield
    finally:
        go_back(before)
        os.close(before)
        os.chdir(directory)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, own_mounts):
    """A supervisor for tests that leave it as it was."""
    directory = tmp_path_factory.mktemp("d")
    made = Supervisor(directory).start("--idle-exit", "600")
    yield made
    made.clean()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def shell(shared):
    """The command line, against the shared supervisor."""
    shell = opened(shared)
    yield shell
    shell.close()
    for call in shared._calls:
        call.close()
    shared._calls.clear()


@pytest.fixture
def own_shell(supervisor):
    """The command line, against a supervisor of the test's own."""
    shell = opened(supervisor)
    yield shell
    shell.close()


@pytest.fixture
def place():
    """A directory that everybody can reach, on the host's disk."""
    directory = Path(tempfile.mkdtemp(prefix="cbx-law-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    for line in reversed(Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").split("\n")):
        fields = line.split(" ")
        if len(fields) > 5 and fields[4].startswith(str(directory)):
            subprocess.run(
                ["umount", "-l", fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape")], check=False
            )
    shutil.rmtree(directory)


@contextlib.contextmanager
def mounted(*arguments):
    """A mount for the time of a block; the last argument is where."""
    subprocess.run(["mount", *map(os.fspath, arguments)], check=True)
    try:
        # Nothing propagates from here: other tests make namespaces of their own meanwhile.
        subprocess.run(["mount", "--make-private", os.fspath(arguments[-1])], check=True)
        yield Path(arguments[-1])
    finally:
        subprocess.run(["umount", "-l", os.fspath(arguments[-1])], check=True)


@pytest.fixture
def needs_landlock():
    if not landlock.abi():
        pytest.skip("this kernel has no Landlock")


def outside(argv, *, uid=0, **options):
    """A control: the same without cbx."""
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, **options}
    ids = {"user": uid, "group": uid, "extra_groups": []} if uid else {}
    return subprocess.run([os.fspath(word) for word in argv], check=False, timeout=PATIENCE, **ids, **options)


__all__ = ["CLIENT", "NOBODY", "PYTHON", "Shell", "at_stake", "mounted", "outside", "script", "until"]
