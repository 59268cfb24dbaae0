"""Containment cases, section 4: descriptors; and the ways around the law that were found by trial."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile

import pytest
from tests.root.box.harness import (
    CONDITIONAL,
    DANGEROUS,
    NOBODY,
    ROOT,
    SAFE,
    SEQUENTIAL,
    NotStartedError,
    native,
    python,
    read,
    without,
)

from cbx_sandbox.box import operations as ops
from cbx_sandbox.box import plan
from cbx_sandbox.linux import mountinfo, mounts
from cbx_sandbox.linux.landlock import ABI_TCP
from cbx_sandbox.policy import NetworkMode

pytestmark = [pytest.mark.root, pytest.mark.vm]

TIERS = pytest.mark.parametrize(
    ("tier", "identity"),
    [(SAFE, ROOT), (SAFE, NOBODY), (CONDITIONAL, ROOT), (SEQUENTIAL, NOBODY), (DANGEROUS, ROOT), (DANGEROUS, NOBODY)],
    ids=["safe", "safe-user", "conditional", "sequential-user", "shifted", "dangerous-user"],
)


def policy_of(box, tier, identity, **more):
    """A policy with a grant where its tier has one."""
    directory = box.sacrifice(mode=0o777)
    grants = {CONDITIONAL: {"direct": [directory]}, SEQUENTIAL: {"overlay": [directory]}}.get(tier, {})
    return box.policy(tier, identity=identity, **grants, **more)


ESCAPE_BY_DIRECTORY = """
reached = []
for fd in range(3, 1100):
    try:
        os.fchdir(fd)
        reached.append(fd)
        os.close(os.open("planted", os.O_CREAT | os.O_WRONLY))
    except OSError:
        pass
