"""Attacks that are tried for real from within boxes of this host: `doctor --attack`.

Each does no harm where it succeeds: it opens what it would write to, signals with nothing, and aims at files, sockets
and processes made for it. It is made in every kind of box, by root, who could do most of it outside.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import socket
from collections.abc import Iterator, Mapping, Sequence

from cbx_sandbox.box import plan, trial
from cbx_sandbox.box.finding import python
from cbx_sandbox.linux import seccomp
from cbx_sandbox.policy import Grant, LockMode
from cbx_sandbox.shell.tiers import Tier

KINDS = ("safe", "sequential", "dangerous")


@dataclasses.dataclass(frozen=True, slots=True)
class Attack:
    """What is tried, as Python, and the layer that has to stop it.

    ``kinds``: the boxes that forbid it. ``reached``: answers that somebody gets whom nothing stopped.
    """

    layer: str
    name: str
    code: str
    kinds: Sequence[str] = KINDS
    reached: Sequence[str] = ("done",)


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What an attack was answered with in each kind of box: the name of the error, or "done"."""

    attack: Attack
    answers: dict[str, str]

    @property
    def held(self) -> bool:
        """Whether no box let it pass; one that did not even answer did not hold."""
        return not {"?", *self.attack.reached} & set(self.answers.values())


