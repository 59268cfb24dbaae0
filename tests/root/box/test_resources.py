"""Containment cases, section 7: memory, processor, disk, time; and set-up that fails on the way."""

import errno
import mmap
import os
import signal
import struct
import sys

import pytest
from tests.root.box.harness import (
    CONDITIONAL,
    DANGEROUS,
    NOBODY,
    ROOT,
    SAFE,
    SCALE,
    SEQUENTIAL,
    NotStartedError,
    launcher,
    native,
    python,
    read,
)

from cbx_sandbox.box import launcher_client
from cbx_sandbox.box import operations as ops
from cbx_sandbox.linux import mountinfo

pytestmark = [pytest.mark.root, pytest.mark.vm]

TIERS = pytest.mark.parametrize(
    ("tier", "identity"), [(SAFE, ROOT), (SAFE, NOBODY), (DANGEROUS, ROOT)], ids=["safe", "user", "shifted"]
)
HOG = """
blocks = []
for _ in range({mib}):
    block = bytearray(1 << 20)
    block[::4096] = b"x" * 256
    blocks.append(block)
"""


@TIERS
def test_case_145_a_job_beyond_its_memory_ends_as_a_whole(box, tier, identity):
    """Also its processes that use little: they would wait for ten minutes. Below the limit the same job succeeds."""
    code = """
for _ in range(5):
    if os.fork() == 0:
        time.sleep(600)
if os.fork() == 0:
    {hog}
    os._exit(0)
os.wait()
time.sleep({sleep})
os.kill(-1, 9)
say()
"""

    def hog(mib, sleep):
        return python(code.format(hog=HOG.format(mib=mib).replace("\n", "\n    "), sleep=sleep))

    ran = box.run(hog(256, 600), box.policy(tier, identity=identity, memory=96 << 20))
    assert ran.outcome["reason"] == "oom"
    assert ran.outcome["signal"] == signal.SIGKILL
    assert ran.outcome["usage"]["oom_kills"] > 0
    assert ran.outcome["usage"]["memory_peak_bytes"] <= 96 << 20
    assert box.client.process.poll() is None
    control = box.run(hog(48, 0), box.policy(tier, identity=identity, memory=192 << 20))
    assert (control.outcome["reason"], control.outcome["usage"]["oom_kills"]) == ("exited", 0)


def test_case_145_the_default_limit_holds(box):
    """512 MiB, without anybody asking for it."""
    ran = box.run(python(HOG.format(mib=700) + "say()"))
    assert ran.outcome["reason"] == "oom"
    assert 500 << 20 <= ran.outcome["usage"]["memory_peak_bytes"] <= 512 << 20


def test_case_147_memory_file_systems_count_as_memory(box):
    """What a job writes to /dev/shm is its own memory, beyond the limit as below it."""
    code = """
with open("/dev/shm/fill", "wb", buffering=0) as file:
    for _ in range({mib}):
        file.write(bytes(1 << 20))
say()
"""
    ran = box.run(python(code.format(mib=128)), box.policy(memory=64 << 20))
    assert ran.outcome["reason"] == "oom"
    control = box.run(python(code.format(mib=32)), box.policy(memory=128 << 20))
    assert control.code == 0
    assert control.outcome["usage"]["memory_peak_bytes"] >= 32 << 20


SOCKETS = """
def pair():
    if {kind!r} == "unix":
        return socket.socketpair()
    sender = socket.socket()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 23)
    sender.connect(server.getsockname())
    return sender, server.accept()[0]
server = socket.create_server(("127.0.0.1", 0))
held, sent = [], 0
while len(held) < 450 and sent < 96 << 20:
    held.append(pair())
    held[-1][0].setblocking(False)
    try:
        while True:
            sent += held[-1][0].send(bytes(1 << 16))
    except BlockingIOError:
        pass
say(mib=sent >> 20)
"""


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_case_147_what_sockets_hold_counts_as_memory(box, kind):
    """A job that sends itself more than its limit ends, or gets no more in; below a higher one it gets all of it in."""
    directory = box.sacrifice()
    command = python(SOCKETS.format(kind=kind))
    ran = box.run(command, box.policy(CONDITIONAL, direct=[directory], memory=64 << 20))
    assert ran.outcome["reason"] == "oom" or ran.answers["mib"] < 64
    control = box.run(command, box.policy(CONDITIONAL, direct=[directory], memory=1 << 30))
    assert control.answers["mib"] >= 96


