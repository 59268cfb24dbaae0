"""Containment cases, section 3: processes, signals and terminals."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.root.box.harness import (
    CONDITIONAL,
    DANGEROUS,
    NOBODY,
    PATIENCE,
    ROOT,
    SAFE,
    SCALE,
    SEQUENTIAL,
    Harness,
    launcher,
    native,
    python,
    read,
)

from cbx_sandbox.box import plan
from cbx_sandbox.box.launcher_client import LauncherClient

pytestmark = [pytest.mark.root, pytest.mark.vm]

KINDS = pytest.mark.parametrize(
    ("tier", "identity"),
    [(SAFE, ROOT), (SAFE, NOBODY), (DANGEROUS, ROOT), (DANGEROUS, NOBODY)],
    ids=["root", "user", "shifted", "dangerous-user"],
)


@pytest.fixture(scope="module")
def waiting_box(own_mounts):
    """A launcher that keeps boxes in waiting, as the supervisor's does."""
    with launcher() as harness:
        steps = plan.standard(harness.policy(), harness.view())
        spec = plan.spec(harness.policy(), "", [], [], descriptors=[], record="", landlock=0)
        beginnings = [[step.to_json() for step in steps] for steps in (steps, plan.overlaid())]
        harness.client.prepare(beginnings, spec["limits"])
        yield harness


def spares(harness: Harness) -> set[int]:
    """The inits of boxes in waiting: children of the launcher in groups that belong to no job yet."""
    found = set()
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            line = next(line for line in read(f"/proc/{pid}/cgroup").splitlines() if line.startswith("0::"))
            if f"/{harness.name}/jobs/spare-" in line and line.endswith("/init"):
                found.add(pid)
    return found


@pytest.fixture(params=["made-now", "in-waiting"])
def any_box(request: pytest.FixtureRequest) -> Harness:
    """Both ways to a box: made for the job, or taken from those made ahead."""
    if request.param == "made-now":
        return request.getfixturevalue("box")
    harness: Harness = request.getfixturevalue("waiting_box")
    deadline = time.monotonic() + 20 * SCALE
    while not spares(harness):
        assert time.monotonic() < deadline, "no box was made ahead"
        time.sleep(0.02)
    return harness


def test_a_job_takes_a_box_in_waiting_once(any_box):
    """What the other tests take the fixture for: its init is older than the job, and nobody gets it again."""
    waiting = spares(any_box)
    jobs = [any_box.start(["true"], any_box.policy()) for _ in range(2)]
    assert (jobs[0].pid in waiting) == bool(waiting)
    assert jobs[0].pid != jobs[1].pid
    assert jobs[0].group != jobs[1].group
    for job in jobs:
        job.wait()