os.chdir("/")
say(reached=reached, open=[int(n) for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")])
"""


@TIERS
def test_case_093_096_only_three_descriptors_come_along(box, tier, identity):
    """Directories and sockets that the supervisor holds open are not inherited: fchdir reaches nothing.

    Natively an inherited directory descriptor leads right to its directory, whatever is mounted over it.
    """
    directory = box.sacrifice(mode=0o777)
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    one, other = socket.socketpair()
    try:
        for fd in (held, one.fileno()):
            os.set_inheritable(fd, True)
        answers = box.attack(ESCAPE_BY_DIRECTORY, policy_of(box, tier, identity))
        assert answers == {"reached": [], "open": [0, 1, 2]}
        assert os.listdir(directory) == []
        control = native(python(ESCAPE_BY_DIRECTORY), pass_fds=(held,), uid=identity.uid).answers
        assert held in control["reached"]
        assert os.listdir(directory) == ["planted"]
    finally:
        os.close(held)
        one.close()
        other.close()


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_case_093_095_a_directory_is_refused_as_a_standard_stream(box, stream):
    """With one, fchdir(0) leads to the whole of its mount: the launcher refuses to start the job."""
    directory = box.sacrifice()
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(NotStartedError, match="directory"):
            box.run(["true"], **{stream: fd})
        assert native(["sh", "-c", "cd /proc/self/fd/0 && touch planted"], stdin=fd).code == 0
    finally:
        os.close(fd)
    assert os.listdir(directory) == ["planted"]


def test_case_097_a_socket_is_refused_as_a_standard_stream(box):
    """Descriptors could come in through it (SCM_RIGHTS): clients relay sockets instead of passing them."""
    one, other = socket.socketpair()
    with one, other:
        with pytest.raises(NotStartedError, match="socket"):
            box.run(["true"], stdin=one.fileno())
        directory = os.open(box.sacrifice(), os.O_RDONLY)
        socket.send_fds(other, [b"x"], [directory])
        os.close(directory)
        code = """
with socket.socket(fileno=0) as s:
    os.fchdir(socket.recv_fds(s, 1, 1)[1][0])
say(cwd=os.getcwd())
"""
        assert box.home in native(python(code), stdin=one.fileno()).answers["cwd"]


REOPEN = """
for name in ("/proc/self/fd/0", "/dev/stdin", "/proc/thread-self/fd/0"):
    attempt("write " + name, lambda: os.close(os.open(name, os.O_WRONLY)))
    attempt("truncate " + name, lambda: os.close(os.open(name, os.O_WRONLY | os.O_TRUNC)))
    attempt("both " + name, lambda: os.close(os.open(name, os.O_RDWR)))
attempt("descriptor", lambda: os.write(0, b"attack"))
attempt("ftruncate", lambda: os.ftruncate(0, 0) if fcntl.fcntl(0, fcntl.F_GETFL) & 3 else
        (_ for _ in ()).throw(OSError(errno.EBADF, "")))
attempt("chmod", lambda: os.fchmod(0, 0o777))
say(text=os.read(0, 100).decode())
"""


@pytest.mark.parametrize("landlock", [False, True], ids=["mounts-alone", "with-landlock"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR], ids=["opened-to-read", "opened-to-write"])
@TIERS
def test_case_095_a_file_on_stdin_cannot_be_opened_anew_for_writing(box, tier, identity, flags, landlock):
    """It is reopened through a read-only clone of its mount, at the same position. Natively each way writes to it."""
    victim = box.victim("0123456789")
    os.chown(victim, identity.uid, identity.gid)
    fd = os.open(victim, flags)
    try:
        os.lseek(fd, 4, os.SEEK_SET)
        ran = box.run(python(REOPEN), policy_of(box, tier, identity), stdin=fd, landlock=landlock)
        answers = ran.answers
        assert answers.pop("text") == "456789"
        assert set(answers.values()) <= {"EROFS", "EACCES", "EBADF", "EPERM"}, answers
        assert read(victim) == "0123456789"
        control = native(python(REOPEN), stdin=fd, uid=identity.uid).answers
        reopened = {control[name] for name in control if name.startswith(("write", "both"))}
        assert reopened == {"done"}
    finally:
        os.close(fd)


def test_case_095_an_unlinked_file_on_stdin_can_be_read(box):
    """A here-document: it has no name, so it is passed as it is, and Landlock keeps it from being opened to write."""
    with tempfile.TemporaryFile(dir=box.home) as file:
        file.write(b"from the caller")
        file.seek(5)
        answers = box.run(python(REOPEN), stdin=file.fileno()).answers
        assert answers["text"] == "the caller"
        if box.ready.landlock:
            assert answers["write /proc/self/fd/0"] in {"EACCES", "EROFS", "ENOENT"}
        file.seek(5)
        code = REOPEN.replace("os.O_WRONLY | os.O_TRUNC", "os.O_WRONLY")
        assert native(python(code), stdin=file.fileno()).answers["write /proc/self/fd/0"] == "done"


def test_case_095_terminals_and_null_on_standard_streams_can_be_opened_anew(box):
    """What is no regular file was handed over as a whole: programs that write to /dev/stderr go on working."""
    master, slave = os.openpty()
    try:
        answers = box.run(
            python("attempt('tty', lambda: write('/proc/self/fd/0', 'x')); say()"), box.policy(), stdin=slave
        ).answers
        assert answers == {"tty": "done"}
    finally:
        os.close(master)
        os.close(slave)
    assert box.run(["sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr"]).out == "out\n"


@pytest.mark.parametrize(("tier", "identity"), [(SAFE, ROOT), (SAFE, NOBODY), (DANGEROUS, ROOT)])
def test_case_098_descriptors_end_at_their_limit(box, tier, identity):
    """1,024 and no more, and the limit cannot be raised. Natively, with a higher limit, the loop goes on."""
    code = """
import resource
fds = []
def exhaust():
    while len(fds) < 2000:
        fds.append(os.open("/dev/null", os.O_RDONLY))
attempt("open", exhaust)
count = len(fds)
for fd in fds:
    os.close(fd)
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    answers["raise"] = "done"
except (OSError, ValueError):
    answers["raise"] = "refused"
say(count=count)
"""
    answers = box.attack(code, box.policy(tier, identity=identity))
    assert answers == {"open": "EMFILE", "raise": "refused", "count": 1021}
    control = native(["sh", "-c", 'ulimit -n 4096; exec "$@"', "sh", *python(code)]).answers
    assert control["open"] == "done"


def test_case_099_what_pipes_hold_is_counted(box):
    """Memory of the kernel's own counts too: pipes filled beyond the limit end the job, below a higher one they do not.

    As a user of its own: the kernel bounds the pipes of all of one user's processes together (pipe(7),
    pipe-user-pages-soft), so what others do as root would decide this test.
    """
    code = """
import resource
pipes = []
for _ in range({count}):
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, 1031, 1 << 20)
    os.set_blocking(write_end, False)
    os.write(write_end, bytes(1 << 20))
    pipes.append(read_end)
