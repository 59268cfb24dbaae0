"""Containment cases, section 2: /proc, /sys and the kernel's own knobs.

On this machine attacks open for writing and write nothing: that they can open is the damage. Real writes are made in
the guest only.
"""

import os
import re
import subprocess
import sys

import pytest
from tests.root.box.harness import CONDITIONAL, DANGEROUS, NOBODY, SEQUENTIAL, native, python, read

from cbx_sandbox.box import operations as ops
from cbx_sandbox.linux import mountinfo
from cbx_sandbox.policy import NetworkMode

pytestmark = [pytest.mark.root, pytest.mark.vm]

KNOBS = (
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/proc/sysrq-trigger",
    "/proc/sys/vm/swappiness", "/proc/sys/vm/drop_caches", "/proc/sys/fs/file-max", "/proc/sys/kernel/hostname",
    "/proc/sys/net/ipv4/ip_forward", "/proc/sys/user/max_user_namespaces", "/proc/irq/default_smp_affinity",
    "/proc/1/oom_score_adj", "/proc/self/oom_score_adj", "/proc/self/attr/current",
    "/sys/kernel/uevent_helper", "/sys/kernel/mm/ksm/run", "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/power/state", "/sys/class/net/lo/mtu",
)  # fmt: skip
OPEN_FOR_WRITING = f"""
def open_for_writing(path):
    fd = os.open(path, os.O_WRONLY)
    if os.fstat(fd).st_rdev == os.makedev(1, 3):
        raise OSError(errno.EACCES, "a mask: what is written to /dev/null goes nowhere")
    os.close(fd)
for path in {KNOBS!r}:
    attempt(path, lambda: open_for_writing(path))
say()
"""
REFUSED = {"EROFS", "EACCES", "EPERM", "ENOENT"}


def policies(box):
    """One of each kind of box."""
    directory = box.sacrifice()
    return {
        "safe": box.policy(),
        "user": box.policy(identity=NOBODY),
        "conditional": box.policy(CONDITIONAL, direct=[directory]),
        "sequential": box.policy(SEQUENTIAL, overlay=[directory]),
        "shifted": box.policy(DANGEROUS),
        "dangerous": box.policy(DANGEROUS, shifted=False),
        "host network": box.policy(network=NetworkMode.HOST),
    }


@pytest.mark.parametrize("landlock", [False, True], ids=["mounts-alone", "with-landlock"])
@pytest.mark.parametrize("kind", ["safe", "user", "conditional", "sequential", "shifted", "dangerous", "host network"])
def test_case_045_047_048_049_050_no_kernel_setting_can_be_opened_for_writing(box, kind, landlock):
    """Not one of them, in any kind of box. Natively root opens most: those that this kernel has."""
    answers = box.attack(OPEN_FOR_WRITING, policies(box)[kind], landlock=landlock)
    assert set(answers.values()) <= REFUSED, {path: said for path, said in answers.items() if said not in REFUSED}


def test_case_045_047_048_049_050_control(box):
    """Natively root opens for writing what no box lets it open; nothing is written."""
    opened = native(python(OPEN_FOR_WRITING)).answers
    named = KNOBS[0], KNOBS[1], *KNOBS[3:7], KNOBS[8], "/sys/kernel/mm/ksm/run"
    assert {opened[path] for path in named if os.path.exists(path)} == {"done"}
    # The same box with a /proc as it would come without protection.
    without = box.attack(OPEN_FOR_WRITING, box.policy(), landlock=False, alter=_writable_proc)
    assert {without[path] for path in KNOBS[:1] + KNOBS[4:5]} == {"done"}


def _writable_proc(steps):
    """The own /proc left out: the host's one is in the tree, read-only, so the whole tree stays writable too."""
    kept = [step for step in steps if not isinstance(step, ops.Proc)]
    return [ops.PrivateTree(read_only=False) if isinstance(step, ops.PrivateTree) else step for step in kept]


MASKED = ("kcore", "keys", "timer_list", "kallsyms", "kmsg", "sched_debug", "interrupts", "kpageflags", "slabinfo",
          "vmallocinfo")  # fmt: skip
READ_MASKED = f"""
found = {{}}
for name in {MASKED!r}:
    try:
        with open("/proc/" + name, "rb") as file:
            found[name] = len(file.read(64)) if name != "kmsg" else -1
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
say(found=found)
"""


