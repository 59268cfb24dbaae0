"""What comes in on 0-2 is no way out: neither to the file behind it, nor to its metadata, nor to a directory."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from tests.daemon.law.conftest import CLIENT, NOBODY, at_stake, mounted, outside, script

pytestmark = [pytest.mark.root, pytest.mark.vm]

REOPEN = """
import os, sys
for name in ("/proc/self/fd/%d", "/proc/thread-self/fd/%d", "/dev/fd/%d"):
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND):
        try:
            os.write(os.open(name % int(sys.argv[1]), flags), b"attack")
        except OSError:
            continue
        sys.exit(0)
sys.exit(1)
"""
CHANGE = {
    "mode": "import os, sys; os.fchmod(int(sys.argv[1]), 0o600)",
    "times": "import os, sys; os.utime(int(sys.argv[1]), (1, 1))",
    "owner": "import os, sys; os.fchown(int(sys.argv[1]), 1, 1)",
    "attribute": "import os, sys; os.setxattr(int(sys.argv[1]), 'user.cbx', b'1')",
}


def passed(number, fd):
    return {("stdin", "stdout", "stderr")[number]: fd}


@pytest.fixture
def victim(place):
    file = place / "victim"
    file.write_text("precious")
    file.chmod(0o644)
    return file


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_file_cannot_be_opened_anew_for_writing(shell, victim, number):
    """It came in for reading."""
    before = at_stake(victim)
    fd = os.open(victim, os.O_RDONLY)
    shell.run("-q", *script(REOPEN), str(number), **passed(number, fd))
    assert at_stake(victim) == before
    assert outside([*script(REOPEN), str(number)], capture_output=False, **passed(number, fd)).returncode == 0
    os.close(fd)
    assert at_stake(victim) != before


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("what", CHANGE)
def test_the_metadata_of_a_file_cannot_be_changed(shell, victim, number, what):
    """Through whatever descriptor it came: its mount is read-only."""
    before = at_stake(victim)
    fd = os.open(victim, os.O_RDONLY)
    shell.run("-q", *script(CHANGE[what]), str(number), **passed(number, fd))
    assert at_stake(victim) == before
    assert outside([*script(CHANGE[what]), str(number)], capture_output=False, **passed(number, fd)).returncode == 0
    os.close(fd)
    assert at_stake(victim) != before


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("what", ["mode", "times", "owner"])
def test_the_metadata_of_a_device_cannot_be_changed(shell, place, number, what):
    """/dev/null as everybody passes it: its mode is everybody's business."""
    device = place / "null"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(device, 0o666)
    before = at_stake(device)
    fd = os.open(device, os.O_RDWR)
    shell.run("-q", *script(CHANGE[what]), str(number), **passed(number, fd))
    assert at_stake(device) == before
    assert outside([*script(CHANGE[what]), str(number)], capture_output=False, **passed(number, fd)).returncode == 0
    os.close(fd)
    assert at_stake(device) != before


@pytest.mark.parametrize("tier", ["safe", "dangerous"])
def test_the_devices_of_the_box_are_not_the_hosts_to_change(shell, tier):
    """Not even to what they are already; writing to them works."""
    before = at_stake(Path("/dev/null"))
    code = """
    import os, stat
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        status = os.stat("/dev/" + name)
        mode = stat.S_IMODE(status.st_mode)
        for change in (lambda: os.chmod("/dev/" + name, mode), lambda: os.utime("/dev/" + name)):
            try:
                change()
            except OSError:
                continue
            raise SystemExit(f"{name} was changed")
    open("/dev/null", "w").write("x")
    """
    ran = shell.run(*script(code), tier=tier)
    assert ran.returncode == 0, ran.stderr
    assert at_stake(Path("/dev/null")) == before


def test_a_terminal_cannot_be_opened_to_everybody(shell):
    """Root's terminal stays root's; the command can still talk to it."""
    master, slave = os.openpty()
    mode = stat.S_IMODE(os.fstat(slave).st_mode)
    code = "import os\ntry:\n os.fchmod(0, 0o666)\nexcept OSError: pass\nprint('hello', flush=True)"
    assert shell.run("-q", "-T", *script(code), stdin=slave, stdout=slave, stderr=slave).returncode == 0
    assert os.read(master, 100).startswith(b"hello")
    assert stat.S_IMODE(os.fstat(slave).st_mode) == mode
    assert outside(script(code), stdin=slave, capture_output=False, stdout=slave).returncode == 0
    assert stat.S_IMODE(os.fstat(slave).st_mode) == 0o666
    os.close(master)
    os.close(slave)