@pytest.fixture
def bystander():
    """A process of the host, of the user that attacks; ends when told, or when an attack reaches it."""
    started = []

    def start(uid):
        process = subprocess.Popen(["sleep", "600"], user=uid, group=uid, start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@KINDS
def test_case_065_kill_minus_one_ends_the_job_s_own_processes_only(box, bystander, tier, identity):
    """The job ends itself; a process of the same user outside lives; outside the box, it is ended by the same call."""
    outside = bystander(identity.uid)
    code = """
if os.fork() == 0:
    time.sleep(600)
print("up", flush=True)
os.kill(-1, signal.SIGKILL)
say()
"""
    ran = box.run(python(code), box.policy(tier, identity=identity))
    assert outside.poll() is None
    # kill(2): -1 spares the caller itself on Linux, and init, which other processes cannot kill.
    assert ran.outcome["reason"] == "exited"
    if identity is NOBODY:
        native(python(code), uid=identity.uid)
        assert outside.wait(10) == -signal.SIGKILL


REACH = """
pid = {pid}
attempt("signal 0", lambda: os.kill(pid, 0))
attempt("term", lambda: os.kill(pid, 15))
attempt("pidfd", lambda: os.pidfd_open(pid))
attempt("ptrace", lambda: libc.ptrace(16, pid, None, None) and (_ for _ in ()).throw(OSError(ctypes.get_errno(), "")))
attempt("nice", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
say()
"""


@KINDS
@pytest.mark.parametrize("host_proc", [False, True], ids=["own-proc", "host-proc"])
def test_case_066_069_no_process_of_the_host_can_be_reached(box, bystander, tier, identity, host_proc):
    """Its number means nothing inside, with either /proc. Natively the same user signals and traces it."""
    outside = bystander(identity.uid)
    policy = box.policy(tier, identity=identity, host_proc=host_proc)
    answers = box.attack(REACH.format(pid=outside.pid), policy)
    assert answers.pop("ptrace") == "EPERM"  # by the filter, which looks at no number
    assert set(answers.values()) == {"ESRCH"}
    assert set(box.attack(REACH.format(pid=outside.pid), policy, seccomp=False).values()) == {"ESRCH"}
    assert outside.poll() is None
    control = native(python(REACH.format(pid=outside.pid)), uid=identity.uid).answers
    assert {control[name] for name in ("signal 0", "term", "pidfd", "nice")} == {"done"}


KILL_UPWARDS = {
    "kill 0": "os.kill(0, 9)",
    "own group": "os.killpg(os.getpgrp(), 9)",
    "parent": "os.kill(os.getppid(), 9)",
    "parent's group": "os.killpg(os.getpgid(os.getppid()), 9)",
}


@KINDS
@pytest.mark.parametrize("way", KILL_UPWARDS)
def test_case_067_the_launcher_s_group_and_session_are_out_of_reach(box, tier, identity, way):
    """kill(0) and killpg reach the job's own session, in which neither init nor the launcher is."""
    code = f"""
print(os.getppid(), os.getpgrp() == os.getsid(0) == os.getpid(), flush=True)
try:
    {KILL_UPWARDS[way]}
except OSError:
    pass
"""
    ran = box.run(python(code), box.policy(tier, identity=identity))
    assert ran.out == "1 True\n"  # it leads its own session and group: 0 stands for nobody else
    # Init is there to tell the end, which is the job's own doing alone.
    assert (ran.outcome["reason"], ran.outcome["signal"]) == (
        "exited",
        None if way.startswith("parent") else signal.SIGKILL,
    )
    assert box.client.process.poll() is None


@pytest.mark.parametrize("way", KILL_UPWARDS)
def test_case_067_control(way):
    """Who starts a command as a plain child of its own, in its group, is ended by it."""
    starter = "import subprocess; subprocess.run(sys.argv[1:]); time.sleep(600)"
    started = native([*python(starter), *python(KILL_UPWARDS[way])], start_new_session=True)
    assert started.code == -signal.SIGKILL


ATTACK_INIT = """
import resource
pid = {pid}
for number in (9, 15, 2, 1, 19, 17):
    attempt(f"signal {{number}}", lambda: os.kill(pid, number))
attempt("ptrace", lambda: libc.ptrace(16, pid, None, None) and (_ for _ in ()).throw(OSError(ctypes.get_errno(), "")))
attempt("prlimit nofile", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, 4)))
attempt("prlimit cpu", lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)))
attempt("prlimit read", lambda: resource.prlimit(pid, resource.RLIMIT_CPU))
attempt("nice", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
attempt("scheduler", lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)))
attempt("affinity", lambda: os.sched_setaffinity(pid, {{0}}))
attempt("ioprio", lambda: syscall(251 if os.uname().machine == "x86_64" else 30, 1, pid, 3 << 13))
attempt("oom", lambda: os.close(os.open(f"/proc/{{pid}}/oom_score_adj", os.O_WRONLY)))
attempt("read", lambda: open(f"/proc/{{pid}}/mem", "rb"))
def steal():
    syscall(438, os.pidfd_open(pid), 3, 0)
attempt("pidfd_getfd", steal)
say()
"""


@pytest.mark.parametrize("landlock", [False, True], ids=["mounts-alone", "with-landlock"])
@KINDS
def test_case_068_070_init_can_be_neither_signalled_nor_traced_nor_limited(any_box, tier, identity, landlock):
    """It has ids of its own and no dumps: also a job as root reaches nothing of it."""
    answers = any_box.attack(ATTACK_INIT.format(pid=1), any_box.policy(tier, identity=identity), landlock=landlock)
    # A process without a handler cannot get at init in its namespace: those of the kernel's own may be "sent".
    sent = {answers.pop(name) for name in list(answers) if name.startswith("signal")}
    assert sent <= {"EPERM"}
    assert set(answers.values()) <= {"EPERM", "EACCES", "ENOENT", "ESRCH"}, answers


def test_case_068_070_control(bystander):
    """The same attacks by the same user on an ordinary process of the host succeed."""
    outside = bystander(NOBODY.uid)
    code = ATTACK_INIT.format(pid=outside.pid).replace("(9, 15, 2, 1, 19, 17)", "(17,)")
    answers = native(python(code), uid=NOBODY.uid).answers
    for name in ("signal 17", "prlimit nofile", "prlimit read", "nice", "scheduler", "affinity"):
        assert answers[name] == "done", (name, answers)


FORKS = """
made = []
while len(made) < {bound}:
    try:
        pid = os.fork()
    except OSError as error:
        answers["fork"] = errno.errorcode[error.errno]
        break
    if pid == 0:
        signal.pause()
    made.append(pid)
answers.setdefault("fork", "done")
for pid in made:
    os.kill(pid, 9)
for pid in made:
    os.waitpid(pid, 0)
say(made=len(made))
"""


def test_case_071_forks_end_at_the_limit_of_processes(any_box):
    """A bounded loop of forks: EAGAIN at the limit, and the count of refusals is reported; without a limit, none."""
    ran = any_box.run(python(FORKS.format(bound=100)), any_box.policy(pids=40))
    assert ran.answers["fork"] == "EAGAIN"
    assert 30 <= ran.answers["made"] < 40
    assert ran.outcome["usage"]["pids_refused"] > 0
    control = any_box.attack(FORKS.format(bound=100), any_box.policy(pids=512))
    assert control == {"fork": "done", "made": 100}


def test_case_073_threads_count_as_processes(any_box):
    """Threads meet the same limit."""
    code = """
import threading
stop, made = threading.Event(), []
while len(made) < 100:
    thread = threading.Thread(target=stop.wait, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        break
    made.append(thread)
stop.set()
say(made=len(made))
"""
    assert any_box.attack(code, any_box.policy(pids=40))["made"] < 40
    assert any_box.attack(code, any_box.policy(pids=512))["made"] == 100


DAEMONS = """
for _ in range({count}):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (1, 2, 15):
                signal.signal(number, signal.SIG_IGN)
            os.closerange(0, 3)
            time.sleep(600)
        os._exit(0)
    os.wait()
say(pid=os.getpid())
"""


@KINDS
def test_case_074_orphaned_daemons_are_dead_before_the_outcome_is_reported(any_box, tier, identity):
    """Forked twice, own sessions, signals ignored, descriptors closed: none outlives its job. Natively they do."""
    ran = any_box.run(python(DAEMONS.format(count=20)), any_box.policy(tier, identity=identity))
    assert (ran.code, ran.outcome["reason"]) == (0, "exited")
    control = native(python(DAEMONS.format(count=1) + "os.write(2, str(os.getpgrp()).encode())"))
    assert control.code == 0
    survivors = [
        int(pid)
        for pid in os.listdir("/proc")
        if pid.isdigit() and b"range(1)" in _command_line(pid) and b"DAEMONS" not in _command_line(pid)
    ]
    assert survivors
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)


