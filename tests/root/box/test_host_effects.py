"""Layers that are lifted for a job that may change the host itself; its control is the same job without that."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile

import msgspec
import pytest
from tests.root.box.harness import DANGEROUS, NOBODY, SEQUENTIAL, NotStartedError, launcher

from cbx_sandbox.box import jobusers
from cbx_sandbox.linux import namespaces
from cbx_sandbox.policy import NetworkMode
from cbx_sandbox.shell.effects import HostKind

pytestmark = pytest.mark.root

TIERS = pytest.mark.parametrize("tier", [SEQUENTIAL, DANGEROUS], ids=["sequential", "dangerous"])


def policies(box, tier, *kinds, **more):
    """With the layers lifted, and as it is otherwise: of root whose ids are the host's."""
    overlay = [] if tier is DANGEROUS else [box.sacrifice()]
    plain = box.policy(tier, overlay=overlay, shifted=False, **more)
    return msgspec.structs.replace(plain, host_effects=frozenset(kinds)), plain


@pytest.fixture
def victim():
    """A process of the host's."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@TIERS
@pytest.mark.parametrize("kind", [HostKind.SERVICE, HostKind.DAEMON])
def test_the_sockets_of_daemons_lead_to_them(box, tier, kind):
    """One in /run answers; nothing else there can be changed, and what is hidden stays so."""
    with (
        tempfile.TemporaryDirectory(prefix="cbx-test-", dir="/run") as directory,
        socket.socket(socket.AF_UNIX) as daemon,
    ):
        os.mkdir(f"{directory}/hidden")
        daemon.bind(f"{directory}/socket")
        daemon.listen()
        code = f"""
attempt("connect", lambda: socket.socket(socket.AF_UNIX).connect({directory!r} + "/socket"))
attempt("write", lambda: os.mkdir({directory!r} + "/new"))
attempt("hidden", lambda: os.rmdir({directory!r} + "/hidden"))
attempt("own", lambda: os.mkdir("/run/tmp/own"))
say(there=os.listdir("/run"))
"""
        lifted, plain = policies(box, tier, kind, hide=[f"{directory}/hidden"])
        answers = box.attack(code, lifted)
        assert (answers["connect"], answers["own"]) == ("done", "done"), answers
        assert answers["write"] in {"EROFS", "EACCES"}, answers
        # All that the host has there, but for the locks of cbx itself.
        assert os.path.basename(directory) in answers["there"]
        assert not {os.path.basename(jobusers.LOCKS), "cbx.lock"} & set(answers["there"]), answers
        assert answers["hidden"] in {"EROFS", "EBUSY", "EACCES"}, answers
        assert box.attack(code, msgspec.structs.replace(plain, hide=()))["connect"] == "ENOENT"


@TIERS
def test_the_processes_of_the_host_can_be_signalled(box, victim, tier):
    """As its user may; and the job leaves none of its own behind."""
    code = f"""
attempt("kill", lambda: os.kill({victim.pid}, signal.SIGTERM))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 3)
        time.sleep(600)
    os._exit(0)
