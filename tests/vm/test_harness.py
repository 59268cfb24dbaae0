"""The guest is what tests marked `vm` take it for, and their outcome reaches the host's pytest."""

import os
import subprocess
from pathlib import Path

import pytest

import cbx_sandbox
import cbx_supervisor

pytestmark = pytest.mark.vm


def test_systemd_is_pid_1():
    assert Path("/proc/1/comm").read_text() == "systemd\n"
    state = subprocess.run(["systemctl", "is-system-running"], capture_output=True, text=True, check=False)
    assert state.stdout == "running\n"


def test_cgroups_are_pure_v2():
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    assert [fields[1] for fields in lines if fields[2] in {"cgroup", "cgroup2"}] == ["/sys/fs/cgroup"]
    controllers = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    assert {"memory", "cpu", "io", "pids"} <= set(controllers)


def test_the_run_has_a_cgroup_of_its_own_with_controllers_delegated():
    cgroup = Path("/sys/fs/cgroup", Path("/proc/self/cgroup").read_text().strip().removeprefix("0::/"))
    assert cgroup.suffix == ".scope"
    assert {"memory", "cpu", "io", "pids"} <= set((cgroup / "cgroup.controllers").read_text().split())


def test_kernel_is_newer_than_the_release_s_own():
    assert tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 12)


def test_tree_is_mounted_read_only_and_imported_from():
    assert Path(__file__) == Path("/src/tests/vm/test_harness.py")
    assert str(cbx_sandbox.__path__[0]) == "/src/sandbox/cbx_sandbox"
    assert str(cbx_supervisor.__path__[0]) == "/src/supervisor/cbx_supervisor"
    assert os.statvfs("/src").f_flag & os.ST_RDONLY


def test_there_is_a_second_file_system():
    assert os.stat("/srv").st_dev != os.stat("/").st_dev
    for folder in ("/srv", "/tmp", "/root"):
        probe = Path(folder, "probe")
        probe.write_text("x")
        probe.unlink()


def test_builder_is_an_ordinary_user_who_may_run_the_tests_interpreter():
    who = subprocess.run(
        ["runuser", "-u", "builder", "--", "python", "-c", "import os, pytest, cbx_sandbox; print(os.getuid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert who.stdout == "1000\n"


def test_programs_that_tests_call_are_there():
    for program in ("bwrap", "crun", "git", "mkfs.btrfs", "mkfs.ext4", "mkfs.xfs", "nft", "strace", "sudo", "setfacl"):
        assert (
            subprocess.run(
                ["/bin/sh", "-c", f"command -v {program}"], check=False, stdout=subprocess.DEVNULL
            ).returncode
            == 0
        ), program


def test_slowness_is_told_and_time_outs_are_scaled(request):
    assert os.environ["CBX_IN_GUEST"] == "1"
    assert float(os.environ["CBX_TIME_SCALE"]) > 1
    assert request.node.get_closest_marker("timeout").args[0] > 300


@pytest.mark.root
def test_both_marks_make_two_items(cbx_place):
    """This one is run on the host by `make test-root`, too."""
    assert cbx_place == ("guest" if os.environ.get("CBX_IN_GUEST") else "host")


@pytest.mark.parametrize("text", ["a::b", "ä[x]", "with space"])
def test_odd_parameters_find_their_way(text):
    assert text