@pytest.mark.parametrize("host_proc", [False, True], ids=["own-proc", "host-proc"])
def test_case_051_memory_keys_timers_and_symbols_are_masked(box, host_proc):
    """Each reads as empty (the masks are /dev/null) or is not there; natively root reads something from them."""
    found = box.attack(READ_MASKED, box.policy(host_proc=host_proc))["found"]
    assert {name: said for name, said in found.items() if said not in {0, -1, "ENOENT", "EACCES"}} == {}
    outside = native(python(READ_MASKED)).answers["found"]
    assert [name for name, said in outside.items() if isinstance(said, int) and said > 0]


def test_case_052_masks_are_made_of_the_real_device_only(box):
    """A /dev/null that is something else (CVE-2025-31133: a link to core_pattern) ends the building of boxes."""
    code = """
import os, sys
from cbx_sandbox.box.stage import device
from cbx_sandbox.linux import mounts
mounts.mount_setattr(-100, "/", propagation=mounts.MS_PRIVATE, recursive=True)
if sys.argv[1] == "attacked":
    tree = mounts.open_tree(sys.argv[2])
    mounts.move_mount(tree, "/dev/null")
os.close(device("null", mounts.ATTR_RDONLY))
print("made")
"""
    argv = ["unshare", "--mount", sys.executable, "-c", code]
    attacked = native([*argv, "attacked", box.victim()])
    assert "is not the device it should be" in attacked.err
    assert native([*argv, "intact", ""]).out == "made\n"


def test_case_055_the_launcher_s_program_cannot_be_overwritten(box):
    """/proc/PID/exe of init and of the job itself: refused. The interpreter that all of it runs on stays the same."""
    before = os.stat(sys.executable)
    code = """
for who in ("1", "self"):
    attempt(who, lambda: os.close(os.open(f"/proc/{who}/exe", os.O_WRONLY)))
say()
"""
    for policy in (box.policy(), box.policy(DANGEROUS, shifted=False)):
        answers = box.attack(code, policy)
        assert answers["1"] in {"EACCES", "ENOENT", "EPERM"}
        assert answers["self"] in {"EACCES", "ETXTBSY", "EROFS", "EPERM"}
    assert os.stat(sys.executable) == before
    # The control: a program of one's own that does not run is opened by the same call.
    copy = f"{box.sacrifice()}/program"
    subprocess.run(["cp", sys.executable, copy], check=True)
    assert native(python(f"attempt('own', lambda: os.close(os.open({copy!r}, os.O_WRONLY))); say()")).answers == {
        "own": "done"
    }


PEEK = """
pid = {pid}
for name in ("exe", "root", "cwd"):
    attempt(name, lambda: os.readlink(f"/proc/{{pid}}/{{name}}"))
attempt("fd", lambda: os.listdir(f"/proc/{{pid}}/fd"))
for name in ("environ", "mem", "maps", "cmdline"):
    attempt(name, lambda: os.read(os.open(f"/proc/{{pid}}/{{name}}", os.O_RDONLY), 0))
attempt("ns", lambda: os.readlink(f"/proc/{{pid}}/ns/mnt"))
say(listed=os.listdir("/proc").count(str(pid)))
"""


@pytest.mark.parametrize("kind", ["safe", "user", "shifted", "dangerous"])
def test_case_056_057_init_cannot_be_looked_into(box, kind):
    """Neither its files, memory and environment nor its command line: it is not even listed."""
    answers = box.attack(PEEK.format(pid=1), policies(box)[kind])
    assert answers.pop("listed") == 0
    assert set(answers.values()) <= {"EACCES", "ENOENT", "EPERM"}


def test_case_056_057_control(box):
    """The same look at an ordinary process of one's own finds everything, natively and in a box."""
    code = PEEK.format(pid="os.getpid()")
    assert set(box.attack(code).values()) <= {"done", 1}
    assert set(native(python(code)).answers.values()) <= {"done", 1}


def test_case_058_no_process_of_the_host_is_seen(box):
    """/proc lists the job's own processes only; with the host's /proc, which `ps` needs, it lists the host's."""
    code = "say(listed=[int(name) for name in os.listdir('/proc') if name.isdigit()])"
    for policy in (box.policy(), box.policy(DANGEROUS)):
        answers = box.attack(code, policy)
        assert len(answers["listed"]) <= 2
    assert os.getpid() in box.attack(code, box.policy(host_proc=True))["listed"]


HOST_PROC = """
for name in ("root" + {victim!r}, "cwd/file"):
    attempt("write " + name, lambda: os.close(os.open(f"/proc/{pid}/{{name}}", os.O_WRONLY | os.O_CREAT)))
attempt("mem", lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR)))
attempt("oom", lambda: os.close(os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY)))
attempt("signal", lambda: os.kill({pid}, 0))
say()
"""