say(count=len(pipes))
"""
    ran = box.run(python(code.format(count=60)), box.policy(memory=48 << 20, identity=NOBODY))
    assert ran.outcome["reason"] == "oom", (ran.outcome, ran.err)
    assert box.attack(code.format(count=60), box.policy(memory=128 << 20, identity=NOBODY)) == {"count": 60}


def test_case_100_a_flood_of_output_nobody_reads_waits(box):
    """Nothing copies or keeps a job's output: it blocks at a full pipe, while init and launcher stay small."""
    code = "print('up', flush=True)\nwhile True: os.write(1, b'y' * 65536)"
    job = box.start(python(code), box.policy(timeout=1.0))
    outputs = dict(job.pipes)
    job.pipes.clear()
    job._until(lambda: job.outcome and job.reaped, 30)
    assert job.outcome["reason"] == "timeout"
    for name, fd in outputs.items():
        job.pipes[name] = fd
    ran = job.wait()
    assert len(ran.out) <= 1 << 17
    assert ran.outcome["usage"]["memory_peak_bytes"] < 64 << 20


def test_case_100_a_flood_that_is_read_arrives_whole(box):
    """Megabytes without a newline, byte for byte."""
    ran = box.run(["sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' y"])
    assert (ran.code, len(ran.out)) == (0, 20_000_000)


@pytest.mark.parametrize(("tier", "identity"), [(SAFE, ROOT), (DANGEROUS, NOBODY)])
def test_case_101_a_reader_that_goes_away_ends_the_writer(box, tier, identity):
    """The command gets SIGPIPE, as it would natively: its disposition is the default again."""
    job = box.start(["sh", "-c", "echo up; exec yes"], box.policy(tier, identity=identity))
    job.read_until("up")
    job.close_output()
    assert job.wait().outcome["signal"] == 13
    # The control: with the disposition that this process has, which a launcher could pass on, it goes on to an error.
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, restore_signals=False) as writer:
        writer.stdout.close()
        assert writer.wait() == 1


def test_case_102_programs_in_memory_are_confined_like_others(box):
    """Executing from a memory file is allowed, and gives nothing: same ids, no new privileges, same filter."""
    code = """
fd = os.memfd_create("program")
os.write(fd, open("/bin/cat", "rb").read())
os.execve(fd, ["cat", "/proc/self/status"], {})
"""
    ran = box.run(python(code), box.policy(identity=NOBODY))
    assert f"Uid:\t{NOBODY.uid}\t{NOBODY.uid}" in ran.out
    assert "NoNewPrivs:\t1" in ran.out
    assert "Seccomp:\t2" in ran.out
    assert "NoNewPrivs:\t0" in native(python(code), uid=NOBODY.uid).out


# ── the host's sockets ──


@pytest.fixture
def host_socket():
    """A daemon of the host that listens below /run, as the supervisor does."""
    directory = tempfile.mkdtemp(prefix="cbx-test-", dir="/run")
    os.chmod(directory, 0o755)
    path = f"{directory}/sock"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    os.chmod(path, 0o777)
    listening.listen()
    yield path
    listening.close()
    shutil.rmtree(directory)


CONNECT = """
def connect(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
for path in {paths!r}:
    attempt(path, lambda: connect(path))
say()
"""