os.wait()
say()
"""
    lifted, plain = policies(box, tier, HostKind.PROCESS, host_proc=True)
    assert box.attack(code, plain)["kill"] in {"ESRCH", "EPERM"}
    other, _ = policies(box, tier, HostKind.PROCESS, host_proc=True, identity=NOBODY)
    assert box.attack(code, other)["kill"] == "EPERM"
    assert victim.poll() is None
    assert box.attack(code, lifted)["kill"] == "done"
    assert victim.wait(30) == -signal.SIGTERM


def test_the_files_of_the_host_stay_shut_behind_its_processes(box):
    """/proc/PID/root of a process of the same user is the host's tree: Landlock keeps it shut, or no job is started."""
    with tempfile.TemporaryDirectory(prefix="cbx-test-", dir="/tmp") as directory:
        os.chown(directory, NOBODY.uid, NOBODY.gid)
        own = subprocess.Popen(["sleep", "600"], user=NOBODY.uid, group=NOBODY.gid, extra_groups=[])
        try:
            code = f"""
attempt("through", lambda: open("/proc/{own.pid}/root" + {directory!r} + "/new", "w"))
say(seen=os.path.isdir("/proc/{own.pid}"))
"""
            lifted, plain = policies(box, SEQUENTIAL, HostKind.PROCESS, identity=NOBODY, host_proc=True)
            assert box.attack(code, lifted) == {"through": "EACCES", "seen": True}
            unseen = msgspec.structs.replace(lifted, host_proc=False)
            for policy in (lifted, unseen):
                with pytest.raises(NotStartedError, match="without Landlock"):
                    box.start(["true"], policy, landlock=False)
            assert os.listdir(directory) == []
            # The control: a job that shares no processes is started without it.
            own_view = msgspec.structs.replace(plain, host_proc=False)
            assert box.attack(code, own_view, landlock=False) == {"through": "ENOENT", "seen": False}
        finally:
            own.kill()
            own.wait()


def test_the_end_of_such_a_job_is_its_own_alone(box, victim):
    """It is ended with all that it has started, gently and then not; no other process hears of it."""
    heard = subprocess.Popen(
        ["sh", "-c", "trap 'echo TERM' TERM; echo ready; while :; do sleep 1; done"], stdout=subprocess.PIPE, text=True
    )
    assert heard.stdout is not None
    assert heard.stdout.readline() == "ready\n"
    lifted, _ = policies(box, SEQUENTIAL, HostKind.PROCESS, host_proc=True)
    child = "(trap 'echo child heard' TERM; echo begun; while :; do sleep 0.1; done) &"
    code = f"trap : TERM; {child} while :; do sleep 1; done"
    job = box.start(["sh", "-c", code], lifted, lease=True)
    job.read_until("begun")
    job.end_lease()
    ran = job.wait()
    assert (ran.outcome["reason"], ran.outcome["signal"]) == ("cancelled", signal.SIGKILL)
    assert "child heard" in ran.out
    assert victim.poll() is None
    assert heard.poll() is None
    heard.kill()
    heard.wait()
    assert heard.stdout.read() == ""


def test_what_outlives_its_init_is_ended(box, victim):
    """Without a PID namespace of its own nothing would end with init: the launcher sees to it."""
    lifted, _ = policies(box, SEQUENTIAL, HostKind.PROCESS, host_proc=True)
    job = box.start(["sh", "-c", "echo begun; exec sleep 600"], lifted)
    job.read_until("begun")
    os.kill(job.pid, signal.SIGKILL)
    ran = job.wait()
    assert ran.outcome["reason"] == "lost"
    assert victim.poll() is None


@TIERS
def test_settings_of_the_kernel_can_be_written(box, tier):
    """By root, to what they are; not by others, and nothing else in /proc or /sys can."""
    code = """
value = open("/proc/sys/vm/swappiness").read()
attempt("setting", lambda: write("/proc/sys/vm/swappiness", value))
attempt("sysrq", lambda: write("/proc/sysrq-trigger", "?"))
attempt("sys", lambda: os.open("/sys/kernel/uevent_helper", os.O_WRONLY))
say(uts=os.readlink("/proc/self/ns/uts"), ipc=os.readlink("/proc/self/ns/ipc"))
"""
    lifted, plain = policies(box, tier, HostKind.KERNEL)
    answers = box.attack(code, lifted)
    assert answers.pop("setting") == "done"
    assert [answers[name] for name in ("uts", "ipc")] == [
        os.readlink(f"/proc/self/ns/{name}") for name in ("uts", "ipc")
    ]
    refused = {"EROFS", "EACCES", "ENOENT", "EPERM"}
    assert answers["sys"] in refused
    without = box.attack(code, plain)
    assert without["setting"] in refused
    assert without["uts"] != answers["uts"]
    other, _ = policies(box, tier, HostKind.KERNEL, identity=NOBODY)
    assert box.attack(code, other)["setting"] in refused