@pytest.fixture
def group_without_group_kill(box):
    """A memory group of 64 MiB as anybody would make it, among this launcher's own: who joins it writes there."""
    box.run(["true"])  # groups on cgroup v1 are made with the first job
    place = next(m for m in mountinfo.read() if m.kind.startswith("cgroup") and os.path.exists(_limits(m, box.name)))
    directory = f"{place.target}/{box.name}/control"
    os.mkdir(directory)
    for name in ("memory.max", "memory.limit_in_bytes"):
        if os.path.exists(f"{directory}/{name}"):
            with open(f"{directory}/{name}", "w", encoding="ascii") as file:
                file.write(str(64 << 20))
    for name in ("memory.swap.max", "memory.swappiness"):
        if os.path.exists(f"{directory}/{name}"):
            with open(f"{directory}/{name}", "w", encoding="ascii") as file:
                file.write("0")
    yield f"{directory}/cgroup.procs"
    os.rmdir(directory)


def _limits(mount, name):
    """A file that a group of ``name`` has where memory is limited on that hierarchy."""
    return f"{mount.target}/{name}/memory.{'limit_in_bytes' if mount.kind == 'cgroup' else 'max'}"


def test_case_148_a_child_s_death_for_memory_is_reported_though_the_parent_succeeds(box, group_without_group_kill):
    """The parent may get to its end before the group is killed: the reason says oom whatever its status.

    The control is the same in a group that has the limit alone: the parent lives, and its status says success.
    """
    code = f"""
if (pid := os.fork()) == 0:
{HOG.format(mib=128).replace(chr(10), chr(10) + "    ")}
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
say(child=status)
"""
    ran = box.run(python(code), box.policy(memory=64 << 20))
    assert ran.outcome["reason"] == "oom"
    assert ran.outcome["usage"]["oom_kills"] >= 1
    # Whoever runs the tests may be one of those that the kernel never chooses: then nothing dies, and nothing goes on.
    join = 'echo 0 > /proc/self/oom_score_adj; echo $$ > "$0"; exec "$@"'
    control = native(["sh", "-c", join, group_without_group_kill, *python(code)])
    assert control.answers == {"child": -signal.SIGKILL}


@TIERS
def test_case_150_a_busy_job_gets_its_share_of_a_processor(box, tier, identity):
    """Four busy processes, half a core: processor time over elapsed time stays near a half, and throttling shows."""
    code = f"""
for _ in range(3):
    if os.fork() == 0:
        break
end = time.monotonic() + {1.5 * min(SCALE, 3)}
while time.monotonic() < end:
    sum(range(1000))
say()
"""
    ran = box.run(python(code), box.policy(tier, identity=identity, cpus=0.5))
    usage = ran.outcome["usage"]
    share = usage["cpu_seconds"] / ran.outcome["wall_seconds"]
    assert share <= 0.75
    assert usage["throttled_seconds"] > 0 or share < 0.45  # on a busy machine it may not even get its half
    free = box.run(python(code), box.policy(tier, identity=identity, cpus=None))
    assert free.outcome["usage"]["throttled_seconds"] == 0


@TIERS
def test_case_151_the_time_limit_ends_jobs_that_ignore_signals(box, tier, identity):
    """SIGALRM and SIGTERM ignored: killed after the grace period, reason timeout. One that is done before is not."""
    limit = max(1.0, 0.3 * SCALE)  # long enough for the shell to come to its trap
    stubborn = ["sh", "-c", "trap '' TERM ALRM; while :; do sleep 600; done"]
    ran = box.run(stubborn, box.policy(tier, identity=identity, timeout=limit, kill_after=0.2))
    assert (ran.outcome["reason"], ran.outcome["signal"]) == ("timeout", signal.SIGKILL)
    assert ran.outcome["wall_seconds"] >= limit
    polite = box.run(["sleep", "600"], box.policy(tier, identity=identity, timeout=0.2))
    assert (polite.outcome["reason"], polite.outcome["signal"]) == ("timeout", signal.SIGTERM)
    assert box.run(["true"], box.policy(tier, identity=identity, timeout=30.0)).outcome["reason"] == "exited"