def _command_line(pid: str) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


STUBBORN = """
for number in (1, 2, 15):
    signal.signal(number, signal.SIG_IGN)
print("up", flush=True)
while True:
    time.sleep(600)
"""


@KINDS
def test_case_075_a_job_that_ignores_the_end_is_killed_after_the_grace_period(any_box, tier, identity):
    """Asked to stop, it does not; then it is killed. One that listens ends by the first signal.

    The control has an hour to end by itself, and does not.
    """
    job = any_box.start(python(STUBBORN), any_box.policy(tier, identity=identity, kill_after=0.2))
    job.read_until("up")
    job.control.stop()
    ran = job.wait()
    assert (ran.outcome["reason"], ran.outcome["signal"]) == ("cancelled", signal.SIGKILL)
    heard = STUBBORN.replace("signal.SIG_IGN", "lambda *_: os.write(1, b'heard')")
    endless = any_box.start(python(heard), any_box.policy(tier, identity=identity, kill_after=3600.0))
    endless.read_until("up")
    endless.control.stop()
    endless.read_until("heard")
    endless._step(0.1)
    assert endless.outcome is None
    endless.control.kill()
    endless.wait()
    polite = any_box.start(["sh", "-c", "echo up; exec sleep 600"], any_box.policy(tier, identity=identity))
    polite.read_until("up")
    polite.control.stop()
    assert polite.wait().outcome["signal"] == signal.SIGTERM


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_case_076_stopped_and_frozen_trees_are_killed_too(box, how):
    """A tree that cannot run cannot hear SIGTERM: it is thawed, or killed as it stands. Natively it stays."""
    code = "print('up', flush=True)\nif os.fork() == 0: os.kill(os.getpid(), 19)\n" + (
        "os.kill(os.getpid(), 19)" if how == "stopped" else "time.sleep(600)"
    )
    job = box.start(python(code), box.policy(kill_after=0.2))
    job.read_until("up")
    if how == "frozen":
        job.control.freeze(on=True)
    job.control.stop()
    assert job.wait().outcome["reason"] == "cancelled"
    control = subprocess.Popen(["sleep", "600"])
    control.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, control.pid, os.WSTOPPED | os.WNOWAIT)
    control.terminate()
    assert read(f"/proc/{control.pid}/stat").rpartition(")")[2].split()[0] == "T"
    control.kill()
    assert control.wait() == -signal.SIGKILL


