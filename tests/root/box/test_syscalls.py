"""Containment cases, section 5: system calls. Each attack is made with the filter and, as its control, without.

The control runs in the same box with everything else in force: what it gets is what the filter alone takes away. An
attack that other layers stop as well gets another error there.
"""

import dataclasses
import os
import textwrap

import pytest
from msgspec.structs import replace
from tests.root.box.harness import CONDITIONAL, DANGEROUS, NOBODY, SAFE, SEQUENTIAL, Harness, native, python

from cbx_sandbox.linux import seccomp

pytestmark = [pytest.mark.root, pytest.mark.vm]

MACHINE = os.uname().machine
NUMBERS = seccomp.numbers(MACHINE) if MACHINE in seccomp.MACHINES else {}
X86 = MACHINE == "x86_64"

# Each attack in a process of its own: namespaces, traces and limits stay there.
BEGIN = f"""
import mmap, resource
N = {NUMBERS!r}
def alone(name, call):
    told, tell = os.pipe()
    if os.fork() == 0:
        try:
            attempt(name, call)
        except BaseException as error:
            answers[name] = repr(error)
        os.write(tell, answers[name].encode())
        os._exit(0)
    os.close(tell)
    answers[name] = os.read(told, 200).decode() or "died"
    os.close(told)
    os.wait()
def forked(number, *arguments):
    pid = syscall(number, *arguments)
    if pid == 0:
        os._exit(0)
def keep_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        raise OSError(errno.EALREADY, "")
def terminal(command):
    fd = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(fd, command, struct.pack("i", 0))
def traced():
    if libc.ptrace(0, 0, None, None):
        raise OSError(ctypes.get_errno(), "")
def foreign():
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("53b814000000cd805bc3"))  # getpid of i386 by int 0x80
    found = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
    if found < 0:
        raise OSError(-found, "")
buffer = ctypes.create_string_buffer(4096)
vector = struct.pack("QQ", ctypes.addressof(buffer), 8)
"""


@dataclasses.dataclass(frozen=True)
class Attack:
    """``refused`` with the filter; one of ``without`` when it is off."""

    code: str
    refused: str
    without: frozenset[str]
    kinds: tuple[str, ...] = ("safe", "user", "shifted", "sequential")


def attack(code, refused="EPERM", without="done", kinds=None):
    kinds = Attack.kinds if kinds is None else tuple(kinds.split())
    return Attack(code, refused, frozenset(without.split()), kinds)


