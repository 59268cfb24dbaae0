"""What would harm this machine if a protection, or a control, failed: in the guest only, which is thrown away."""

import os
import signal
import stat
import subprocess
import sys

import pytest
from msgspec.structs import replace
from tests.root.box.harness import (
    CONDITIONAL,
    DANGEROUS,
    NOBODY,
    PATIENCE,
    ROOT,
    SEQUENTIAL,
    Harness,
    is_whiteout,
    native,
    python,
    read,
)
from tests.root.box.test_kernel import PRIVILEGED

from cbx_sandbox.linux import mountinfo
from cbx_sandbox.policy import NetworkMode

pytestmark = pytest.mark.vm


@pytest.fixture(autouse=True)
def _guest_only():
    assert os.environ.get("CBX_IN_GUEST") == "1", "never on a machine that is not thrown away"


def everything(box: Harness) -> dict[str, tuple[int, ...]]:
    """Every path of the machine's own file systems, with its mode, owner, and for files size and time of change."""
    found: dict[str, tuple[int, ...]] = {}
    for mount in box.view().mounts:
        if not mount.holds_files or mount.read_only or mount.target.startswith(LIVELY):
            continue
        device = os.stat(mount.target).st_dev
        for directory, names, files in os.walk(mount.target):
            names[:] = [name for name in names if name != ".cbx" and _belongs(os.path.join(directory, name), device)]
            for name in (*names, *files):
                path = os.path.join(directory, name)
                status = os.lstat(path)
                own = (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else ()
                if not path.startswith(LIVELY):
                    found[path] = (status.st_mode, status.st_uid, status.st_gid, *own)
    return found


# What changes by itself while a system runs, and where the tests' own files are.
LIVELY = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/log", "/var/cache/pyc", "/src", "/var/lib/srv.img",
          "/var/lib/systemd", "/var/lib/private")  # fmt: skip


def _belongs(path: str, device: int) -> bool:
    return not path.startswith(LIVELY) and os.lstat(path).st_dev == device


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("identity", "shifted"), [(ROOT, True), (ROOT, False), (NOBODY, False)], ids=["shifted", "root", "user"]
)
def test_case_002_003_removing_everything_leaves_the_machine_as_it_was(box, identity, shifted):
    """rm -rf --no-preserve-root / in a DANGEROUS box: gone inside, whole outside, and the layers list what is gone.

    Mounts of other file systems (/srv) are gone through inside too. The control is the same command natively, on a
    tree that was copied into a mount namespace of its own, where it removes what it can reach.
    """
    for path in ("/srv/cbx-precious/file", "/opt/cbx-precious/file"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write("precious\n")
    before = everything(box)
    assert {"/usr", "/etc/passwd", "/srv/cbx-precious/file"} <= set(before)
    policy = box.policy(DANGEROUS, identity=identity, shifted=shifted, timeout=600.0, cpus=None, layer_bytes=None)
    command = "exec 2>/dev/null; rm -rf --no-preserve-root /; echo $? $(echo /srv/*/* /opt/*/* /etc/pass*)"
    ran = box.start(["sh", "-c", command], policy).wait(800.0)
    assert ran.outcome["reason"] == "exited", ran
    after = everything(box)
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} == set()
    assert read("/srv/cbx-precious/file") == read("/opt/cbx-precious/file") == "precious\n"
    if identity is NOBODY:
        # It removed nothing that is not its own: the kernel let it no more than live.
        assert "/opt/cbx-precious/file" in ran.out
        return
    assert ran.out.endswith("/srv/*/* /opt/*/* /etc/pass*\n")
    for path in ("/opt", "/etc/passwd", "/usr", "/boot"):
        assert _removed(box.written(path)), path
    assert _removed(f"{box.upper('/srv')}/cbx-precious")
    assert subprocess.run(["/bin/true"], check=False).returncode == 0


def _removed(path: str) -> bool:
    """What the layer says of ``path``: gone, or gone with a directory above it, or all in it gone.

    A directory that something is mounted on cannot go.
    """
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return is_whiteout(path) or (os.path.isdir(path) and all(_removed(f"{path}/{name}") for name in os.listdir(path)))