def test_case_076_a_frozen_job_stands_still_until_it_is_thawed(box):
    """The control of freezing: its counter does not move, then it does."""
    code = "n = 0\nprint('up', flush=True)\nwhile True: print(n, flush=True); time.sleep(0.01); n += 1"
    job = box.start(python(code), box.policy())
    job.read_until("up\n0\n")
    job.control.freeze(on=True)
    group = next(path for path in box.groups(job.name) if os.path.exists(f"{path}/payload/cgroup.freeze"))
    deadline = time.monotonic() + 10 * SCALE
    while "frozen 1" not in read(f"{group}/payload/cgroup.events"):
        assert time.monotonic() < deadline
    count = len(job.read_until("up"))
    time.sleep(0.1 * SCALE)
    job._step(0.1)
    frozen = len(job.text["stdout"])
    job._step(0.1)
    assert len(job.text["stdout"]) == frozen >= count
    job.control.freeze(on=False)
    job._until(lambda: len(job.text["stdout"]) > frozen + 10, 10 * SCALE)
    job.control.kill()
    job.wait()


ORPHANS = """
made, alive = 0, None
deadline = time.monotonic() + {patience}
while made < {count} and time.monotonic() < deadline:
    try:
        pid = os.fork()
    except BlockingIOError:
        time.sleep(0.001)
        continue
    if pid == 0:
        try:
            if os.fork() == 0:
                os._exit(0)
        except BlockingIOError:
            os._exit(1)
        os._exit(0)
    made += os.waitpid(pid, 0)[1] == 0
while made == {count} and alive != 1 and time.monotonic() < deadline:
    alive = sum(name.isdigit() for name in os.listdir("/proc"))
say(made=made, alive=alive)
"""


def test_case_077_a_storm_of_zombies_is_reaped(any_box):
    """Many more orphans than processes are allowed end in init's care; taken from it, they soon are at the limit."""
    count = 1000 if SCALE == 1 else 200
    policy = any_box.policy(pids=64)
    ran = any_box.run(python(ORPHANS.format(count=count, patience=PATIENCE)), policy)
    assert ran.answers == {"made": count, "alive": 1}
    # The control: a subreaper that does not reap is what init would be.
    unreaped = "libc.prctl(36, 1, 0, 0, 0)\n" + ORPHANS.format(count=count, patience=0.5 * SCALE)
    control = any_box.run(python(unreaped), policy)
    assert control.answers["made"] < 64
    assert control.outcome["usage"]["pids_refused"] > 0


@KINDS
def test_case_079_jobs_end_with_the_lease_of_their_client(any_box, tier, identity):
    """The client is gone: init ends the job, and says that it was cancelled. While the lease is held, it runs."""
    job = any_box.start(["sh", "-c", "echo up; sleep 600"], any_box.policy(tier, identity=identity), lease=True)
    job.read_until("up")
    job._step(0.05)
    assert job.outcome is None
    job.end_lease()
    assert job.wait().outcome["reason"] == "cancelled"


def test_case_079_nothing_is_executed_before_the_order_to_start(any_box):
    """A supervisor that is gone before its word that the start is on disk: the box ends, and nothing ran in it."""
    directory = any_box.sacrifice()
    policy = any_box.policy(CONDITIONAL, direct=[directory])
    job = any_box.start(["touch", f"{directory}/called-off"], policy, go=False)
    job.control.stop()
    called_off = job.wait()
    assert called_off.outcome["reason"] == "not-started"
    assert "took the job back" in called_off.failure["text"]
    assert os.listdir(directory) == []
    job = any_box.start(["touch", f"{directory}/started"], policy, go=False)
    job._step(0.05)
    assert os.listdir(directory) == []  # the control: it waits, and the order is what it waits for
    job.control.go()
    assert job.wait().code == 0
    assert os.listdir(directory) == ["started"]


def test_case_079_jobs_go_on_when_the_supervisor_is_gone_and_leave_a_record(own_mounts):
    """The launcher's connection closes: running jobs end by themselves, then the launcher does, groups and all."""
    with launcher() as harness:
        here, there = os.pipe()
        job = harness.start(["sh", "-c", "echo up; read line; exit 7"], harness.policy(), stdin=here)
        job.read_until("up")
        harness.client.close()
        job.control.close()
        time.sleep(0.05)
        assert os.path.exists(f"/proc/{job.pid}")
        os.write(there, b"go\n")
        harness.client.process.wait(20 * SCALE)
        os.close(here)
        os.close(there)
        assert '"exit_code": 7' in read(f"{harness.state}/record-1")
        assert harness.groups_left() == []
        job.reaped = object()  # nobody is left to say so


def test_case_079_a_killed_launcher_takes_its_jobs_groups_over_at_the_next_start(own_mounts):
    """Jobs outlive it; the next launcher of that name ends what no supervisor knows any more."""
    with launcher() as harness:
        job = harness.start(["sleep", "600"], harness.policy())
        harness.client.process.kill()
        harness.client.process.wait()
        assert os.path.exists(f"/proc/{job.pid}")
        harness.client.close()
        harness.client = LauncherClient(harness.name)
        assert harness._ready().ended == [job.name]
        assert harness.processes(job.name) == []
        job.reaped = object()
        job.close()