def test_case_151_a_job_that_forks_and_leaves_does_not_outlive_its_time(box):
    """A fork bomb bounded by its limit of processes, against the end of the time limit: nothing survives."""
    code = """
signal.signal(15, signal.SIG_IGN)
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
"""
    ran = box.run(python(code), box.policy(pids=48, timeout=0.5, kill_after=0.2, memory=256 << 20))
    assert ran.outcome["reason"] in {"timeout", "oom"}


def test_case_153_direct_writes_keep_to_their_rate(box):
    """Bytes over elapsed time stay near the limit; the figure is in the job's usage."""
    directory = box.sacrifice()
    if "io" in box.ready.missing:
        pytest.skip(f"no limit of disk I/O on this host: {box.ready.missing['io']}")
    size, rate = 12 << 20, 6 << 20
    command = ["dd", "if=/dev/zero", f"of={directory}/file", "bs=1M", f"count={size >> 20}", "oflag=direct"]
    ran = box.run(command, box.policy(CONDITIONAL, direct=[directory], io_bytes_per_second=rate))
    assert ran.code == 0, ran.err
    assert ran.outcome["usage"]["io_write_bytes"] >= size
    assert size / ran.outcome["wall_seconds"] <= 2 * rate


def test_case_153_what_would_take_minutes_at_its_rate_is_cut_off_by_the_time_limit(box):
    """A tenth of it is not written by then; without the rate (the control) the same job gets to its end."""
    directory = box.sacrifice()
    if "io" in box.ready.missing:
        pytest.skip(f"no limit of disk I/O on this host: {box.ready.missing['io']}")
    size = 12 << 20
    command = ["dd", "if=/dev/zero", f"of={directory}/file", "bs=16K", f"count={size >> 14}", "oflag=direct"]
    slow = box.policy(CONDITIONAL, direct=[directory], io_bytes_per_second=64 << 10, timeout=3.0)
    held = box.run(command, slow)
    assert held.outcome["reason"] == "timeout"
    assert held.outcome["usage"]["io_write_bytes"] < size // 10
    free = box.run(command, box.policy(CONDITIONAL, direct=[directory], io_bytes_per_second=None))
    assert (free.outcome["reason"], free.code) == ("exited", 0)
    assert free.outcome["usage"]["io_write_bytes"] >= size


def test_case_154_files_end_at_the_size_that_was_set(box):
    """RLIMIT_FSIZE: the write fails (or SIGXFSZ); natively the file grows."""
    directory = box.sacrifice()
    code = (
        f"attempt('write', lambda: os.write(os.open('{directory}/f', 65), bytes(1 << 20)) < 1 << 20 and 1 / 0)\nsay()"
    )
    policy = box.policy(CONDITIONAL, direct=[directory], fsize=4096)
    box.run(python(code), policy)
    assert os.path.getsize(f"{directory}/f") == 4096
    assert native(python(code)).answers == {"write": "done"}
    assert os.path.getsize(f"{directory}/f") == 1 << 20


def test_case_155_time_of_orphans_is_counted(box):
    """Half a second of a daemon's processor time is in the job's usage; who waits for children alone hears of none."""
    code = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while time.process_time() < 0.5:
            sum(range(1000))
        write("/run/tmp/done", flags=os.O_CREAT | os.O_WRONLY)
    os._exit(0)
while not os.path.exists("/run/tmp/done"):
    time.sleep(0.02)
