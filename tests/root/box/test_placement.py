"""Where a job runs and what it weighs, through the real kernel: it can narrow its place and not widen it."""

import contextlib
import glob
import os
import subprocess

import pytest
from msgspec.structs import replace
from tests.root.box.harness import DANGEROUS, NOBODY, ROOT, SAFE, NotStartedError, python

from cbx_sandbox.box import cgroup, placing, trial
from cbx_sandbox.linux import mountinfo
from cbx_sandbox.placement import SHARES
from cbx_sandbox.policy import Placement

pytestmark = [pytest.mark.root, pytest.mark.vm]

CPUS = tuple(sorted(os.sched_getaffinity(0)))
WHERE = """
def lists():
    text = open("/proc/self/status").read()
    return [line.split()[1] for line in text.splitlines() if "allowed_list" in line]
attempt("widen", lambda: os.sched_setaffinity(0, range(64)))
pid = os.fork()
if not pid:
    os.sched_setaffinity(0, range(64))
    os._exit(0 if len(os.sched_getaffinity(0)) == 1 else 1)
child = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
groups = open("/proc/self/cgroup").read().split()
attempt("nicer", lambda: os.nice(-1))
attempt("priority", lambda: syscall(251 if os.uname().machine == "x86_64" else 30, 1, 0, 2 << 13))
say(cpus=sorted(os.sched_getaffinity(0)), lists=lists(), child=child, nice=os.nice(0), groups=groups)
"""


def placed(box, tier=SAFE, identity=ROOT, **wanted):
    return replace(box.policy(tier, identity=identity), placement=Placement(**wanted))


@pytest.mark.parametrize(
    ("tier", "identity"), [(SAFE, ROOT), (SAFE, NOBODY), (DANGEROUS, ROOT)], ids=["safe", "user", "shifted"]
)
def test_a_job_runs_on_its_cpus_whatever_it_asks_for(box, tier, identity):
    """A cpuset holds it and its children; without one it has every CPU. Its groups are not to be seen, nor left."""
    found = box.attack(WHERE, placed(box, tier, identity, cpus=CPUS[:1], nodes=(0,), nice=5, io_weight=50))
    assert found["cpus"] == [CPUS[0]]
    assert found["lists"] == [str(CPUS[0]), "0"]
    assert found["child"] == 0
    assert found["nice"] == 5
    assert found["nicer"] != "done"
    assert found["priority"] == "EPERM"
    assert {line.rpartition(":")[2] for line in found["groups"]} == {"/"}
    assert not glob.glob(f"/sys/fs/cgroup/cpuset/{box.name}/[js]*")
    free = box.attack(WHERE, box.policy(tier, identity=identity))
    assert (free["cpus"], free["nice"], free["priority"]) == (list(CPUS), 0, "done")
    assert free["child"] == (0 if len(CPUS) == 1 else 1)


def weights(job):
    """The files of the group that competes with other jobs', wherever it is."""
    name = job.harness.name
    found = {}
    for root in (f"/sys/fs/cgroup/*/{name}/{job.group}", f"/sys/fs/cgroup/{name}/jobs/{job.group}"):
        for path in glob.glob(f"{root}/*weight*") + glob.glob(f"{root}/cpu.shares") + glob.glob(f"{root}/cpu.idle"):
            with open(path) as file:
                found[os.path.basename(path)] = file.read().split()[-1]
    return found


@pytest.mark.parametrize(
    ("wanted", "weight", "shares"),
    [({"nice": 10}, "11", SHARES[30]), ({"cpu_weight": 10}, "10", 102), ({"nice": 10, "cpu_weight": 200}, "200", 2048)],
    ids=["nice", "weight", "both"],
)
def test_a_job_that_is_nice_is_so_to_other_jobs(box, wanted, weight, shares):
    """Nice counts within a group alone: its group weighs as little. What is not asked for is as usual."""
    job = box.start(python("say()\ntime.sleep(600)"), placed(box, **wanted))
    job.read_until("{")
    found = weights(job)
    job.control.kill()
    job.wait()
    assert found.get("cpu.shares", str(shares)) == str(shares)
    assert found.get("cpu.weight", weight) == weight
    assert "cpu.shares" in found or "cpu.weight" in found
    assert found["cpu.idle"] == "0"


def test_idle_is_what_is_left_over(box):
    """Of the CPUs and of the disks; a disk that does not go by it is told."""
    job = box.start(python("say()\ntime.sleep(600)"), placed(box, cpu_weight=0, io_weight=0))
    job.read_until("{")
    found = weights(job)
    job.control.kill()
    missing = job.wait().missing
    assert found["cpu.idle"] == "1"
    weighed = [value for name, value in found.items() if "bfq" in name or name == "io.weight"]
    assert set(weighed) <= {"1"}
    assert weighed or "io-weight" in missing