def test_case_058_the_host_s_proc_gives_no_way_out(box):
    """A job that sees the host's processes writes neither through their roots nor to their memory; natively it can."""
    if not box.ready.landlock:
        pytest.skip("needs Landlock: without it no job gets the host's /proc")
    victim = box.victim()
    process = subprocess.Popen(["sleep", "600"], cwd=os.path.dirname(victim))
    try:
        code = HOST_PROC.format(pid=process.pid, victim=victim)
        answers = box.attack(code, box.policy(host_proc=True))
        # The number means nothing in the job's own PID namespace, or names a process of the job's.
        answers.pop("signal")
        assert set(answers.values()) <= {"EACCES", "EROFS", "EPERM"}
        assert set(native(python(code)).answers.values()) == {"done"}
    finally:
        process.kill()
        process.wait()


SYS = ("/sys/kernel/mm", "/sys/class/net/lo/", "/sys/kernel", "/sys/block", "/sys/module/kernel", "/sys/fs")
WRITE_SYS = """
said = {{}}
tried = 0
for place in {places!r}:
    for directory, _, names in os.walk(place):
        for name in names:
            path = os.path.join(directory, name)
            if os.lstat(path).st_mode & 0o222 and stat.S_ISREG(os.lstat(path).st_mode) and tried < 400:
                tried += 1
                try:
                    os.close(os.open(path, os.O_WRONLY))
                    said["done"] = path
                except OSError as error:
                    said[errno.errorcode[error.errno]] = path
say(said=said, tried=tried)
"""


@pytest.mark.parametrize("kind", ["safe", "user", "conditional", "sequential", "shifted", "dangerous"])
def test_case_060_nothing_below_sys_can_be_written(box, kind):
    """Every file that its mode would let root write: each of a sample is refused. Natively some open."""
    answers = box.attack(WRITE_SYS.format(places=SYS), policies(box)[kind], landlock=False)
    assert answers["tried"]
    assert set(answers["said"]) <= {"EROFS", "EACCES", "EPERM"}, answers["said"]


def test_case_060_control():
    """Natively root opens the same files for writing: of those here, opening one changes nothing."""
    assert "done" in native(python(WRITE_SYS.format(places=SYS[:2]))).answers["said"]


@pytest.mark.parametrize("kind", ["safe", "user", "shifted", "dangerous"])
def test_case_060_061_062_the_job_s_own_group_is_all_it_sees_and_is_read_only(box, kind):
    """Neither limits nor membership can be changed, and no other group is in sight."""
    code = """
place = "/sys/fs/cgroup/"
for name in ("memory.max", "cpu.max", "pids.max", "cgroup.freeze", "cgroup.kill", "cgroup.procs", "cgroup.threads"):
    attempt(name, lambda: os.close(os.open(place + name, os.O_WRONLY)))
attempt("mkdir", lambda: os.mkdir(place + "sub"))
for name in ("..", "../.."):
    attempt(name, lambda: os.close(os.open(place + name + "/cgroup.procs", os.O_WRONLY)))
say(groups=[e.name for e in os.scandir(place) if e.is_dir()], own=open("/proc/self/cgroup").read(),
    procs=open(place + "cgroup.procs").read().split())
"""
    answers = box.attack(code, policies(box)[kind], landlock=False)
    assert answers.pop("groups") == []
    assert "0::/\n" in answers.pop("own")
    assert len(answers.pop("procs")) == 1
    assert set(answers.values()) <= REFUSED


def test_case_060_061_062_control(box):
    """Natively root moves a process and sets limits in a group like the job's, through the same files."""
    job = box.start(["sleep", "600"], box.policy())
    path = next(
        path for path in box.groups("job-" + job.name.rpartition("-")[2]) if "unified" in path or "/jobs/" in path
    )
    group = f"{path}/payload"
    for name in ("cgroup.procs", "cgroup.kill", "cgroup.freeze"):
        os.close(os.open(f"{group}/{name}", os.O_WRONLY))
    with open(f"{group}/cgroup.kill", "w", encoding="ascii") as file:
        file.write("1")
    assert job.wait().outcome["signal"] == 9


def test_case_061_cgroups_of_the_host_tell_nothing(box):
    """/proc/self/cgroup names no group of the host's: v1 hierarchies included, unless nobody limits through them."""
    job = box.start(["sh", "-c", "cat /proc/self/cgroup; echo done; sleep 600"], box.policy())
    told = job.read_until("done")
    assert box.name not in told
    assert re.search(r"^0::/$", told, re.MULTILINE)
    # The control: what the host says of the same process.
    (group,) = [path for path in box.groups(job.group) if os.path.exists(f"{path}/payload/cgroup.kill")]
    assert box.name in read(f"/proc/{read(f'{group}/payload/cgroup.procs').split()[0]}/cgroup")
    job.control.kill()
    job.wait()