import resource
say(children=resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime)
"""
    ran = box.run(python(code))
    assert ran.outcome["usage"]["cpu_seconds"] >= 0.5
    assert ran.answers["children"] == 0


@pytest.mark.parametrize("tier", [SEQUENTIAL, DANGEROUS])
def test_case_041_a_layer_that_grows_too_big_ends_the_job(box, tier):
    """Reason disk, before more than the job's share of the disk is gone; below it the job goes on."""
    directory = box.sacrifice()
    code = f"""
with open({directory + "/fill"!r}, "wb", buffering=0) as file:
    for _ in range({{mib}}):
        file.write(bytes(1 << 20))
        os.fsync(file.fileno())
        time.sleep(0.02)
say()
"""
    grants = {"overlay": [directory]} if tier is SEQUENTIAL else {}
    policy = box.policy(tier, **grants, layer_bytes=8 << 20, io_bytes_per_second=None)
    ran = box.run(python(code.format(mib=400)), policy)
    assert (ran.outcome["reason"], ran.outcome["signal"]) == ("disk", signal.SIGKILL)
    assert os.stat(box.written(f"{directory}/fill")).st_size < 200 << 20
    assert box.run(python(code.format(mib=3)), policy).outcome["reason"] == "exited"
    free = box.policy(tier, **grants, layer_bytes=None, io_bytes_per_second=None)
    assert box.run(python(code.format(mib=12)), free).outcome["reason"] == "exited"


def test_case_157_many_jobs_at_once_do_not_meet(box):
    """Each has its own output, layer and processes; ending one by force ends no other."""
    directory = box.sacrifice()
    count = 24
    policy = box.policy(SEQUENTIAL, overlay=[directory], cpus=None)
    jobs, layers = [], []
    for number in range(count):
        script = (
            f"echo {number} > {directory}/file; cat {directory}/file; sleep 0.2; exec sleep {600 if number % 3 else 0}"
        )
        jobs.append(box.start(["sh", "-c", script], policy))
        layers.append(box.written(f"{directory}/file"))
    for number, job in enumerate(jobs):
        assert job.read_until("\n") == f"{number}\n"
    for number, job in enumerate(jobs):
        if number % 3:
            assert job.outcome is None
            job.control.kill()
    ended = [job.wait() for job in jobs]
    assert [ran.outcome["reason"] for ran in ended] == ["cancelled" if n % 3 else "exited" for n in range(count)]
    assert [read(layer) for layer in layers] == [f"{number}\n" for number in range(count)]
    assert len(set(layers)) == count


# ── set-up that fails ──


def _missing_layer(steps):
    return [_with(step, layer="/var/tmp/no-such-layer") if isinstance(step, ops.Overlay) else step for step in steps]


def _with(step, **changes):
    return type(step)(**{**vars(step), **changes})


def _missing_hide(steps):
    return [*steps, ops.Hide("/no/such/path")]


def _missing_tmpfs(steps):
    return [*steps, ops.Tmpfs("/no/such/path", 1 << 20)]


def _twice(steps):
    return [*steps, ops.Scaffold(), ops.Scaffold(), ops.Pivot()]


def _changed_inode(steps):
    return [_with(step, inode=step.inode + 1) if isinstance(step, ops.DirectWrite) else step for step in steps]