@pytest.mark.parametrize("recovered", [True, False])
def test_word_is_left_only_by_a_launcher_whose_supervisor_had_recovered(tmp_path, recovered):
    """Else it knows nothing of what the one before it started: a job without an end could be taken for never begun."""
    with launcher() as harness:
        path = str(tmp_path / "launcher.sock")
        for _ in range(2):
            harness.client.close()
            harness.client.process.wait(20 * SCALE)
            harness.client = LauncherClient(harness.name, path)
            ready = harness._ready()
            if recovered:
                harness.client.recovered()
        assert (ready.kept, ready.known) == (recovered, [])


DEATH_SIGNAL = """
def read(path):
    with open(path) as file:
        return file.read()
def lives(pid):
    try:
        return read(f"/proc/{{pid}}/stat").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
pids = []
for tool in {tools!r}:
    told, tell = os.pipe()
    parent = os.fork()
    if parent == 0:
        child = os.fork()
        if child == 0:
            null = os.open("/dev/null", os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            libc.prctl(1, 9, 0, 0, 0)
            os.execv(tool, ["sleep", "600"])
        while not read(f"/proc/{{child}}/cmdline").startswith("sleep"):
            time.sleep(0.01)
        os.write(tell, str(child).encode())
        os._exit(0)
    pids.append(int(os.read(told, 20)))
    os.waitpid(parent, 0)
deadline = time.monotonic() + 20
while lives(pids[0]) and time.monotonic() < deadline:
    time.sleep(0.01)
say(pids=pids, alive=[lives(pid) for pid in pids])
"""


def test_case_080_a_program_with_privileges_does_not_get_away(any_box):
    """Executing a setuid program clears a process's death signal: the PID namespace's end does not depend on it."""
    directory = any_box.sacrifice()
    tool = f"{directory}/sleep"
    subprocess.run(["cp", "/usr/bin/sleep", tool], check=True)
    os.chmod(tool, 0o4755)
    job = any_box.start(["sh", "-c", f"setsid {tool} 600 & echo up; wait"], any_box.policy(identity=NOBODY))
    job.read_until("up")
    job.control.kill()
    job.wait()
    # The control: of two children that are to die with their parent, the one that executes it does not.
    left = native(python(DEATH_SIGNAL.format(tools=["/usr/bin/sleep", tool])), uid=NOBODY.uid).answers
    os.kill(left["pids"][1], signal.SIGKILL)
    assert left["alive"] == [False, True]


# ── terminals ──

TYPE_INTO_TERMINAL = """
import termios
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
fd = {fd}
libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p]
def ioctl(command):
    if libc.ioctl(fd, command, b"\\x07"):
        raise OSError(ctypes.get_errno(), "")
attempt("TIOCSTI", lambda: ioctl(TIOCSTI))
attempt("TIOCSTI with high bits", lambda: ioctl(0x1_0000_0000 | TIOCSTI))
attempt("TIOCSTI with sign", lambda: ioctl(0xFFFF_FFFF_0000_0000 | TIOCSTI))
attempt("TIOCLINUX", lambda: ioctl(TIOCLINUX))
attempt("TIOCLINUX with high bits", lambda: ioctl(0x8000_0000_0000_0000 | TIOCLINUX))
attempt("TCGETS", lambda: termios.tcgetattr(fd))
say()
"""


@pytest.fixture
def terminal():
    """A terminal of the caller's: (master, slave)."""
    master, slave = os.openpty()
    os.set_blocking(master, False)
    yield master, slave
    os.close(master)
    os.close(slave)


@KINDS
def test_case_082_083_084_085_no_job_types_into_its_caller_s_terminal(any_box, terminal, tier, identity):
    """TIOCSTI and TIOCLINUX are refused whatever the high bits of the command; ordinary ioctls work."""
    _, slave = terminal
    answers = any_box.run(
        python(TYPE_INTO_TERMINAL.format(fd=0)), any_box.policy(tier, identity=identity), stdin=slave
    ).answers
    assert answers.pop("TCGETS") == "done"
    assert set(answers.values()) == {"EPERM"}


@KINDS
def test_case_082_083_084_085_nor_into_its_own(any_box, tier, identity):
    """A private terminal is the session's controlling one, where the kernel itself would allow it."""
    job = any_box.start(
        python(TYPE_INTO_TERMINAL.format(fd=0)),
        any_box.policy(tier, identity=identity),
        alter_spec=lambda spec: spec.update(terminal={"rows": 24, "columns": 80}),
    )
    job._until(lambda: job.terminal is not None, 30 * SCALE)
    out = b""
    while b"}" not in out:
        out += os.read(job.terminal, 4096)
    answers = json.loads(out)
    assert answers.pop("TCGETS") == "done"
    assert set(answers.values()) == {"EPERM"}
    assert job.wait().code == 0