ATTACKS = {
    # 114: keys outlive a job, and belong to the user
    "keyctl": attack('syscall(N["keyctl"], 0, -3, 1)', "ENOSYS"),
    "add_key": attack('syscall(N["add_key"], b"user", b"cbx-test", b"x", 1, -3)', "ENOSYS"),
    "request_key": attack('syscall(N["request_key"], b"user", b"cbx-test-none", None, 0)', "ENOSYS", "ENOKEY"),
    # 113, 115, 063, 069, 070
    "io_uring": attack('syscall(N["io_uring_setup"], 4, ctypes.create_string_buffer(120))', "ENOSYS", "done EPERM"),
    "userfaultfd": attack('syscall(N["userfaultfd"], 1)'),
    "memfd_secret": attack('syscall(N["memfd_secret"], 0)', "EPERM", "done ENOSYS"),
    "process_madvise": attack('syscall(N["process_madvise"], -1, vector, 1, 4, 0)', "EPERM", "EBADF EINVAL"),
    "perf_event_open": attack('syscall(N["perf_event_open"], 1, 0, -1, -1, 0)', "EPERM", "EFAULT EACCES"),
    "pidfd_getfd": attack('syscall(N["pidfd_getfd"], os.pidfd_open(os.getpid()), 0, 0)'),
    "ptrace": attack("traced()", kinds="safe user shifted"),
    "process_vm_readv": attack('syscall(N["process_vm_readv"], os.getpid(), vector, 1, vector, 1, 0)',
                               kinds="safe user shifted"),
    "kcmp": attack('syscall(N["kcmp"], os.getpid(), os.getpid(), 0, 0, 0)', kinds="safe user shifted"),
    # 107, 108, 110: namespaces; the limits of a shifted namespace are zero besides
    "unshare user": attack('syscall(N["unshare"], 0x10000000)', kinds="safe user sequential"),
    "unshare user, shifted": attack('syscall(N["unshare"], 0x10000000)', "EPERM", "ENOSPC", kinds="shifted"),
    "unshare high bits": attack('syscall(N["unshare"], 0x10000000 | 1 << 32)', "EPERM", "done EINVAL", kinds="user"),
    "clone user": attack('forked(N["clone"], 0x10000011, 0, 0, 0, 0)', kinds="safe user sequential"),
    "clone high bits": attack('forked(N["clone"], 0x10000011 | 1 << 32, 0, 0, 0, 0)', kinds="safe user"),
    "clone net, shifted": attack('forked(N["clone"], 0x50000011, 0, 0, 0, 0)', "EPERM", "ENOSPC", kinds="shifted"),
    "clone3 user": attack('forked(N["clone3"], struct.pack("8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64)', "ENOSYS",
                          kinds="safe user sequential"),
    "clone3": attack('forked(N["clone3"], struct.pack("8Q", 0, 0, 0, 0, 17, 0, 0, 0), 64)', "ENOSYS"),
    "setns": attack('syscall(N["setns"], -1, 0)', "EPERM", "EBADF"),
    # mounts, old and new interface
    "mount": attack('syscall(N["mount"], b"none", b"/", 1, 0, None)', "EPERM", "EFAULT"),
    "umount2": attack('syscall(N["umount2"], b"/not/there", 0)', "EPERM", "ENOENT"),
    "open_tree": attack('syscall(N["open_tree"], -100, b"/", 0)'),
    "statmount": attack('syscall(N["statmount"], 1, buffer, 4096, 0)', "ENOSYS", "EFAULT EINVAL ENOSYS"),
    "open_tree_attr": attack('syscall(N["open_tree_attr"], -1, b"x", 0, 0, 0)', "EPERM", "EBADF EINVAL ENOSYS"),
    # 112: calls newer than the C library of most systems
    "lsm_list_modules": attack('syscall(N["lsm_list_modules"], buffer, struct.pack("I", 4096), 0)', "ENOSYS",
                               "done ENOSYS E2BIG"),
    "not yet invented": attack("syscall(490)", "ENOSYS", "ENOSYS"),
    # 116: families and protocols of sockets
    "unix": attack("socket.socket(socket.AF_UNIX)", "EAFNOSUPPORT", kinds="safe user"),
    "packet": attack("socket.socket(17, socket.SOCK_RAW)", "EAFNOSUPPORT", "EPERM EAFNOSUPPORT"),
    "netlink events": attack("socket.socket(16, socket.SOCK_DGRAM, 15)", "EPROTONOSUPPORT"),
    "netlink generic": attack("socket.socket(16, socket.SOCK_DGRAM, 16)", "EPROTONOSUPPORT"),
    "netlink netfilter": attack("socket.socket(16, socket.SOCK_DGRAM, 12)", "EPROTONOSUPPORT", "done EPROTONOSUPPORT"),
    "alg": attack("socket.socket(38, socket.SOCK_SEQPACKET)", "EAFNOSUPPORT", "done EAFNOSUPPORT"),
    "vsock": attack("socket.socket(40, socket.SOCK_STREAM)", "EAFNOSUPPORT", "done EAFNOSUPPORT"),
    "unusual protocol": attack("socket.socket(2, socket.SOCK_DGRAM, 136)", "EPROTONOSUPPORT", "done EPROTONOSUPPORT"),
    # 117, 009, 118, 082
    "no random addresses": attack('syscall(N["personality"], 0x40000)'),
    "read implies exec": attack('syscall(N["personality"], 0x400000)'),
    "whiteout": attack('os.mknod("/run/tmp/whiteout%d" % os.getpid(), stat.S_IFCHR | 0o666, 0)'),
    "line discipline": attack("terminal(0x5423)"),
    # 046: the limit that keeps a crash from the host's handler
    "core limit": attack("keep_core()", "EALREADY"),
    # what the kernel counts for the whole host, and in no group
    "contexts of asynchronous I/O": attack('syscall(N["io_setup"], 1, ctypes.create_string_buffer(8))', "ENOSYS"),
    "huge pages": attack('syscall(N["mmap"], 0, 1 << 21, 3, 0x44022, -1, 0)', "ENOMEM", "done EINVAL ENOSYS"),
    "huge pages of a file": attack('syscall(N["memfd_create"], b"x", 4)', "EINVAL", "done ENOSYS EINVAL"),
    "huge pages to share": attack('syscall(N["shmget"], 0, 1 << 21, 0o5600)', "EPERM", "done EPERM ENOMEM EINVAL"),
    # what else reads or sets the host's own state
    "adjtimex": attack('syscall(N["adjtimex"], buffer)'),
    "quota": attack('syscall(N["quotactl"], 0x800001, None, 0, None)', "EPERM", "done ENODEV ENOSYS"),
    "fanotify": attack('syscall(N["fanotify_init"], 0x200, 0)', "EPERM", "done EPERM ENOSYS"),
    "move_pages": attack('syscall(N["move_pages"], 0, 0, None, None, None, 0)'),
    "open_by_handle_at": attack('syscall(N["open_by_handle_at"], -1, buffer, 0)', "EPERM", "EBADF EINVAL EPERM ESTALE"),
}  # fmt: skip
if X86:
    ATTACKS |= {
        "i386": attack("foreign()", "ENOSYS", "done died"),  # 111; a kernel without i386 ends the process
        "x32": attack("syscall(0x40000000 | 39)", "ENOSYS", "done ENOSYS"),
        "modify_ldt": attack('syscall(N["modify_ldt"], 0, buffer, 16)', "EPERM", "done ENOSYS"),
        "iopl": attack('syscall(N["iopl"], 0)', "EPERM", "done ENOSYS"),
        "sysfs": attack('syscall(N["sysfs"], 3)', "ENOSYS", "done ENOSYS"),
    }
