"""Whom the client trusts, and what it tells those who may not do what they ask for."""

import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from cbx_supervisor.client import connection

pytestmark = pytest.mark.root

NOBODY = 65534


@pytest.fixture
def as_nobody(client):
    """Run the client as a user without rights."""
    probe = subprocess.run(
        [client, "run", "--help"], user=NOBODY, group=NOBODY, capture_output=True, check=False, cwd="/"
    )
    if probe.returncode != 0:
        pytest.skip(f"an unprivileged user cannot read this checkout: {probe.stderr.decode()}")

    def run(*arguments, prefix=(), **options):
        command = [*prefix, client, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **options)

    return run


@pytest.fixture
def open_directory():
    """A directory that every user may reach and write to."""
    with tempfile.TemporaryDirectory(prefix="cbx-") as name:
        path = Path(name)
        path.chmod(0o777)
        yield path


def test_a_server_that_is_not_roots_gets_nothing(open_directory, client):
    """Whoever listens there first would else get descriptors, environment and command."""
    path = open_directory / "exec.sock"
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print(flush=True)"
    code += "; c, _ = s.accept(); sys.exit(c.recv(1) != b'')"
    server = subprocess.Popen(["python3", "-c", code, path], user=NOBODY, group=NOBODY, stdout=subprocess.PIPE, cwd="/")
    server.stdout.readline()
    run = subprocess.run(
        [client, "run", "true"],
        env={"CBX_RUNTIME_DIR": str(open_directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 125
    assert f"it is served by user {NOBODY}, not by root" in run.stderr
    assert server.wait(10) == 0, "the client sent something"
    server.stdout.close()


@pytest.mark.parametrize("name", [name.decode() for name in connection.MOVABLE])
def test_only_root_may_name_another_supervisor(as_nobody, supervisor, name):
    """A variable would else lead a user's commands past the host's locks."""
    environment = {name: str(supervisor.directory)}
    for verb in (("run", "true"), ("list",)):
        run = as_nobody(*verb, user=NOBODY, group=NOBODY, env=environment)
        assert run.returncode == 125
        assert f"cannot use {name}: only root may move cbx's directories" in run.stderr
        assert f"unset {name}" in run.stderr
    assert not supervisor.jobs


def test_an_unprivileged_user_is_told_how_to_start_a_supervisor(as_nobody, client):
    """The exact command; nothing is started."""
    hide_run = [
        "unshare",
        "-m",
        "sh",
        "-c",
        'mount -t tmpfs none /run && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"',
        "-",
    ]
    for verb in (("run", "true"), ("list",)):
        run = as_nobody(*verb, prefix=hide_run, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        assert run.returncode == 125, run.stderr
        assert "no supervisor is running, and only root may start one" in run.stderr
        assert f"sudo {client.with_name('cbx-supervisor')}" in run.stderr


def test_a_user_outside_the_group_is_told_of_the_group(as_nobody):
    """Permission denied is explained."""
    script = "mount -t tmpfs none /run && mkdir /run/cbx && python3 - && "
    script += "exec setpriv --reuid 65534 --regid 65534 --clear-groups "
    code = "import socket, os; s = socket.socket(socket.AF_UNIX); s.bind('/run/cbx/exec.sock'); s.listen()"
    code += "; os.chmod('/run/cbx/exec.sock', 0o660)"
    prefix = ["unshare", "-m", "sh", "-c", f'{script} "$@"', "-"]
    run = as_nobody("run", "true", prefix=prefix, input=code, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    assert run.returncode == 125
    assert "permission denied" in run.stderr
    assert "usermod -aG cbx" in run.stderr


def test_a_path_that_no_socket_can_have_is_named(client, tmp_path):
    """An address of a Unix socket has 107 bytes."""
    deep = tmp_path / ("x" * 120)
    run = subprocess.run(
        [client, "run", "true"], env={"CBX_RUNTIME_DIR": str(deep)}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 125
    assert "a socket's path has at most 107 bytes" in run.stderr
    assert not deep.exists()


def test_a_relative_directory_is_refused(client):
    """It would mean another supervisor in each directory."""
    run = subprocess.run(
        [client, "run", "true"], env={"CBX_RUNTIME_DIR": "here"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 125
    assert "must be an absolute path" in run.stderr


def test_the_fake_is_served_by_root(supervisor):
    """The control: the same with root's socket is trusted."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(str(supervisor.directory / "exec.sock"))
    server.close()
    assert supervisor.run("x").returncode == 0