def test_case_082_083_084_085_control(terminal):
    """Natively, a process whose controlling terminal it is types into it: also with the high bits set."""
    if os.path.exists("/proc/sys/dev/tty/legacy_tiocsti") and read("/proc/sys/dev/tty/legacy_tiocsti") == "0\n":
        # This kernel lets only CAP_SYS_ADMIN do so: root has it.
        assert os.geteuid() == 0
    _, slave = terminal
    code = "os.setsid(); fcntl.ioctl(0, 0x540E, 1)\n" + TYPE_INTO_TERMINAL.format(fd=0)
    answers = native(python(code), stdin=slave).answers
    assert answers["TIOCSTI"] == answers["TIOCSTI with high bits"] == answers["TIOCSTI with sign"] == "done"
    assert "EPERM" not in {answers["TIOCLINUX"], answers["TIOCLINUX with high bits"]}


def test_case_087_a_private_terminal_is_sized_and_carries_both_directions(any_box):
    """What is typed at the master arrives, what is printed comes back; its size is the one asked for."""
    job = any_box.start(
        ["sh", "-c", "stty size; tty; read line; echo got $line; test -t 0 && test -t 1 && test -t 2"],
        any_box.policy(),
        alter_spec=lambda spec: spec.update(terminal={"rows": 33, "columns": 99}),
    )
    job._until(lambda: job.terminal is not None, 30 * SCALE)
    os.write(job.terminal, b"word\n")
    out = b""
    while b"got word" not in out:
        out += os.read(job.terminal, 4096)
    assert b"33 99" in out
    assert b"/dev/pts/0" in out
    assert job.wait().code == 0


def test_case_087_signals_reach_the_command_s_whole_group(any_box):
    """As a terminal's Ctrl-C would: the shell and what it waits for both end."""
    code = """
signal.signal(2, signal.SIG_DFL)
pid = os.fork()
if pid:
    signal.signal(2, lambda *_: None)
    print("up", flush=True)
    say(child=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
else:
    signal.pause()
"""
    job = any_box.start(python(code), any_box.policy())
    job.read_until("up")
    job.control.signal(signal.SIGINT)
    assert job.wait().answers == {"child": -signal.SIGINT}


# ── how a job begins and ends ──


@pytest.mark.parametrize("code", [0, 1, 2, 77, 124, 125, 126, 127, 128, 137, 254, 255])
def test_case_088_exit_codes_are_the_command_s_own(any_box, code):
    """Also those that cbx uses itself: the reason tells them apart."""
    ran = any_box.run(["sh", "-c", f"exit {code}"])
    assert (ran.outcome["reason"], ran.code, ran.outcome["signal"]) == ("exited", code, None)
    assert ran.failure is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGUSR1])
def test_case_088_a_signal_that_ended_the_command_is_reported(any_box, number):
    """The signal, and no exit code."""
    ran = any_box.run(["sh", "-c", f"kill -{number.value} $$"])
    assert (ran.outcome["reason"], ran.code, ran.outcome["signal"]) == ("exited", None, number)


def test_case_088_what_cannot_be_executed_is_told_apart(any_box):
    """127 where there is nothing, 126 where there is something else; each is "not started", with the step."""
    directory = any_box.sacrifice()
    with open(f"{directory}/plain", "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n")
    for argv, status in (
        (["no-such-program"], 127),
        ([f"{directory}/plain"], 126),
        ([directory], 126),
        ([f"{directory}/plain/x"], 127),
    ):
        ran = any_box.run(argv)
        assert (ran.outcome["reason"], ran.code) == ("not-started", status), argv
        assert ran.failure is not None
        assert ran.failure["step"] == "exec"
    # A command that ends with these codes itself was started.
    assert any_box.run(["sh", "-c", "exit 127"]).outcome["reason"] == "exited"


@pytest.mark.parametrize("which", ["workdir", "descriptor limit", "user's workdir"])
def test_case_089_a_failure_before_the_command_is_not_the_command_s(any_box, which):
    """The step is named, the reason is "not started", and nothing was executed."""
    directory = any_box.sacrifice()
    private = any_box.sacrifice(mode=0o700)
    policy = {
        "workdir": any_box.policy(CONDITIONAL, direct=[directory], workdir=f"{directory}/missing"),
        "descriptor limit": any_box.policy(CONDITIONAL, direct=[directory], nofile=1 << 40),
        "user's workdir": any_box.policy(CONDITIONAL, direct=[directory], identity=NOBODY, workdir=private),
    }[which]
    ran = any_box.run(["touch", f"{directory}/ran"], policy)
    assert ran.outcome["reason"] == "not-started"
    assert ran.failure is not None
    assert ran.failure["step"].split()[0] in {"working", "limits"}
    assert os.listdir(directory) == []