@pytest.mark.parametrize(
    ("tier", "alter"),
    [
        (SEQUENTIAL, _missing_layer), (DANGEROUS, _missing_layer), (SAFE, _missing_hide), (DANGEROUS, _missing_hide),
        (SAFE, _missing_tmpfs), (CONDITIONAL, _changed_inode), (SAFE, _twice),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)  # fmt: skip
def test_case_156_a_box_that_cannot_be_built_runs_nothing(box, tier, alter):
    """Each is reported as not started with the reason, never as the command's own status; nothing is left."""
    directory = box.sacrifice()
    grants = {CONDITIONAL: {"direct": [directory]}, SEQUENTIAL: {"overlay": [directory]}}.get(tier, {})
    name = f"broken-{alter.__name__}-{tier}"
    assert box.run(["true"], box.policy(tier, **grants)).code == 0
    try:
        ran = box.run(["touch", f"{directory}/ran"], box.policy(tier, **grants), alter=alter, name=name)
    except NotStartedError:
        box.assert_no_trace(name)
    else:
        assert ran.outcome["reason"] == "not-started"
        assert ran.failure is not None
        assert ran.failure["text"]
        assert (ran.code, ran.outcome["signal"]) == (None, None)
    assert os.listdir(directory) == []


@pytest.mark.parametrize("which", ["record exists", "no such operation", "descriptor missing"])
def test_case_156_orders_that_make_no_sense_are_refused(box, which):
    """The launcher answers, leaves nothing, and goes on serving."""

    def spoil(spec):
        if which == "record exists":
            with open(spec["record"], "w", encoding="utf-8"):
                pass
        elif which == "no such operation":
            spec["operations"].append({"op": "NoSuchThing"})
        else:
            spec["descriptors"].append("lock:/missing")

    name = f"senseless-{which[:6].strip()}"
    directory = box.sacrifice()
    try:
        ran = box.run(
            ["touch", f"{directory}/ran"], box.policy(CONDITIONAL, direct=[directory]), alter_spec=spoil, name=name
        )
        assert ran.outcome["reason"] == "not-started"
    except NotStartedError:
        box.assert_no_trace(name)
    assert os.listdir(directory) == []
    assert box.run(["true"]).code == 0


# The funnel of system calls, counted through memory shared with the test: the one whose turn it is fails.
FAULTY_LAUNCHER = """
import ctypes, mmap, os, struct, sys
os.dup2({fd}, 3)
from cbx_sandbox.linux import libc
from cbx_sandbox.box import launcher
memory = mmap.mmap(os.open({plan!r}, os.O_RDWR), 24)
def faulty(function, what):
    def call(*arguments, **keywords):
        count, fail_at, number = struct.unpack("qqq", memory[:])
        memory[:8] = struct.pack("q", count + 1)
        if count == fail_at:
            raise OSError(number, "injected into " + what(arguments, keywords))
        return function(*arguments, **keywords)
    return call
libc.syscall = faulty(libc.syscall, lambda a, k: k.get("name") or str(a[0]))
libc.syscall_holding_gil = faulty(libc.syscall_holding_gil, lambda a, k: k["name"])
libc.call = faulty(libc.call, lambda a, k: a[0])
for name in ("setsid", "setgroups", "setresuid", "setresgid", "chdir", "mkdir", "chown", "chmod", "dup2", "symlink"):
    setattr(os, name, faulty(getattr(os, name), lambda a, k, name=name: name))
launcher.main()
"""


@pytest.mark.parametrize("tier", [CONDITIONAL, SEQUENTIAL, DANGEROUS])
def test_case_156_every_system_call_of_the_set_up_may_fail(own_mounts, monkeypatch, tmp_path, tier):
    """One run for each: it fails with its reason and leaves nothing, or was not needed and the job is whole."""
    path = str(tmp_path / "plan")
    with open(path, "wb") as file:
        file.write(struct.pack("qqq", 0, -1, 0))
    original = launcher_client.subprocess.Popen

    def popen(argv, **options):
        code = FAULTY_LAUNCHER.format(fd=options["pass_fds"][0], plan=path)
        return original([sys.executable, "-I", "-c", code, argv[-1]], **options)

    monkeypatch.setattr(launcher_client.subprocess, "Popen", popen)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 24) as memory, launcher() as harness:
        monkeypatch.undo()
        directory = harness.sacrifice()
        grants = {CONDITIONAL: {"direct": [directory]}, SEQUENTIAL: {"overlay": [directory]}}.get(tier, {})
        policy = harness.policy(tier, **grants)
        target = f"{directory}/ran"

        def attempt(fail_at, number=errno.EPERM):
            memory[:] = struct.pack("qqq", 0, fail_at, number)
            try:
                ran = harness.run(["sh", "-c", f"touch {target} && echo ran"], policy)
            except NotStartedError as error:
                return str(error), None
            else:
                lost = ran.outcome["reason"] == "lost"
            finally:
                live = os.path.exists(target)
                if live:
                    os.unlink(target)
            return "injected, and lost" if lost else ran.failure, ran if live or ran.out else None

        for _ in range(2):  # the first one makes groups that the others find
            failure, whole = attempt(-1)
            assert failure is None
            assert whole is not None
        (total,) = struct.unpack("q", memory[:8])
        assert total > 20
        survived = []
        for fail_at in range(0, total, 1 if SCALE == 1 else 11):
            failure, ran = attempt(fail_at)
            if failure is not None:
                assert ran is None, f"it ran although call {fail_at} failed: {failure}"
                assert "injected" in str(failure)
            elif struct.unpack("q", memory[:8])[0] > fail_at:
                assert ran is not None
                assert ran.code == 0
                survived.append(fail_at)
        # Only what comes after the command, taking the overlays down (tried again), may fail and change nothing.
        assert all(fail_at > total // 2 for fail_at in survived), survived