def test_a_directory_is_no_way_out(shell, place):
    """Neither on 0-2 nor beside them, and the caller's own directory is entered by its name only."""
    (place / "open").mkdir()
    fd = os.open(place / "open", os.O_RDONLY)
    enter = "import os, sys; os.fchdir(int(sys.argv[1])); open('planted', 'w')"
    refused = shell.run(*script(enter), "0", stdin=fd)
    assert refused.returncode == 125
    assert b"directory" in refused.stderr
    search = """
    import os
    for number in range(0, 256):
        try:
            os.fchdir(number)
            open("planted", "w")
        except OSError:
            pass
    """
    shell.run(*script(search), pass_fds=[fd], cwd=place / "open")
    assert os.listdir(place / "open") == []
    assert outside(script(search), pass_fds=[fd]).returncode == 0
    assert os.listdir(place / "open") == ["planted"]
    os.close(fd)


def test_nothing_else_is_inherited(shell, victim):
    """Descriptors beyond 2 end at the client."""
    fd = os.open(victim, os.O_RDWR)
    os.dup2(fd, 99)
    attack = script("import os; os.ftruncate(99, 0)")
    before = at_stake(victim)
    assert b"Bad file descriptor" in shell.run(*attack, pass_fds=[99]).stderr
    assert at_stake(victim) == before
    assert outside(attack, pass_fds=[99]).returncode == 0
    assert victim.read_text() == ""
    os.close(fd)
    os.close(99)


def test_a_file_on_stdout_is_written_by_the_client_alone(shell, victim):
    """The job has a pipe: it cannot read, cut or wind back what is in the file."""
    code = """
    import os
    for change in (lambda: os.ftruncate(1, 0), lambda: os.lseek(1, 0, 0), lambda: os.fchmod(1, 0o600),
                   lambda: os.open("/proc/self/fd/1", os.O_RDWR | os.O_TRUNC)):
        try:
            change()
        except OSError:
            pass
    print("said", flush=True)
    """
    with open(victim, "ab") as file:
        assert shell.run("-q", *script(code), stdout=file).returncode == 0
    assert victim.read_text() == "precioussaid\n"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o644
    with open(victim, "ab") as file:
        outside(script(code), capture_output=False, stdout=file)
    assert victim.read_text() != "precioussaid\nsaid\n"


def test_a_descriptor_for_writing_gives_no_right_to_read(shell, place):
    """A user who may only append to a file does not get to read it as stdin, which is opened anew by root."""
    drop = place / "drop"
    drop.write_text("secret")
    drop.chmod(0o622)
    fd = os.open(drop, os.O_WRONLY)
    assert b"secret" not in shell.run("cat", stdin=fd, uid=NOBODY, tier=None).stdout
    os.close(fd)
    fd = os.open(drop, os.O_RDONLY)
    assert shell.run("cat", stdin=fd, uid=NOBODY, tier=None).stdout == b"secret"
    os.close(fd)


@pytest.mark.usefixtures("needs_landlock")
@pytest.mark.parametrize("options", [[], ["--tmpfs", "/"], ["--rw", "/"], ["--tmpfs", "//."]])
def test_a_fifo_on_a_read_only_mount_takes_nothing(shell, place, options):
    """A read-only mount does not keep data from a FIFO, so the write rules do; no option widens them to everything."""
    os.mkfifo(place / "fifo")
    reader = os.open(place / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    attack = script(f"import os; os.write(os.open('{place}/fifo', os.O_WRONLY | os.O_NONBLOCK), b'attack')")
    assert shell.run(*options, *attack).returncode != 0
    assert os.read(reader, 10) == b""
    assert outside(attack).returncode == 0
    assert os.read(reader, 10) == b"attack"
    os.close(reader)


def test_a_file_of_another_mount_namespace_is_refused(shell, place):
    """No read-only clone of its mount can be made, so it is not passed on: its owner could change its mode."""
    (place / "there").mkdir()
    attack = [str(part) for part in script("import os; os.fchmod(0, 0o600)")]
    lines = f'mount -t tmpfs none {place}/there && cd {place}/there && echo x > f && "$@" < f; stat -c %a f'
    command = ["unshare", "-m", "sh", "-c", lines, "sh"]
    for prefix, mode in (([CLIENT, "run", "--tier", "safe"], b"644"), ([], b"600")):
        ran = subprocess.run(
            [*command, *prefix, *attack], env=shell.supervisor.environment, capture_output=True, check=False, timeout=60
        )
        assert ran.stdout.strip() == mode, ran.stderr


def test_what_the_administrator_mounted_read_only_stays_so(shell, place):
    """A lock is no right to write; the same job writes where the mount lets it."""
    for name in ("source", "mount"):
        (place / name).mkdir()
    write = ["sh", "-c", f"echo x > {place}/mount/written"]
    with mounted("--bind", place / "source", place / "mount"):
        subprocess.run(["mount", "-o", "remount,bind,ro", place / "mount"], check=True)
        for tier in ("conditional", "sequential"):
            shell.run("--rw", place / "mount", *write, tier=tier)
            assert os.listdir(place / "source") == []
        subprocess.run(["mount", "-o", "remount,bind,rw", place / "mount"], check=True)
        assert shell.run("--rw", place / "mount", *write, tier="conditional").returncode == 0
        assert "written" in os.listdir(place / "source")