def test_what_the_scheduler_of_a_disk_does_with_weights(tmp_path):
    """A disk of our own under each scheduler that this kernel has, as the real sysfs shows it."""
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    losetup = ["losetup", "--find", "--show", tmp_path / "disk"]
    disk = subprocess.run(losetup, capture_output=True, text=True, check=True).stdout.strip()
    try:
        groups = cgroup.Groups(mountinfo.read(), "cbx-test-disk")  # nothing is made of it
        number = os.stat(disk).st_rdev
        groups.devices = [f"{os.major(number)}:{os.minor(number)}"]
        chooser = f"/sys/block/{os.path.basename(disk)}/queue/scheduler"
        with open(chooser) as file:
            known = file.read().replace("[", " ").replace("]", " ").split()
        for name in known:
            with open(chooser, "w") as file:
                file.write(name)
            why = placing.io_weights_ignored(groups, idle=False)
            assert (why == "") is (name == "bfq"), why
            assert why == "" or os.path.basename(disk) in why
            idle = placing.io_weights_ignored(groups, idle=True)
            assert (idle == "") is (name in {"bfq", "mq-deadline"}), idle
    finally:
        subprocess.run(["losetup", "--detach", disk], check=True)


def test_groups_of_a_service_lie_below_its_slice(tmp_path):
    """Each level of a cpuset has to be given CPUs and memory, or none below it can be."""
    outer = f"cbx-test-{os.getpid()}.slice"
    try:
        with trial.Bench(f"{outer}/inner.service", str(tmp_path)) as bench:
            ran = bench.run(["/bin/grep", "allowed_list", "/proc/self/status"], placement=Placement(cpus=CPUS[:1]))
        assert ran.output.split()[1::2] == [str(CPUS[0]), "0"], ran
    finally:
        for left in (*glob.glob(f"/sys/fs/cgroup/*/{outer}"), *glob.glob(f"/sys/fs/cgroup/{outer}")):
            os.rmdir(left)  # nothing is in it any more


def test_a_place_that_the_kernel_does_not_have_starts_nothing(box):
    """The supervisor asks for none; if it did, the job would not run elsewhere instead."""
    beyond = (max(CPUS) + 1000,)
    with pytest.raises(NotStartedError):
        box.run(python("say()"), placed(box, cpus=beyond))
    assert box.attack("say(fine=1)", placed(box, cpus=CPUS[:1]))["fine"] == 1


@pytest.fixture
def cpuset():
    """Where cgroup v1 has it on this host."""
    for mount in mountinfo.read():
        if mount.kind == "cgroup" and "cpuset" in mount.super_options:
            return mount.target
    return None


def _set_cpus(level, cpus):
    with open(f"{level}/cpuset.cpus", "w", encoding="ascii") as file:
        file.write(cpus)


def test_a_cpu_that_has_come_back_is_given_to_jobs_again(box, cpuset):
    """Cgroup v1 takes a CPU that goes offline from all groups: what it leaves behind is made here by hand.

    A level that somebody else filled stays as it is: the control.
    """
    first, second = str(CPUS[0]), CPUS[-1:]
    assert box.attack("say(fine=1)", placed(box, cpus=second))["fine"] == 1
    if cpuset is None or len(CPUS) == 1:
        return  # on the unified hierarchy the kernel itself gives it back
    level = f"{cpuset}/{box.name}"
    _set_cpus(level, first)
    found = box.attack("say(cpus=sorted(os.sched_getaffinity(0)))", placed(box, cpus=second))
    assert found["cpus"] == list(second)
    os.removexattr(level, placing.FILLED)
    _set_cpus(level, first)
    with pytest.raises(NotStartedError):
        box.run(["true"], placed(box, cpus=second))
    os.setxattr(level, placing.FILLED, b"1")
    box.run(["true"], placed(box, cpus=second))


def test_cpus_that_somebody_else_chose_stay(box, cpuset):
    """Also where he left the memory nodes to cbx."""
    if cpuset is None or len(CPUS) == 1:
        return  # on the unified hierarchy nobody has to choose
    level = f"{cpuset}/{box.name}"
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(level)
    os.mkdir(level)
    try:
        _set_cpus(level, str(CPUS[0]))
        with pytest.raises(NotStartedError):
            box.run(["true"], placed(box, cpus=CPUS[-1:]))
        assert box.attack("say(fine=1)", placed(box, cpus=CPUS[:1]))["fine"] == 1
    finally:
        os.rmdir(level)