def test_case_002_control():
    """Natively, in a throw-away root, the same command empties it."""
    script = """
set -e
mount -t tmpfs cbx /mnt
mkdir -p /mnt/bin /mnt/srv /mnt/lib /mnt/lib64 /mnt/usr
cp /bin/rm /bin/sh /mnt/bin/
for library in $(ldd /bin/rm /bin/sh | grep -o "/[^ ]*\\.so[^ ]*" | sort -u); do cp --parents -L $library /mnt; done
echo precious > /mnt/srv/file
chroot /mnt /bin/rm -rf --no-preserve-root / 2>/dev/null || true
ls -A /mnt
"""
    ran = native(["unshare", "--mount", "sh", "-c", script])
    assert (ran.code, ran.out) == (0, ""), ran


POLICIES = {
    "safe": lambda box: box.policy(),
    "user": lambda box: box.policy(identity=NOBODY),
    "conditional": lambda box: box.policy(CONDITIONAL, direct=[box.sacrifice()]),
    "sequential": lambda box: box.policy(SEQUENTIAL, overlay=[box.sacrifice()]),
    "shifted": lambda box: box.policy(DANGEROUS),
    "dangerous": lambda box: box.policy(DANGEROUS, shifted=False),
    "host network": lambda box: box.policy(network=NetworkMode.HOST),
}
KNOBS = {
    "/proc/sys/kernel/core_pattern": "|/tmp/attack",
    "/proc/sys/vm/swappiness": "1",
    "/proc/sys/kernel/hostname": "attacked",
    "/sys/kernel/mm/ksm/run": "1",
    "/proc/sys/net/ipv4/ip_forward": "1",
}
WRITE_KNOBS = """
for path, text in {values!r}.items():
    attempt(path, lambda: write(path, text))
say()
"""


def _knobs() -> dict[str, str]:
    return {path: read(path) for path in KNOBS if os.path.exists(path)}


@pytest.mark.parametrize("kind", POLICIES)
def test_case_045_049_050_060_no_kernel_setting_is_written(box, kind):
    """Whatever the box, with the mounts alone: the settings are what they were."""
    before = _knobs()
    answers = box.attack(WRITE_KNOBS.format(values=KNOBS), POLICIES[kind](box), landlock=False)
    assert set(answers.values()) <= {"EROFS", "EACCES", "EPERM", "ENOENT"}
    assert _knobs() == before


def test_case_045_049_050_060_control():
    """Natively root writes each of them."""
    before = _knobs()
    try:
        answers = native(python(WRITE_KNOBS.format(values={path: KNOBS[path] for path in before}))).answers
        assert set(answers.values()) == {"done"}
        assert all(read(path) != text for path, text in before.items())
    finally:
        for path, text in before.items():
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)


def test_case_048_the_machine_cannot_be_rebooted_by_its_trigger(box):
    """What is written to /proc/sysrq-trigger goes to a mask: the guest that runs this test goes on."""
    boot = read("/proc/sys/kernel/random/boot_id")
    for kind in ("safe", "shifted", "dangerous", "host network"):
        box.attack(
            "attempt('sysrq', lambda: write('/proc/sysrq-trigger', 'b')); say()", POLICIES[kind](box), landlock=False
        )
    assert read("/proc/sys/kernel/random/boot_id") == boot
    # The control asks for the help alone, which the kernel prints to its log: natively it does, from a box it does not.
    helped = read_log().count("sysrq: HELP")
    for kind in ("safe", "shifted", "dangerous", "host network"):
        box.attack(
            "attempt('sysrq', lambda: write('/proc/sysrq-trigger', 'h')); say()", POLICIES[kind](box), landlock=False
        )
    assert read_log().count("sysrq: HELP") == helped
    with open("/proc/sysrq-trigger", "w", encoding="ascii") as file:
        file.write("h")
    assert read_log().count("sysrq: HELP") == helped + 1


def read_log() -> str:
    """The kernel's log."""
    return native(["dmesg"]).out


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
def test_case_063_control_of_what_would_harm():
    """Natively root sets the clock, forgets the next kernel and allows ctrl-alt-del: none of it is refused."""
    answers = native(["unshare", "--uts", *python(PRIVILEGED)]).answers
    assert "EPERM" not in answers.values(), answers
    assert answers["settimeofday"] == answers["reboot"] == "done"


