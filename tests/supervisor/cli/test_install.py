"""Installed for real, as a wheel and editable, in a directory with a space in its name."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request, tmp_path_factory):
    """Return the directory of the commands of a fresh virtual environment."""
    prefix = tmp_path_factory.mktemp("with space") / "venv"
    subprocess.run([sys.executable, "-m", "venv", prefix], check=True)
    what = [str(PROJECT)] if request.param == "wheel" else ["-e", str(PROJECT)]
    pip = [prefix / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", *what]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "hatchling" in done.stderr:
        pytest.skip("no package index from which to get hatchling")
    assert done.returncode == 0, done.stderr
    return prefix / "bin"


def test_run_starts_from_its_own_environment(installed, tmp_path):
    """Without its dependencies even, since `run` needs none; by a link too."""
    link = tmp_path / "link"
    link.symlink_to(installed / "cbx-sandbox")
    for command in (installed / "cbx-sandbox", link):
        done = subprocess.run([command, "run", "--help"], cwd="/", env={}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Usage: cbx-sandbox run")


def test_the_other_commands_are_there(installed):
    """With this interpreter."""
    for name in ("cbx-supervisor", "cbx-launcher"):
        assert str(installed) in (installed / name).read_text()


def test_the_files_of_the_service_are_there(installed):
    """In the wheel beside the package; an editable installation finds those of the tree."""
    beside = installed.parent.glob("lib/python3*/site-packages/cbx_supervisor/systemd/cbx-supervisor.service")
    assert list(beside) or (PROJECT / "systemd/cbx-supervisor.service").is_file()
    if list(installed.parent.glob("lib/python3*/site-packages/cbx_supervisor/daemon")):
        assert list(installed.parent.glob("lib/python3*/site-packages/cbx_supervisor/systemd/cbx.socket"))