ATTACKS = (
    Attack("mounts", "write a file of the host", "opened(F + '/file', os.O_WRONLY)", KINDS[:2]),
    Attack("mounts", "create a file in /usr", "opened('/usr/cbx-attack', os.O_WRONLY | os.O_CREAT)", KINDS[:2]),
    Attack("mounts", "remount / writable", "libc_call('mount', None, b'/', None, 0x1020, None)"),
    Attack("masks", "core_pattern", "opened('/proc/sys/kernel/core_pattern', os.O_WRONLY)"),
    Attack("masks", "kernel.modprobe", "opened('/proc/sys/kernel/modprobe', os.O_WRONLY)"),
    Attack("masks", "sysrq-trigger", "opened('/proc/sysrq-trigger', os.O_WRONLY)"),
    Attack("masks", "vm.drop_caches", "opened('/proc/sys/vm/drop_caches', os.O_WRONLY)"),
    Attack("masks", "kernel memory by /proc/kcore", "has(opened('/proc/kcore', os.O_RDONLY, 64))"),
    Attack("masks", "the group's own limits", "own_group()"),
    Attack("devices", "/dev/mem", "opened('/dev/mem', os.O_RDONLY)"),
    Attack("devices", "/dev/kmsg", "opened('/dev/kmsg', os.O_RDONLY)"),
    Attack("devices", "make a disk's node", "os.mknod('/run/tmp/disk', stat.S_IFBLK | 0o600, os.makedev(8, 0))"),
    Attack("PID namespace", "signal a process of the host", "os.kill(PID, 0)"),
    Attack("PID namespace", "open a process of the host", "opened(f'/proc/{PID}/environ', os.O_RDONLY)"),
    Attack("init's own ids", "trace init", "libc_call('ptrace', 16, 1, None, None)"),
    Attack("init's own ids", "see init's root", "os.listdir('/proc/1/root')"),
    Attack("init's own ids", "limit init", "resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3))"),
    Attack("network", "a port of the host's loopback", "connected(socket.AF_INET, ('127.0.0.1', PORT))"),
    Attack("network", "an abstract socket of the host", "connected(socket.AF_UNIX, '\\0' + NAME)"),
    Attack("deputies", "a named socket of the host", "connected(socket.AF_UNIX, F + '/socket')", ("safe", "dangerous")),
    Attack("Landlock", "open stdin for writing", "opened('/proc/self/fd/0', os.O_WRONLY)", KINDS[:2]),
    Attack("descriptors", "one more than 0 to 2", "has(INHERITED)"),
    Attack("capabilities", "any outside a user namespace", "has(capabilities())", KINDS[:2]),
    Attack("capabilities", "set the clock", "time.clock_settime(time.CLOCK_REALTIME, time.time())"),
    Attack("capabilities", "set the host's name", "socket.sethostname('attack')"),
    Attack("no_new_privs", "gain privileges by a file", "has(not privileges_are_final())"),
    Attack("seccomp", "a user namespace", "call('unshare', 0x10000000)", KINDS, ("done", "ENOSPC")),
    Attack("seccomp", "a user namespace by clone3", "call('clone3', None, 0)", KINDS, ("EINVAL",)),
    Attack("seccomp", "another namespace", "call('setns', -1, 0)", KINDS, ("EBADF",)),
    Attack("seccomp", "a BPF program", "call('bpf', 5, bytes(64), 64)", KINDS[:2], ("EINVAL", "EFAULT", "E2BIG")),
    Attack("seccomp", "performance events", "call('perf_event_open', None, 0, -1, -1, 0)", KINDS, ("EFAULT",)),
    Attack("seccomp", "io_uring", "call('io_uring_setup', 4, bytes(120))"),
    Attack("seccomp", "page faults of its own", "call('userfaultfd', 1)"),
    Attack(
        "seccomp", "a file by its handle", "call('open_by_handle_at', -1, bytes(64), 0)", KINDS, ("EBADF", "EINVAL")
    ),
    Attack("seccomp", "a kernel module", "call('init_module', b'', 0, b'')", KINDS[:2], ("ENOEXEC",)),
    Attack("seccomp", "type into a terminal", "fcntl.ioctl(0, 0x5412, b'x')", KINDS, ("done", "ENOTTY")),
    Attack("seccomp", "addresses that can be guessed", "call('personality', 0x40000)"),
    Attack("keyring", "the caller's keys", "call('keyctl', 0, -3, 0)"),
    Attack("limits", "real-time priority", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"),
)

# An attack in a process of its own says what it was answered with; what is no answer of the kernel's is "?".
_PRELUDE = """
import ctypes, errno, fcntl, json, os, resource, socket, stat, sys, time
INHERITED = [name for name in os.listdir("/proc/self/fd") if int(name) > 3]  # 3 is the listing's own
libc = ctypes.CDLL(None, use_errno=True)
def libc_call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0: raise OSError(ctypes.get_errno(), "")
def call(name, *arguments):
    values = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    if libc.syscall(ctypes.c_long(N[name]), *values) < 0: raise OSError(ctypes.get_errno(), "")
def opened(path, flags, count=0):
    fd = os.open(path, flags, 0o600)
    if path != "/dev/null" and os.fstat(fd).st_rdev == os.makedev(1, 3): raise OSError(errno.ENOENT, "masked")
    found = os.read(fd, count) if count else b""
    os.close(fd)
    return found
def connected(family, address):
    with socket.socket(family) as made: made.connect(address)
def has(found):
    if not found: raise OSError(errno.ENOENT, "")
def status(name):
    return next(line.split()[1] for line in open("/proc/self/status") if line.startswith(name + ":"))
def capabilities():
    return int(status("CapEff"), 16) | int(status("CapBnd"), 16)
def privileges_are_final():
    return status("NoNewPrivs") == "1"
def own_group():
    places = [f"/sys/fs/cgroup{kind}{name}" for kind in ("", "/memory", "/unified")
              for name in ("/memory.max", "/memory.limit_in_bytes", "/cgroup.procs")]
    there = [place for place in places if os.path.exists(place)]
    has(there)
    for place in there: opened(place, os.O_WRONLY)
answers = {}
def attempt(name, attack):
    told, tell = os.pipe()
    if os.fork() == 0:
        os.close(told)
        try: attack(); said = "done"
        except OSError as error: said = errno.errorcode.get(error.errno, str(error.errno))
        except BaseException as error: said = "?"
        os.write(tell, said.encode()); os._exit(0)
    os.close(tell)
    answers[name] = os.read(told, 100).decode() or "?"
    os.close(told)
    os.wait()
"""


def attempt(bench: trial.Bench, directory: str) -> list[Result]:
    """Make every attack in every kind of box. Raises CbxError if a box cannot be built; OSError."""
    with targets(directory) as values:
        code = program(ATTACKS, values)
        found = {kind: _run(bench, kind, directory, code) for kind in KINDS}
    return [Result(attack, {kind: found[kind].get(attack.name, "?") for kind in attack.kinds}) for attack in ATTACKS]


def program(attacks: Sequence[Attack], values: Mapping[str, object]) -> str:
    """The Python program that makes these attacks on these targets, and prints the answers as JSON."""
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    lines += [f"attempt({attack.name!r}, lambda: {attack.code})" for attack in attacks]
    return _PRELUDE + "\n".join([*lines, "print(json.dumps(answers))"])


@contextlib.contextmanager
def targets(directory: str) -> Iterator[dict[str, object]]:
    """A file, a process and sockets to be attacked, by the names that the attacks use."""
    with open(f"{directory}/file", "w", encoding="ascii") as file:
        file.write("untouched")
    name = f"cbx-attack-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(socket.socket(family)) for family in (socket.AF_INET, *[socket.AF_UNIX] * 2)]
        made[0].bind(("127.0.0.1", 0))
        made[1].bind(f"\0{name}")
        made[2].bind(f"{directory}/socket")
        for each in made:
            each.listen()
        numbers = seccomp.numbers(platform.machine())
        yield {"F": directory, "PID": os.getpid(), "PORT": made[0].getsockname()[1], "NAME": name, "N": numbers}


def _run(bench: trial.Bench, kind: str, directory: str, code: str) -> dict[str, str]:
    places: list[plan.OverlayPlace] = []
    grants: tuple[Grant, ...] = ()
    tier = Tier.SAFE_PARALLEL
    if kind != "safe":
        layer, lower = f"{directory}/layer-{kind}", f"{directory}/lower"
        for made in (f"{layer}/upper", f"{layer}/work", lower):
            os.makedirs(made, exist_ok=True)
        dangerous = kind == "dangerous"
        tier = Tier.DANGEROUS_ISOLATED if dangerous else Tier.SEQUENTIAL_REQUIRED
        places = [plan.OverlayPlace("/" if dangerous else lower, layer, redirect=not dangerous)]
        grants = () if dangerous else (Grant(lower, LockMode.U, overlay=True),)
    shifted = kind == "dangerous" and bench.ready.unshifted is None
    with open(f"{directory}/file", "rb") as stdin:
        ran = bench.run(python(code), tier, grants=grants, places=places, shifted=shifted, stdin=stdin.fileno())
    answers: dict[str, str] = json.loads(ran.output.splitlines()[-1]) if ran.output else {}
    return answers