# Where the control tells nothing on some kernels: at least so many of all controls have to differ.
LEAST_CONTROLS = 0.85


def policies(box: Harness):
    """One of each kind of box."""
    return {
        "safe": box.policy(),
        "user": box.policy(identity=NOBODY),
        "shifted": box.policy(DANGEROUS),
        "sequential": box.policy(SEQUENTIAL, overlay=[box.sacrifice()]),
    }


@pytest.fixture(scope="module")
def said(box):
    """What every attack got, by (kind, filtered): each kind of box is tried once."""
    found = {}
    for kind, policy in policies(box).items():
        lines = [f"alone({name!r}, lambda: {each.code})" for name, each in ATTACKS.items() if kind in each.kinds]
        code = BEGIN + "\n".join([*lines, "say()"])
        for filtered in (True, False):
            found[kind, filtered] = box.attack(code, policy, seccomp=filtered)
    return found


@pytest.mark.skipif(MACHINE not in seccomp.MACHINES, reason="no table of numbers for this machine")
@pytest.mark.parametrize("name", ATTACKS)
def test_case_063_107_to_118_a_call_that_no_job_needs_is_refused(said, name):
    """In every kind of box, in its own words; the control gets further in the same box without the filter."""
    each = ATTACKS[name]
    for kind in each.kinds:
        assert said[kind, True][name] == each.refused, kind
        assert said[kind, False][name] in each.without, kind