PRIVILEGED = """
x86 = os.uname().machine == "x86_64"
numbers = dict(kexec_load=246, init_module=175, finit_module=313, delete_module=176, swapon=167, reboot=169,
               settimeofday=164, sethostname=170, setdomainname=171, iopl=172, acct=163, quotactl=179, syslog=103,
               bpf=321, perf_event_open=298, setns=308, chroot=161)
attempt("swapon", lambda: syscall(numbers["swapon"], b"/dev/null", 0))
attempt("sethostname", lambda: syscall(numbers["sethostname"], b"attacked", 8))
attempt("setdomainname", lambda: syscall(numbers["setdomainname"], b"attacked", 8))
attempt("settimeofday", lambda: syscall(numbers["settimeofday"], struct.pack("qq", int(time.time()), 0), None))
attempt("init_module", lambda: syscall(numbers["init_module"], b"", 0, b""))
attempt("delete_module", lambda: syscall(numbers["delete_module"], b"no_such_module", 0))
attempt("iopl", lambda: syscall(numbers["iopl"], 3))
attempt("acct", lambda: syscall(numbers["acct"], b"/run/tmp/acct"))
attempt("reboot", lambda: syscall(numbers["reboot"], 0xfee1dead, 672274793, 0x89ABCDEF, None))
attempt("kexec_load", lambda: syscall(numbers["kexec_load"], 0, 0, None, 0))
attempt("bpf", lambda: syscall(numbers["bpf"], 5, struct.pack("IIQQIIQ", 1, 2, 0, 0, 0, 0, 0), 40))
say()
"""
SYSLOG = """
buffer = ctypes.create_string_buffer(4096)
attempt("syslog", lambda: syscall(103 if os.uname().machine == "x86_64" else 116, 3, buffer, 4096))
attempt("kmsg", lambda: os.close(os.open("/dev/kmsg", os.O_RDONLY)))
say()
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("kind", ["safe", "user", "conditional", "sequential", "shifted", "dangerous"])
def test_case_063_privileged_system_calls_are_refused(box, kind):
    """Without capabilities over the host each ends with EPERM before it looks at its arguments."""
    answers = box.attack(PRIVILEGED, policies(box)[kind])
    assert answers.pop("bpf") in {"EPERM", "EINVAL", "EACCES", "EBADF"}
    assert set(answers.values()) <= {"EPERM", "ENOSYS"}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
def test_case_063_control(box):
    """Natively the harmless ones of them get past the check: into a namespace of one's own, or to another error.

    The others are made in the guest.
    """
    harmful = ("settimeofday", "reboot", "kexec_load")
    code = "\n".join(
        line for line in PRIVILEGED.splitlines() if not line.startswith(tuple(map('attempt("{}"'.format, harmful)))
    )
    answers = native(["unshare", "--uts", *python(code)]).answers
    assert answers["sethostname"] == answers["setdomainname"] == "done"
    assert "EPERM" not in answers.values(), answers


@pytest.mark.parametrize("kind", ["safe", "user", "shifted", "dangerous"])
def test_case_064_the_kernel_log_cannot_be_read(box, kind):
    """Neither by syslog(2), where dmesg_restrict says so, nor by its device, which is not there."""
    answers = box.attack(SYSLOG, policies(box)[kind])
    assert answers["kmsg"] == "ENOENT"
    if read("/proc/sys/kernel/dmesg_restrict") == "1\n":
        assert answers["syslog"] == "EPERM"
    assert native(python(SYSLOG)).answers == {"syslog": "done", "kmsg": "done"}


def test_case_118_only_six_devices_exist_and_none_can_be_made(box):
    """No disks, memory, FUSE, tun, loop or KVM; mknod is refused, and writable mounts would not honour a node."""
    names = ("vda", "sda", "mem", "kmsg", "fuse", "net/tun", "loop-control", "kvm", "loop0", "mapper/control")
    directory = box.sacrifice(mode=0o777)
    code = f"""
for name in {names!r}:
    attempt(name, lambda: os.close(os.open("/dev/" + name, os.O_RDWR)))
for place in ("/dev", "/dev/shm", "/run/tmp", {directory!r}):
    attempt("mknod " + place, lambda: os.mknod(place + "/null2", stat.S_IFCHR | 0o666, os.makedev(1, 3)))