@TIERS
@pytest.mark.parametrize("network", [NetworkMode.NONE, NetworkMode.HOST])
def test_case_129_130_sockets_in_run_are_out_of_reach(box, host_socket, tier, identity, network):
    """The supervisor's and every other daemon's: not there. Natively, and without the private /run, they answer."""
    paths = [host_socket, "/var" + host_socket, f"/proc/1/root{host_socket}", f"/proc/self/root{host_socket}"]
    code = CONNECT.format(paths=paths)
    answers = box.attack(code, policy_of(box, tier, identity, network=network), seccomp=False)
    assert set(answers.values()) <= {"ENOENT", "EACCES"}
    if tier is SAFE:
        # The filter alone is enough, too: a job that only reads gets no socket with a name.
        exposed = {"alter": without(ops.RunDirectory), "landlock": False}
        filtered = box.attack(code, box.policy(identity=identity), **exposed)
        assert set(filtered.values()) == {"EAFNOSUPPORT"}
        control = box.attack(code, box.policy(identity=identity), seccomp=False, **exposed)
        assert control[host_socket] == "done"
    assert native(python(code), uid=identity.uid).answers[host_socket] == "done"


def test_case_130_the_host_s_proc_is_no_way_to_a_socket(box, host_socket):
    """A user's job that sees the host's processes cannot go through the root of one of them: Landlock refuses.

    The control is the same job without Landlock, which is why no job gets the host's /proc where there is none.
    """
    if not box.ready.landlock:
        pytest.skip("needs Landlock")
    process = subprocess.Popen(["sleep", "600"], user=NOBODY.uid, group=NOBODY.gid, extra_groups=[])
    try:
        code = CONNECT.format(paths=[f"/proc/{process.pid}/root{host_socket}"])
        policy = box.policy(identity=NOBODY, host_proc=True)
        assert set(box.attack(code, policy).values()) == {"EAFNOSUPPORT"}
        assert set(box.attack(code, policy, seccomp=False).values()) == {"EACCES"}
        assert set(box.attack(code, policy, seccomp=False, landlock=False).values()) == {"done"}
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("tier", [SEQUENTIAL, DANGEROUS])
def test_case_128_a_socket_below_an_overlay_is_another_inode(box, tier):
    """Its file is seen and nobody answers there; natively somebody does."""
    directory = box.sacrifice(mode=0o777)
    path = f"{directory}/sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        code = CONNECT.format(paths=[path])
        assert set(box.attack(code, box.policy(tier, overlay=[directory])).values()) == {"ECONNREFUSED"}
        assert set(native(python(code)).answers.values()) == {"done"}


@TIERS
def test_case_124_125_127_an_own_network_has_nothing_but_loopback(box, tier, identity):
    """The host's listeners, also abstract ones, are not there; the box's own loopback works."""
    with socket.socket() as listening, socket.socket(socket.AF_UNIX) as abstract:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        abstract.bind(f"\0{box.name}")
        abstract.listen()
        port = listening.getsockname()[1]
        code = f"""
def tcp(address):
    with socket.socket() as s:
        s.settimeout(5)
        s.connect(address)
def unix():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("\\0{box.name}")
attempt("loopback", lambda: tcp(("127.0.0.1", {port})))
attempt("zero", lambda: tcp(("0.0.0.0", {port})))
attempt("abstract", unix)
def own():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        tcp(s.getsockname())
attempt("own", own)
attempt("outside", lambda: tcp(("192.0.2.1", 80)))
say(interfaces=[name for _, name in socket.if_nameindex()])
"""
        if tier is SAFE and box.ready.landlock >= ABI_TCP:
            # What only reads has no use even for that: ports and named sockets are refused on top.
            refused = box.attack(code, policy_of(box, tier, identity))
            assert refused.pop("interfaces") == ["lo"]
            assert refused.pop("abstract") == "EAFNOSUPPORT"
            assert set(refused.values()) == {"EACCES"}
        answers = box.attack(code, policy_of(box, tier, identity), landlock=tier is not SAFE, seccomp=tier is not SAFE)
        assert answers.pop("interfaces") == ["lo"]
        assert answers.pop("own") == "done"
        assert answers.pop("outside") == "ENETUNREACH"
        assert set(answers.values()) == {"ECONNREFUSED"}
        inside = code.replace('attempt("outside"', 'False and attempt("outside"')
        control = native(python(inside)).answers
        assert {control[name] for name in ("loopback", "zero", "abstract")} == {"done"}


