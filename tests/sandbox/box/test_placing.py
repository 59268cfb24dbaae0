"""What a payload does of a placement by itself, and the filters that keep it so; which disks go by weights."""

import json
import os
import subprocess
import sys
import types

import pytest

from cbx_sandbox.box import cgroup, placing
from cbx_sandbox.linux import mountinfo

# A process of its own, since none of it can be taken back. Its first argument: the placement; its second: the filters.
CODE = """
import ctypes, json, os, sys
from cbx_sandbox.box import placing, profiles
from cbx_sandbox.linux import libc, priorities, privileges, seccomp
wanted, kept = json.loads(sys.argv[1]), json.loads(sys.argv[2])
programs = profiles.keepers()
placing.settle(wanted, None)
privileges.no_new_privs()
for name in kept:
    seccomp.install(programs[name])
answers = {}
def attempt(name, call, *arguments):
    try:
        answers[name] = call(*arguments)
    except OSError as error:
        answers[name] = error.errno
IOPRIO_GET = 252 if os.uname().machine == "x86_64" else 31
answers["cpus"] = sorted(os.sched_getaffinity(0))
answers["nice"] = os.getpriority(os.PRIO_PROCESS, 0)
answers["priority"] = libc.syscall(IOPRIO_GET, 1, 0, name="ioprio_get")
attempt("widen", os.sched_setaffinity, 0, json.loads(sys.argv[3]))
attempt("policy", priorities.bind_memory, (0,))
attempt("io", priorities.io_priority, priorities.BEST_EFFORT, 0)
pid = os.fork()
if not pid:
    attempt("child", os.sched_setaffinity, 0, json.loads(sys.argv[3]))
    os._exit(answers["child"] or 0)
answers["child"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
answers["now"] = sorted(os.sched_getaffinity(0))
print(json.dumps(answers))
"""
CPUS = sorted(placing.os.sched_getaffinity(0))
WANTED = {
    "cpus": CPUS[:1], "nodes": [0], "nice": 3, "cpu_weight": None, "io_weight": 10, "fixed": ["cpus", "nodes", "io"],
}  # fmt: skip
EPERM = 1
BEST_EFFORT_7, IDLE_7 = 2 << 13 | 7, 3 << 13 | 7