def test_case_046_a_crash_inside_runs_no_handler_of_the_host(box):
    """A pipe in core_pattern is started by the kernel as the host's root, even with a core limit of 0: the control."""
    pattern = "/proc/sys/kernel/core_pattern"
    before, marker = read(pattern), f"{box.home}/handled"
    handler = f"{box.home}/handler"
    with open(handler, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\ncat > /dev/null\ntouch {marker}\n")
    os.chmod(handler, 0o755)
    try:
        with open(pattern, "w", encoding="utf-8") as file:
            file.write(f"|{handler}")
        for kind in ("safe", "user", "shifted"):
            for before_it in ("", "ulimit -c 0; "):  # a job that lowers its limit is told that it did
                ran = box.run(["sh", "-c", before_it + "kill -SEGV $$"], POLICIES[kind](box))
                assert ran.outcome["signal"] == signal.SIGSEGV
        native(["sleep", "1"])
        handled = os.path.exists(marker)
        box.run(["sh", "-c", "ulimit -c 0; kill -SEGV $$"], seccomp=False)
        native(["sleep", "1"])
        assert os.path.exists(marker), "without the filter the lowered limit starts the handler"
        os.unlink(marker)
        crash = native(["sh", "-c", "ulimit -c 0; kill -SEGV $$"])
        assert crash.code == -signal.SIGSEGV
        native(["sleep", "1"])
        assert os.path.exists(marker)
        assert not handled, "a crash in a box ran the host's handler"
    finally:
        with open(pattern, "w", encoding="utf-8") as file:
            file.write(before)


@pytest.mark.parametrize("kind", ["safe", "user", "shifted"])
def test_case_071_072_a_fork_bomb_ends_with_its_job(box, kind):
    """Unbounded: it meets the limit of processes, the machine goes on, and one kill ends all of it."""
    code = """
print("up", flush=True)
signal.signal(15, signal.SIG_IGN)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
    policy = POLICIES[kind](box)
    policy = replace(policy, limits=replace(policy.limits, pids=48))
    job = box.start(python(code), policy)
    job.read_until("up")
    native(["sleep", "3"])
    assert native(["true"]).code == 0
    job.control.kill()
    ran = job.wait(PATIENCE)
    assert ran.outcome["unkillable"] == 0
    assert ran.outcome["usage"]["pids_refused"] > 0 or ran.outcome["reason"] == "oom"


def test_case_145_149_jobs_of_a_protected_supervisor_are_not_protected():
    """With its oom_score_adj of -1000 passed on, the kernel would find nobody to kill: the job would hang instead.

    A plain child has it, which is the control.
    """
    code = """
from tests.root.box.harness import *
from tests.root.box.test_resources import HOG
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("-1000")
with launcher() as harness:
    ran = harness.run(python(HOG.format(mib=96)), harness.policy(memory=48 << 20))
    print(ran.outcome["reason"])
    # The launcher itself stays protected.
    print(read(f"/proc/{harness.client.process.pid}/oom_score_adj"))
    print(native(["cat", "/proc/self/oom_score_adj"]).out)
"""
    ran = native([sys.executable, "-c", code], cwd=os.getcwd())
    assert ran.out.split() == ["oom", "-1000", "-1000"], ran


def test_guest_limits_go_through_v2_alone(box):
    """What the other tests take the guest for: nothing is hybrid, nothing is missing."""
    assert (box.ready.hybrid, box.ready.missing) == (False, {})
    assert not [mount for mount in mountinfo.read() if mount.kind == "cgroup"]


def test_case_146_memory_beyond_the_limit_is_not_had_as_swap(box):
    """With swap on, the control gets three times its limit that way; a job ends for it."""
    swap = "/var/tmp/cbx-test-swap"
    subprocess.run(["dd", "if=/dev/zero", f"of={swap}", "bs=1M", "count=192", "status=none"], check=True)
    os.chmod(swap, 0o600)
    subprocess.run(["mkswap", "-q", swap], check=True)
    subprocess.run(["swapon", swap], check=True)
    try:
        hog = "x = bytearray(b'1' * (96 << 20)); print(len(x) >> 20)"
        free = native(["systemd-run", "--scope", "-q", "-p", "MemoryMax=48M", *python(hog)])
        assert free.out.split() == ["96"], free
        ran = box.run(python(hog), box.policy(memory=48 << 20))
        assert (ran.outcome["reason"], ran.out) == ("oom", "")
    finally:
        subprocess.run(["swapoff", swap], check=True)
        os.unlink(swap)