@TIERS
@pytest.mark.parametrize(
    ("more", "landlock"),
    [((), True), ((), False), ((HostKind.PROCESS,), True)],
    ids=["alone", "without-landlock", "and-process"],
)
def test_settings_that_name_programs_cannot_be_written(box, tier, more, landlock):
    """The kernel would run those as root of the host, outside of every box. Nothing is written here.

    The control: the settings beside them can be opened for writing.
    """
    programs = ["kernel/core_pattern", "kernel/modprobe", "kernel/poweroff_cmd", "kernel/hotplug"]
    programs += ["kernel/usermodehelper/bset", "kernel/usermodehelper/inheritable", "fs/binfmt_misc/register"]
    values = ["kernel/core_uses_pid", "kernel/hostname", "kernel/panic", "fs/file-max", "vm/swappiness"]
    code = f"""
for name in {programs + values!r}:
    attempt(name, lambda: os.close(os.open("/proc/sys/" + name, os.O_WRONLY)))
attempt("made", lambda: os.mkdir("/proc/sys/fs/binfmt_misc/new"))
say()
"""
    lifted, _ = policies(box, tier, HostKind.KERNEL, *more, host_proc=bool(more))
    answers = box.attack(code, lifted, landlock=landlock)
    assert {answers[name] for name in values} == {"done"}, answers
    assert {answers[name] for name in programs} <= {"EROFS", "ENOENT"}, answers
    assert answers["kernel/core_pattern"] == "EROFS"
    assert answers["made"] != "done"


@pytest.fixture(scope="module")
def networked(own_mounts):
    """A launcher on a network that stands for the host's."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    namespaces.unshare(namespaces.CLONE_NEWNET)
    try:
        with launcher() as harness:
            yield harness
    finally:
        namespaces.setns(before, namespaces.CLONE_NEWNET)
        os.close(before)


@TIERS
def test_the_network_of_the_host_can_be_changed(networked, tier):
    """By root: links and packet rules, which stay; not by others, nor with the host's network alone."""
    code = "ip link set lo mtu 4000; nft add table inet cbx_test; true"
    lifted, plain = policies(networked, tier, HostKind.NETWORK, network=NetworkMode.HOST)
    other, _ = policies(networked, tier, HostKind.NETWORK, network=NetworkMode.HOST, identity=NOBODY)

    def state():
        return _output("ip", "-o", "link", "show", "lo").split()[4], "cbx_test" in _output("nft", "list", "tables")

    before = state()
    assert before[1] is False
    for policy in (plain, other):
        networked.run(["sh", "-c", code], policy)
        assert state() == before
    ran = networked.run(["sh", "-c", code], lifted)
    assert state() == ("4000", True), ran
    with contextlib.suppress(subprocess.CalledProcessError):
        _output("ip", "link", "set", "lo", "mtu", before[0])
    _output("nft", "delete", "table", "inet", "cbx_test")


def _output(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_other_capabilities_and_packet_sockets_stay_out_of_reach(networked):
    """What the network needs is all that is given."""
    lifted, _ = policies(networked, SEQUENTIAL, HostKind.NETWORK, network=NetworkMode.HOST)
    code = """
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
attempt("audit", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9))
attempt("rules", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12))
attempt("chown", lambda: os.chown("/run/tmp", 1, 1))
attempt("mount", lambda: syscall(165, 0, 0, 0, 0, 0))
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
say(effective=int(status["CapEff"], 16), bounding=int(status["CapBnd"], 16))
"""
    answers = networked.attack(code, lifted)
    assert answers.pop("rules") == "done"
    network = 1 << 12 | 1 << 13
    assert (answers.pop("effective"), answers.pop("bounding")) == (network, network)
    assert "done" not in answers.values(), answers