def settled(kept, **changes):
    given = [json.dumps(value) for value in ({**WANTED, **changes}, kept, CPUS)]
    ran = subprocess.run([sys.executable, "-I", "-c", CODE, *given], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def test_without_cpusets_a_filter_keeps_a_job_where_it_is():
    """Its children, too; without the filters all of it can be taken back."""
    held = settled(["cpus", "nodes", "io"])
    assert (held["cpus"], held["nice"], held["priority"]) == (CPUS[:1], 3, BEST_EFFORT_7)
    assert [held[name] for name in ("widen", "policy", "io", "child")] == [EPERM] * 4
    assert held["now"] == CPUS[:1]
    free = settled([])
    assert [free[name] for name in ("widen", "policy", "io", "child")] == [None, None, None, 0]
    assert free["now"] == CPUS


def test_idle_is_a_class_of_its_own_and_what_a_cpuset_holds_is_left_to_it():
    """Nothing is set twice."""
    found = settled([], fixed=["io"], io_weight=0, nice=None)
    as_here = os.getpriority(os.PRIO_PROCESS, 0)
    assert (found["cpus"], found["nice"], found["priority"]) == (CPUS, as_here, IDLE_7)


@pytest.fixture
def disks(tmp_path):
    """Make a /sys with disks that have these schedulers, and the groups of a supervisor on it."""

    def make(schedulers, costs=""):
        for number, text in enumerate(schedulers):
            queue = tmp_path / f"dev/block/8:{number}/queue"
            queue.mkdir(parents=True)
            (queue / "scheduler").write_text(text)
        unified = tmp_path / "unified"
        unified.mkdir()
        (unified / "io.cost.qos").write_text(costs)
        devices = [f"8:{number}" for number in range(len(schedulers))]
        return types.SimpleNamespace(layout=types.SimpleNamespace(unified=str(unified)), devices=devices)

    return make


BFQ, DEADLINE, NONE = "none mq-deadline [bfq]\n", "none [mq-deadline] bfq\n", "[none] bfq\n"


@pytest.mark.parametrize(
    ("schedulers", "costs", "weighs", "idles"),
    [
        ([BFQ], "", True, True),
        ([DEADLINE], "", False, True),
        ([NONE], "", False, False),
        ([BFQ, NONE], "", False, False),
        ([BFQ, NONE], "8:1 enable=1 ctrl=auto\n", True, True),
        ([NONE], "8:0 enable=0 ctrl=auto\n", False, False),
        ([], "", False, False),
    ],
)
def test_weights_count_where_every_disk_goes_by_them(disks, tmp_path, schedulers, costs, weighs, idles):
    """BFQ and io.cost do; mq-deadline tells only idle from the rest; where one does not it is named."""
    groups = disks(schedulers, costs)
    for idle, counts in ((False, weighs), (True, idles)):
        why = placing.io_weights_ignored(groups, idle=idle, sys=str(tmp_path))
        assert (why == "") is counts, why
    if NONE in schedulers and not weighs:
        assert "no scheduler" in placing.io_weights_ignored(groups, idle=False, sys=str(tmp_path))


@pytest.fixture
def unified(tmp_path):
    """A job's groups on a unified host whose files are plain ones; and what it says of itself."""

    def make(*controllers):
        root = tmp_path / "unified"
        for directory in ("", "cbx", "cbx/jobs", "cbx/jobs/1", "cbx/jobs/1/payload"):
            (root / directory).mkdir()
            (root / directory / "cgroup.controllers").write_text(" ".join(controllers))
            (root / directory / "cgroup.subtree_control").write_text("")
        for name in ("cpu.weight", "cpu.weight.nice", "cpu.idle", "io.weight", "io.bfq.weight"):
            (root / f"cbx/jobs/1/{name}").write_text("")
        for name in ("cpuset.cpus", "cpuset.mems"):
            (root / f"cbx/jobs/1/payload/{name}").write_text("")
        (root / "cbx/jobs/cpuset.cpus.effective").write_text(f"{CPUS[0]}-{CPUS[0] + 7}\n")
        (root / "cbx/jobs/cpuset.mems.effective").write_text("0-1\n")
        groups = cgroup.Groups(mountinfo.parse(f"30 1 0:30 / {root} rw - cgroup2 cgroup2 rw"), "cbx")
        groups.passed_on = " ".join(f"+{name}" for name in controllers)
        group = cgroup.JobGroup(groups, "1")
        files = root / "cbx/jobs/1"
        return group, lambda: {str(f.relative_to(files)): f.read_text() for f in files.rglob("*") if f.is_file()}

    return make


def test_on_a_unified_host_cpus_are_the_payload_s_and_weights_the_job_s(unified):
    """Weights count beside other jobs, one level above the limits; nothing is left for the payload to join."""
    group, files = unified("cpu", "cpuset", "io")
    told = placing.report(group.groups)
    assert (told["by"], told["nodes"]) == ("cpuset", [0, 1])
    assert told["cpus"] == [cpu for cpu in CPUS if cpu <= CPUS[0] + 7]
    wanted = {"cpus": [0, 1, 3], "nodes": [1], "nice": 5, "cpu_weight": None, "io_weight": 1000, "fixed": ["io"]}
    assert placing.place(group, wanted) is None
    found = files()
    assert (found["payload/cpuset.cpus"], found["payload/cpuset.mems"]) == ("0-1,3", "1")
    assert (found["cpu.weight.nice"], found["cpu.weight"], found["cpu.idle"]) == ("5", "", "")
    assert (found["io.weight"], found["io.bfq.weight"]) == ("default 1000", "181")


def test_idle_and_weights_on_a_unified_host(unified):
    """One file for each; what is not asked for is not touched."""
    group, files = unified("cpu", "cpuset", "io")
    placing.place(group, dict.fromkeys(WANTED) | {"cpu_weight": 0, "fixed": []})
    placing.place(group, dict.fromkeys(WANTED) | {"cpu_weight": 300, "nice": 5, "fixed": []})
    found = files()
    assert (found["cpu.idle"], found["cpu.weight"], found["cpu.weight.nice"]) == ("1", "300", "")
    assert found["payload/cpuset.cpus"] == found["io.weight"] == ""


def test_a_unified_host_without_controllers_says_so(unified):
    """Affinity is left to the payload and its filter, weights count for nothing."""
    group, files = unified()
    told = placing.report(group.groups)
    assert (told["by"], told["cpus"]) == ("seccomp", CPUS)
    assert set(told["missing"]) == {"cpu-weight", "io-weight"}
    assert placing.place(group, WANTED) is None
    assert set(group.missing) >= {"cpu-weight", "io-weight"}
    assert files()["payload/cpuset.cpus"] == ""