def test_the_controls_show_that_it_is_the_filter(said):
    """Nearly every attack gets something else without it; the rest depends on what the kernel was built with.

    In the guest, where few of the many attacks above are items of their own, this is where all are looked at.
    """
    wrong = {
        (kind, name): (said[kind, True][name], said[kind, False][name])
        for name, each in ATTACKS.items()
        for kind in each.kinds
        if said[kind, True][name] != each.refused or said[kind, False][name] not in each.without
    }
    assert wrong == {}
    pairs = [(said[kind, True][name], said[kind, False][name]) for name, each in ATTACKS.items() for kind in each.kinds]
    assert sum(filtered != free for filtered, free in pairs) / len(pairs) >= LEAST_CONTROLS


@pytest.mark.parametrize("tier", [CONDITIONAL, SEQUENTIAL], ids=["conditional", "sequential"])
def test_builds_and_tests_may_trace_their_own_processes(box, tier):
    """Debuggers and leak checkers work there, and a traced process is held to the filter all the same."""
    directory = box.sacrifice(mode=0o777)
    policy = box.policy(tier, **{"direct" if tier is CONDITIONAL else "overlay": [directory]})
    ran = box.run(["strace", "-f", "-e", "trace=mount,unshare", "unshare", "-U", "true"], policy)
    assert ran.code == 1
    assert "unshare(CLONE_NEWUSER)" in ran.err
    assert "Operation not permitted" in ran.err
    refused = box.run(["strace", "true"])
    assert refused.code != 0
    assert "not permitted" in refused.err
    assert box.run(["strace", "true"], seccomp=False).code == 0


def test_case_046_a_crash_keeps_the_limit_whatever_the_program_asked_for(box):
    """A shell that sets its limit to 0 goes on, dies of its signal, and its limit was still 1."""
    ran = box.run(["sh", "-c", "ulimit -c 0 && cat /proc/self/limits && kill -SEGV $$"])
    (line,) = [line for line in ran.out.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["1", "1"]
    assert ran.outcome["signal"] == 11
    free = box.run(["sh", "-c", "ulimit -c 0 && cat /proc/self/limits"], seccomp=False)
    (line,) = [line for line in free.out.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]


def test_case_114_each_job_has_a_session_keyring_of_its_own(box):
    """Empty, and not that of the process that started cbx: seen without the filter, which hides all keys besides."""
    code = textwrap.dedent(f"""
        N = {NUMBERS!r}
        say(serial=syscall(N["keyctl"], 0, -3, 0), size=syscall(N["keyctl"], 11, -3, None, 0))
    """)
    first, second = (box.attack(code, seccomp=False) for _ in range(2))
    assert first["size"] == second["size"] == 0
    assert first["serial"] != second["serial"]
    # The control: natively one process finds what another one has.
    serial = code.replace(', size=syscall(N["keyctl"], 11, -3, None, 0)', "")
    assert native(python(serial)).answers == native(python(serial)).answers


@pytest.mark.parametrize("tier", [SAFE, CONDITIONAL, SEQUENTIAL, DANGEROUS])
def test_seccomp_log_lets_a_call_pass_and_keeps_the_ways_out_shut(box, tier):
    """What no profile has goes on to the kernel; namespaces, terminals and clone3 stay refused."""
    code = (
        BEGIN
        + """
alone("keyctl", lambda: syscall(N["keyctl"], 0, -3, 1))
alone("umount2", lambda: syscall(N["umount2"], b"/not/there", 0))
alone("unshare", lambda: syscall(N["unshare"], 0x10000000))
alone("clone3", lambda: forked(N["clone3"], struct.pack("8Q", 0, 0, 0, 0, 17, 0, 0, 0), 64))
alone("packet", lambda: socket.socket(17, socket.SOCK_RAW))
say()
"""
    )
    refused = {"unshare": "EPERM", "clone3": "ENOSYS", "packet": "EAFNOSUPPORT"}
    policy = box.policy(tier)
    assert box.attack(code, policy) == {"keyctl": "ENOSYS", "umount2": "EPERM", **refused}
    logged = replace(policy, seccomp_log=True)
    assert box.attack(code, logged) == {"keyctl": "done", "umount2": "ENOENT", **refused}