def test_case_090_the_environment_is_the_policy_s_and_nothing_else(any_box):
    """Nothing of the launcher's or the supervisor's own environment comes along."""
    ran = any_box.run(["env"], any_box.policy(environment={"PATH": "/usr/bin:/bin", "ONLY": "this"}))
    assert set(ran.out.split()) == {"PATH=/usr/bin:/bin", "ONLY=this"}
    assert "PYTEST_CURRENT_TEST=" in native(["env"]).out


def test_case_091_a_command_s_name_is_never_an_option(any_box):
    """argv[0] beginning with a dash is executed, or not found, as any other name."""
    directory = any_box.sacrifice()
    with open(f"{directory}/--bind", "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\necho ran $1\n")
    os.chmod(f"{directory}/--bind", 0o755)
    policy = any_box.policy(environment={"PATH": f"{directory}:/usr/bin:/bin"})
    assert any_box.run(["--bind", "--ro"], policy).out == "ran --ro\n"
    assert any_box.run(["--help"], policy).code == 127
    # The control: a program that is given a command, and takes that for its own option.
    assert "Usage: env" in native(["env", "--help"]).out


STATE = """
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
import resource
say(umask=os.umask(0), blocked=status["SigBlk"], ignored=status["SigIgn"], nnp=status["NoNewPrivs"],
    seccomp=status["Seccomp"], nice=os.getpriority(os.PRIO_PROCESS, 0), oom=open("/proc/self/oom_score_adj").read(),
    caps=[status["Cap" + name].lstrip("0") for name in ("Inh", "Amb")], bounding=status["CapBnd"].lstrip("0"),
    effective=status["CapEff"].lstrip("0"), nofile=resource.getrlimit(resource.RLIMIT_NOFILE),
    core=resource.getrlimit(resource.RLIMIT_CORE), groups=os.getgroups(), ids=[*os.getresuid(), *os.getresgid()],
    cwd=os.getcwd(), session=os.getsid(0) == os.getpid())
"""


