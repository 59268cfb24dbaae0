"""What a user does first, as a whole: the demonstration, and the command that everybody fears."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("cbx-sandbox"))
LIVE = ("/etc", "/usr/bin", "/home", "/srv", "/root")


def call(arguments, environment, **options):
    return subprocess.run(
        [COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False, **options
    )


def digest():
    """Name, mode, size and time of everything below the directories that matter, but for cbx's own layers."""
    found = []
    for top in LIVE:
        for directory, names, files in os.walk(top):
            names[:] = [name for name in names if name != ".cbx"]
            for name in [*names, *files]:
                status = os.lstat(f"{directory}/{name}")
                found.append((f"{directory}/{name}", status.st_mode, status.st_size, status.st_mtime_ns))
    return found


@pytest.mark.root
@pytest.mark.vm
@pytest.mark.timeout(600)
def test_the_demonstration_finds_everything_as_expected():
    """What `make run` starts runs its seven commands and finds each result as it should be."""
    done = subprocess.run(
        [sys.executable, "-m", "cbx_supervisor.demo"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.vm
@pytest.mark.timeout(600)
def test_removing_everything_leaves_the_machine_as_it_was(tmp_path):
    """rm -rf --no-preserve-root / is held; its diff lists what it removed; the machine is untouched; rollback works."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/root",
        "CBX_RUNTIME_DIR": str(tmp_path / "run"),
        "CBX_STATE_DIR": str(tmp_path / "state"),
    }
    before = digest()
    try:
        arguments = ["run", "--json", "--timeout", "10m", "--cpus", "2", "--", "rm", "-rf", "--no-preserve-root", "/"]
        done = call(arguments, environment)
        assert done.stdout, done.stderr
        result = json.loads(done.stdout.splitlines()[-1])
        assert result["tier"] == "DANGEROUS_ISOLATED"
        assert result["checkpoint"]["state"] == "held"
        assert result["changes"]["deleted"] > 0
        assert digest() == before
        number = str(result["checkpoint"]["id"])
        listed = call(["checkpoint", "diff", "--name-status", number], environment).stdout.splitlines()
        for path in ("/etc/passwd", "/usr/bin/env", "/home", "/root"):
            assert f"D\t{path}" in listed
        assert call(["checkpoint", "rollback", number], environment).returncode == 0
        assert digest() == before
    finally:
        status = json.loads(call(["status", "--json"], environment).stdout)
        os.kill(status["supervisor"]["pid"], 15)
