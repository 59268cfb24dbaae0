"""What happens in the guest is what the host's pytest says, and what it ends with."""

import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

TREE = Path(__file__).parents[2]

TESTS = """
import ctypes, os
import pytest

pytestmark = pytest.mark.vm

def test_first():
    assert os.environ["CBX_IN_GUEST"]

def test_fails():
    somewhere = open("/proc/1/comm").read()
    assert somewhere == "the host"

@pytest.mark.skip(reason="says why")
def test_skips():
    pass

@pytest.mark.xfail(strict=True)
def test_fails_as_expected():
    assert False

@pytest.fixture
def broken():
    raise RuntimeError("in set-up")

def test_has_broken_fixture(broken):
    pass

def test_kills_its_pytest():
    os._exit(3)

def test_runs_all_the_same():
    pass

def test_panics():
    open("/proc/sysrq-trigger", "w").write("c")

@pytest.mark.root
def test_twice():
    pass

def test_last():
    pass
"""
BROKEN = "import os, pytest\nif os.environ.get('CBX_IN_GUEST'):\n    import nothing_like_it\n"
BROKEN += "@pytest.mark.vm\ndef test_not_collected():\n    pass\n"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the same plumbing and tests of its own."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copy(TREE / "pyproject.toml", tree)
    shutil.copytree(TREE / "tests/vm", tree / "tests/vm", ignore=shutil.ignore_patterns("test_*", "__pycache__"))
    shutil.copytree(TREE / "supervisor/bin", tree / "supervisor/bin")  # what the guest's environment is given
    shutil.copy(TREE / "tests/conftest.py", tree / "tests")
    (tree / "tests/crash").mkdir()
    shutil.copy(TREE / "tests/crash/states.py", tree / "tests/crash")
    (tree / "tests/test_tiny.py").write_text(TESTS)
    (tree / "tests/test_broken.py").write_text(BROKEN)
    return tree


def pytest_run(tree: Path, *options: str) -> tuple[int, str, dict[str, str]]:
    """Run pytest on the tree; give its exit status, its output, and each test's outcome."""
    report = tree / "report.xml"
    argv = [sys.executable, "-m", "pytest", f"--junitxml={report}", "-p", "no:cacheprovider", *options]
    result = subprocess.run(argv, check=False, cwd=tree, capture_output=True, text=True)
    outcomes = {}
    for case in ET.parse(report).iter("testcase") if report.exists() else ():
        outcomes[case.get("name", "")] = next((child.tag for child in case if child.tag != "properties"), "passed")
    return result.returncode, result.stdout + result.stderr, outcomes


@pytest.mark.vm
@pytest.mark.timeout(900)
def test_each_outcome_in_the_guest_is_reported_on_the_host(tree, make_guest):
    status, output, outcomes = pytest_run(tree, "--vm")
    assert status == pytest.ExitCode.TESTS_FAILED, output
    assert outcomes == {
        "test_first": "passed",
        "test_fails": "failure",
        "test_skips": "skipped",
        "test_fails_as_expected": "skipped",
        "test_has_broken_fixture": "error",
        "test_kills_its_pytest": "failure",
        "test_runs_all_the_same": "passed",
        "test_panics": "failure",
        "test_twice[host]": "passed",
        "test_twice[guest]": "passed",
        "test_last": "passed",
        "test_not_collected": "failure",
    }
    assert "the guest was lost in this test" in output
    assert "assert 'systemd\\n' == 'the host'" in output  # the guest's traceback
    assert "No module named 'nothing_like_it'" in output


def test_without_a_guest_such_tests_are_skipped_with_a_remedy(tree, monkeypatch):
    monkeypatch.delenv("CBX_VM", raising=False)
    status, output, outcomes = pytest_run(tree, "--place=guest", "-rs")
    assert status == pytest.ExitCode.OK, output
    assert set(outcomes.values()) == {"skipped"}
    assert "make test-vm" in output


def test_asked_for_and_impossible_is_an_error(tree, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    status, output, _ = pytest_run(tree, "--vm")
    assert status not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    assert "qemu-system-x86_64 is missing" in output


def test_workers_are_told_to_keep_off(tree):
    status, output, _ = pytest_run(tree, "--vm", "-n", "2")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "one pytest drives one guest" in output
    status, output, outcomes = pytest_run(tree, "--vm", "-n", "2", "--place=host")
    assert status == pytest.ExitCode.OK, output
    assert outcomes == {"test_twice[host]": "passed"}