say(found=sorted(os.listdir("/dev")))
"""
    expected = [*ops.DEVICES, "fd", "ptmx", "pts", "shm", "stderr", "stdin", "stdout"]
    for policy in (box.policy(), box.policy(DANGEROUS), box.policy(CONDITIONAL, direct=[directory])):
        answers = box.attack(code, policy, landlock=False)
        assert answers.pop("found") == sorted(expected)
        assert {answers[name] for name in names} == {"ENOENT"}
        assert {said for name, said in answers.items() if name.startswith("mknod")} <= {"EPERM", "EACCES", "EROFS"}
    assert native(["mknod", f"{directory}/null2", "c", "1", "3"]).code == 0
    # A node that is in the tree already cannot be opened through any mount of the box.
    opening = f"attempt('node', lambda: os.close(os.open({directory + '/null2'!r}, os.O_RDWR))); say()"
    for policy in (box.policy(), box.policy(DANGEROUS), box.policy(CONDITIONAL, direct=[directory])):
        assert box.attack(opening, policy)["node"] == "EACCES"
    assert native(python(opening)).answers == {"node": "done"}
    os.unlink(f"{directory}/null2")


def test_writable_mounts_honour_neither_devices_nor_setuid(box):
    """Every mount of the box that can be written, except the device nodes themselves, is nodev and nosuid."""
    directory = box.sacrifice()
    for policy in (
        box.policy(), box.policy(CONDITIONAL, direct=[directory]), box.policy(SEQUENTIAL, overlay=[directory]),
        box.policy(DANGEROUS), box.policy(DANGEROUS, identity=NOBODY), box.policy(tmpfs=[directory]),
    ):  # fmt: skip
        table = mountinfo.parse(box.run(["cat", "/proc/self/mountinfo"], policy).out)
        loose = [
            mount.target
            for mount in table
            if not mount.read_only and not {"nosuid", "nodev"} <= mount.options and not mount.target.startswith("/dev")
        ]
        assert loose == []
        assert all("nosuid" in mount.options for mount in table if not mount.read_only)
        written = {mount.target for mount in table if not mount.read_only and not mount.target.startswith("/dev")}
        allowed = {"/run", *(grant.path for grant in policy.grants), *policy.tmpfs}
        if policy.overlay_all:
            allowed |= {mount.target for mount in box.view().mounts}
        assert written <= allowed


STACKED = """
def once():
    made = syscall(444, struct.pack("Q", 1), 8, 0)  # landlock_create_ruleset: handles executing
    try:
        syscall(445, made, 1, struct.pack("=Qi", 1, os.open("/", os.O_PATH)), 0)  # landlock_add_rule
        syscall(446, made, 0)  # landlock_restrict_self
    finally:
        os.close(made)
layers = 0
while layers < 40 and attempt("stack", once):
    layers += 1
attempt("still runs", lambda: os.posix_spawn("/bin/true", ["true"], {}))
say(layers=layers)
"""


def test_case_119_a_sandbox_inside_may_stack_landlock_rules(box):
    """All but the one layer that the box has taken, then with a plain error; the control has that one more."""
    inside, outside = box.attack(STACKED), native(python("libc.prctl(38, 1, 0, 0, 0)\n" + STACKED)).answers
    assert inside == {"stack": "E2BIG", "still runs": "done", "layers": outside["layers"] - 1}
    assert (outside["stack"], outside["layers"] >= 15) == ("E2BIG", True)


INSTANCES = """
import resource
most = int(open("/proc/sys/fs/inotify/max_user_instances").read())
made = []
def instance():
    made.append(syscall(294, 0))  # inotify_init1
while len(made) < min(most + 10, 1000) and attempt("exhaust", instance):
    pass
"""


def test_case_143_a_job_with_shifted_ids_leaves_the_host_its_inotify_instances(box):
    """The kernel counts them as root's, too, who made its namespace: it may have a quarter of them at most."""
    with open("/proc/sys/fs/inotify/max_user_instances") as file:
        most = int(file.read())
    held = box.start(
        python(INSTANCES + "print(len(made), answers, flush=True); time.sleep(300)"), box.policy(DANGEROUS)
    )
    told = held.read_until("}")
    assert int(told.split()[0]) <= most // 4
    assert "EMFILE" in told
    assert native(python("attempt('again', lambda: syscall(294, 0)); say()")).answers == {"again": "done"}
    held.control.kill()
    held.wait()


def test_case_143_control():
    """Without such a limit a user's processes leave each other nothing."""
    code = """
if os.fork() == 0:
    attempt("again", lambda: syscall(294, 0))
    say(most=most)
    os._exit(0)
os.wait()
"""
    answers = native(python(INSTANCES + code), uid=61999).answers
    assert answers["most"] > 900 or answers["again"] == "EMFILE"