def test_files_kept_in_run_are_readable_for_the_job_s_user(box):
    """With the host's network, the resolver's file stays, read-only, and nothing else of that directory."""
    directory = tempfile.mkdtemp(prefix="cbx-test-", dir="/run")
    os.chmod(directory, 0o755)
    kept = f"{directory}/resolve/resolv.conf"
    try:
        os.mkdir(os.path.dirname(kept))
        for path in (kept, f"{directory}/other"):
            with open(path, "w", encoding="utf-8") as file:
                file.write("nameserver 192.0.2.1\n")
            os.chmod(path, 0o666)
        view = box.view()
        code = f"""
attempt("write", lambda: write({kept!r}))
say(text=open({kept!r}).read(), listed=os.listdir({directory!r}))
"""
        policy = box.policy(identity=NOBODY, network=NetworkMode.HOST)
        steps = plan.operations(policy, plan.HostView(view.mounts, view.hidden, (kept,)), [], [])
        answers = box.attack(code, policy, alter=lambda _: steps, landlock=False)
        assert answers == {"write": "EROFS", "text": "nameserver 192.0.2.1\n", "listed": ["resolve"]}
    finally:
        shutil.rmtree(directory)


# ── one directory, two names ──


@pytest.fixture
def two_names(box):
    """(directory, the same one bind-mounted elsewhere), with a file."""
    directory, other = box.sacrifice("first"), box.sacrifice("second")
    with open(f"{directory}/file", "w", encoding="utf-8") as file:
        file.write("precious\n")
    tree = mounts.open_tree(directory)
    mounts.move_mount(tree, other)
    os.close(tree)
    yield directory, other
    with contextlib.suppress(OSError):
        mounts.umount(other, mounts.MNT_DETACH)


@pytest.mark.parametrize("tier", [CONDITIONAL, SEQUENTIAL])
@pytest.mark.parametrize("swapped", [False, True], ids=["by-first", "by-second"])
def test_a_grant_by_one_name_gives_no_write_access_by_the_other(box, two_names, tier, swapped):
    """Two bind mounts of one directory: what was locked by one name is read-only by the other."""
    granted, other = reversed(two_names) if swapped else two_names
    code = f"""
attempt("granted", lambda: write({granted + "/file"!r}))
attempt("other", lambda: write({other + "/file"!r}))
attempt("other new", lambda: write({other + "/new"!r}, flags=os.O_CREAT | os.O_WRONLY))
say(seen=open({other + "/file"!r}).read())
"""
    grants = {"direct": [granted]} if tier is CONDITIONAL else {"overlay": [granted]}
    answers = box.attack(code, box.policy(tier, **grants), landlock=False)
    assert answers["granted"] == "done"
    assert (answers["other"], answers["other new"]) == ("EROFS", "EROFS")
    # Live it is one directory: the write shows by both names. In an overlay it shows by neither outside.
    assert answers["seen"] == ("attackus\n" if tier is CONDITIONAL else "precious\n")
    assert read(f"{other}/file") == answers["seen"]
    assert native(["touch", f"{other}/new"]).code == 0
    assert os.path.exists(f"{granted}/new")


def test_both_names_are_overlaid_in_isolation(box, two_names):
    """A DANGEROUS job writes by both; neither write leaves the box."""
    first, second = two_names
    code = f"""
attempt("first", lambda: write({first + "/file"!r}, "one"))
attempt("second", lambda: write({second + "/file"!r}, "two"))
say(seen=[open(path).read()[:3] for path in ({first + "/file"!r}, {second + "/file"!r})])
"""
    for shifted in (True, False):
        answers = box.attack(code, box.policy(DANGEROUS, shifted=shifted))
        assert answers == {"first": "done", "second": "done", "seen": ["one", "two"]}
    assert read(f"{first}/file") == "precious\n"


def test_overlays_leave_no_mount_behind(box, two_names):
    """The mounts of the two names are what they were, after jobs that used both."""
    before = [(mount.mount_id, mount.target) for mount in mountinfo.read()]
    box.run(["true"], box.policy(DANGEROUS))
    box.run(["true"], box.policy(SEQUENTIAL, overlay=[two_names[0]]))
    assert [(mount.mount_id, mount.target) for mount in mountinfo.read()] == before