@KINDS
def test_case_092_103_106_154_a_job_begins_in_a_known_state(own_mounts, tier, identity):
    """Umask, signals, priority, limits, capabilities: whatever the launcher was started with."""

    def spoil():
        os.umask(0o777)
        with contextlib.suppress(PermissionError):  # in a container not even root may
            os.nice(-5)
            with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
                file.write("-1000")
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})

    process = subprocess.run(
        [sys.executable, "-c", RUN_STATE, tier.value, str(identity.uid), STATE],
        capture_output=True, text=True, check=False, preexec_fn=spoil, cwd=os.getcwd(),
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    state = json.loads(process.stdout)
    assert state["umask"] == 0o022
    assert int(state["blocked"], 16) == 0
    # Python itself ignores SIGPIPE and SIGXFSZ.
    assert int(state["ignored"], 16) & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0
    assert (state["nnp"], state["seccomp"]) == ("1", "2")
    assert state["caps"] == ["", ""]
    assert state["ids"] == [identity.uid] * 3 + [identity.gid] * 3
    assert state["nofile"] == [1024, 1024]
    assert state["core"] == [1, 1]  # core(5): no file is that small, and a pipe's handler is not run
    assert state["session"] is True
    assert state["nice"] == 0
    assert state["oom"] == "0\n"
    assert state["cwd"] == "/"
    if tier is DANGEROUS and identity is ROOT:
        assert state["groups"] == []
        # chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot audit_write setfcap
        assert state["effective"] == state["bounding"] == "a00405fb"
    else:
        assert state["groups"] == list(identity.groups)
        assert state["effective"] == state["bounding"] == ""
    # The control: a plain child of the same process has all of it.
    plain = subprocess.run(python(STATE), capture_output=True, text=True, check=True, preexec_fn=spoil)
    natively = json.loads(plain.stdout)
    assert (natively["umask"], natively["nnp"], natively["session"]) == (0o777, "0", False)
    assert int(natively["blocked"], 16)
    assert natively["core"] != [1, 1]
    assert natively["effective"]
    assert natively["cwd"] == os.getcwd()


RUN_STATE = """
import sys
from tests.root.box.harness import *
tier, uid, code = Tier(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
with launcher() as harness:
    answers = harness.attack(code, harness.policy(tier, identity=NOBODY if uid else ROOT))
    print(json.dumps(answers))
"""


def test_case_104_105_setuid_and_file_capabilities_give_nothing(box):
    """no_new_privs and nosuid mounts: the program runs, as who executed it. Natively it is root."""
    directory = box.sacrifice()
    tool = f"{directory}/id"
    subprocess.run(["cp", "/usr/bin/id", tool], check=True)
    os.chmod(tool, 0o4755)
    for policy in (box.policy(identity=NOBODY), box.policy(DANGEROUS, identity=NOBODY)):
        assert box.run([tool, "-u"], policy).out == f"{NOBODY.uid}\n"
    assert native([tool, "-u"], uid=NOBODY.uid).out == "0\n"
    # cap_dac_override+ep: the first revision of the attribute (linux/capability.h).
    reader = f"{directory}/cat"
    subprocess.run(["cp", "/usr/bin/cat", reader], check=True)
    os.setxattr(reader, "security.capability", bytes.fromhex("0100000202000000000000000000000000000000"))
    secret = box.victim(mode=0o600)
    assert box.run([reader, secret], box.policy(identity=NOBODY)).code == 1
    assert native([reader, secret], uid=NOBODY.uid).out == "precious\n"


@pytest.mark.parametrize("kind", ["fresh", "direct", "overlay", "overlay_all"])
def test_case_094_the_working_directory_is_entered_again_inside(box, kind):
    """getcwd() is the path asked for, and what is there is the box's view of it."""
    directory = box.sacrifice()
    policy = {
        "fresh": box.policy(workdir=directory),
        "direct": box.policy(CONDITIONAL, direct=[directory], workdir=directory),
        "overlay": box.policy(SEQUENTIAL, overlay=[directory], workdir=directory),
        "overlay_all": box.policy(DANGEROUS, workdir=directory),
    }[kind]
    answers = box.attack(
        "attempt('write', lambda: write('file', flags=os.O_CREAT | os.O_WRONLY)); say(cwd=os.getcwd())", policy
    )
    assert answers["cwd"] == directory
    assert answers["write"] == ("done" if kind != "fresh" else "EROFS") or kind == "fresh"
    assert os.listdir(directory) == (["file"] if kind == "direct" else [])


def test_case_111_system_calls_of_another_architecture_are_refused(any_box):
    """x32 numbers, which other filters forget; natively the kernel answers them, or says itself that it does not."""
    if os.uname().machine != "x86_64":
        pytest.skip("needs x86-64")
    code = "attempt('x32 getpid', lambda: syscall(0x40000000 | 39)); attempt('getpid', lambda: syscall(39)); say()"
    assert any_box.attack(code) == {"x32 getpid": "ENOSYS", "getpid": "done"}
    # The control: without the filter a box is answered what everybody is.
    assert any_box.attack(code, seccomp=False) == native(python(code)).answers


def test_case_121_real_time_priority_is_refused(box):
    """Neither real-time scheduling nor a better niceness; natively root has both."""
    code = """
attempt("fifo", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
attempt("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
attempt("ioprio", lambda: syscall(251 if os.uname().machine == "x86_64" else 30, 1, 0, 1 << 13))
say()
"""
    for policy in (box.policy(), box.policy(identity=NOBODY), box.policy(DANGEROUS)):
        assert set(box.attack(code, policy).values()) == {"EPERM", "EACCES"} or set(
            box.attack(code, policy).values()
        ) == {"EPERM"}
    outside = native(python(code)).answers
    assert (outside["nice"], outside["ioprio"]) == ("done", "done")


def test_case_123_confinement_cannot_be_taken_back(box):
    """no_new_privs, securebits and the filter stay whatever prctl is asked for; natively there is no filter to stay."""
    code = (
        TYPE_INTO_TERMINAL.format(fd=0).replace("say()", "")
        + """
def prctl(*arguments):
    if libc.prctl(*arguments, *[0] * (5 - len(arguments))) < 0:
        raise OSError(ctypes.get_errno(), "")
attempt("nnp off", lambda: prctl(38, 0))
attempt("seccomp off", lambda: prctl(22, 0))
attempt("dumpable", lambda: prctl(4, 1))
attempt("securebits", lambda: prctl(28, 0))
libc.prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0)
attempt("again", lambda: ioctl(TIOCSTI))
say()
"""
    )
    here, there = os.openpty()
    answers = box.run(python(code), stdin=there).answers
    control = native(python("os.setsid(); fcntl.ioctl(0, 0x540E, 1)\n" + code), stdin=there).answers
    os.close(here)
    os.close(there)
    assert (answers["nnp off"], answers["seccomp off"], answers["again"]) == ("EINVAL", "EINVAL", "EPERM")
    assert answers["securebits"] == "EPERM"
    assert (control["again"], control["securebits"]) == ("done", "done")


def test_case_141_system_v_memory_ends_with_the_job(box):
    """It is in the job's own IPC namespace: the host's `ipcs` lists nothing of it. Natively it stays behind."""
    code = "say(id=libc.shmget(0x0CB0, 4096, 0o1666))"
    before = read("/proc/sysvipc/shm")
    assert box.attack(code)["id"] >= 0
    assert read("/proc/sysvipc/shm") == before
    left = native(python(code)).answers["id"]
    assert read("/proc/sysvipc/shm") != before
    native(python(f"libc.shmctl({left}, 0, None); say()"))
    assert read("/proc/sysvipc/shm") == before
