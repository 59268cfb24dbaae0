"""What this host really enforces, found by trying it: small jobs that break the rule, and what became of them.

Nothing is concluded from versions or configuration alone: a kernel that has a feature may not let us use it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator

from cbx_sandbox.box import plan, trial
from cbx_sandbox.errors import CbxError
from cbx_sandbox.linux import keyring, landlock, namespaces
from cbx_sandbox.policy import Grant, Limits, LockMode, NetworkMode
from cbx_sandbox.shell.tiers import Tier

OK, MISSING, UNKNOWN = "ok", "missing", "unknown"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One guarantee: ``state`` is ok, missing or unknown; ``detail`` what was tried, ``fix`` what to do."""

    name: str
    state: str
    detail: str
    fix: str = ""


def probe() -> list[Finding]:
    """Try every guarantee; without root most of them stay unknown."""
    if os.geteuid() != 0:
        fix = "run `sudo cbx-sandbox doctor`"
        return [Finding(name, UNKNOWN, "only root can try it", fix) for name, _ in _PROBES]
    directory = tempfile.mkdtemp(prefix="cbx-doctor-", dir=_scratch())
    try:
        with trial.Bench(f"cbx-doctor-{os.getpid()}", directory) as bench:
            return [_try(name, probe_, bench, directory) for name, probe_ in _PROBES]
    except (OSError, CbxError) as error:
        return [Finding("launcher", MISSING, str(error), "cbx needs root, cgroup v2 and Linux 5.14 or later")]
    finally:
        shutil.rmtree(directory)


def _scratch() -> str:
    # Where layers will lie: what the file system there can do is what matters.
    state = os.environ.get("CBX_STATE_DIR", "/var/lib/cbx")
    return state if os.path.isdir(state) else os.path.dirname(state) or "/"


Probe = Callable[[trial.Bench, str], Finding]


def _try(name: str, probe_: Probe, bench: trial.Bench, directory: str) -> Finding:
    try:
        return probe_(bench, directory)
    except (OSError, CbxError) as error:
        return Finding(name, MISSING, str(error), _FIXES.get(name, ""))


def _finding(name: str, *, holds: bool, held: str, broken: str) -> Finding:
    return Finding(name, OK if holds else MISSING, held if holds else broken, "" if holds else _FIXES.get(name, ""))


def _python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


@contextlib.contextmanager
def _sacrifice(directory: str, name: str) -> Iterator[str]:
    path = os.path.join(directory, name)
    os.mkdir(path)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _read_only(bench: trial.Bench, directory: str) -> Finding:
    with _sacrifice(directory, "read-only") as path:
        run = bench.run(_python(f"open({path + '/x'!r}, 'w')"))
        holds = run.outcome["exit_code"] == 1 and not os.listdir(path)
    return _finding("read-only-host", holds=holds, held="a job could not create a file", broken="a job wrote a file")


def _landlock(bench: trial.Bench, directory: str) -> Finding:
    abi = landlock.abi()
    if not abi:
        return Finding(
            "landlock-writes", MISSING, "the kernel has it not, or not switched on", _FIXES["landlock-writes"]
        )
    # Read-only mounts do not keep anybody from writing into a FIFO: nothing else would stop this.
    path = os.path.join(directory, "fifo")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        run = bench.run(_python(f"import os; os.open({path!r}, os.O_WRONLY | os.O_NONBLOCK)"))
    finally:
        os.close(reader)
        os.unlink(path)
    holds = run.outcome["exit_code"] == 1 and "PermissionError" in run.error
    held = f"ABI {abi}; a FIFO of ours could not be opened for writing"
    return _finding("landlock-writes", holds=holds, held=held, broken="a FIFO of ours was opened for writing")


def _overlay(bench: trial.Bench, directory: str) -> Finding:
    with _sacrifice(directory, "lower") as lower, _sacrifice(directory, "layer") as layer:
        for name in ("upper", "work"):
            os.mkdir(f"{layer}/{name}")
        grant = Grant(lower, LockMode.U, overlay=True)
        places = [plan.OverlayPlace(lower, layer, redirect=True)]
        run = bench.run(
            _python("open('x', 'w')"), Tier.SEQUENTIAL_REQUIRED, grants=(grant,), places=places, workdir=lower
        )
        holds = run.outcome["exit_code"] == 0 and os.listdir(f"{layer}/upper") == ["x"] and not os.listdir(lower)
    return _finding("overlay", holds=holds, held="a write went to the layer alone", broken=f"it did not: {run.error}")


def _shifted(bench: trial.Bench, directory: str) -> Finding:
    with _sacrifice(directory, "shifted") as layer:
        for name in ("upper", "work"):
            os.mkdir(f"{layer}/{name}")
        places = [plan.OverlayPlace("/", layer, redirect=False)]
        code = "import os; open('/cbx-doctor', 'w'); print(open('/proc/self/uid_map').read())"
        run = bench.run(_python(code), Tier.DANGEROUS_ISOLATED, places=places, shifted=True)
        made = f"{layer}/upper/cbx-doctor"
        holds = os.path.exists(made) and os.stat(made).st_uid == 0 and not os.path.exists("/cbx-doctor")
    held = "root inside was nobody outside, its file in the layer has the right owner"
    return _finding("shifted-ids", holds=holds, held=held, broken=f"an id-mapped overlay over / failed: {run.error}")


def _no_network(bench: trial.Bench, _: str) -> Finding:
    run = bench.run(_python("print([line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line])"))
    holds = run.output.strip() == "['lo']"
    return _finding("no-network", holds=holds, held="a job saw loopback only", broken=f"a job saw {run.output.strip()}")


def _memory(bench: trial.Bench, _: str) -> Finding:
    limits = Limits(memory=64 << 20, timeout=60)
    run = bench.run(_python("x = bytearray(256 << 20)"), limits=limits)
    holds = run.outcome["reason"] == "oom"
    held = "256 MiB under a limit of 64 MiB ended with reason oom"
    return _finding("memory-limit", holds=holds, held=held, broken=bench.why("memory", "a job got more than its limit"))


def _swap(bench: trial.Bench, _: str) -> Finding:
    why = bench.ready.missing.get("swap")
    return _finding("swap-limit", holds=why is None, held="set with the memory limit", broken=why or "")


def _cpu(bench: trial.Bench, _: str) -> Finding:
    code = "import time; end = time.monotonic() + 1.0\nwhile time.monotonic() < end: pass"
    run = bench.run(_python(code), limits=Limits(cpus=0.25, timeout=60))
    share = run.outcome["usage"]["cpu_seconds"] / run.outcome["wall_seconds"]
    held = f"a busy loop under 0.25 CPU used {share:.2f}"
    return _finding("cpu-limit", holds=share < 0.5, held=held, broken=bench.why("cpus", held))


def _pids(bench: trial.Bench, _: str) -> Finding:
    code = (
        "import os, time\n"
        "made = 0\n"
        "try:\n"
        "    for made in range(40):\n"
        "        if os.fork() == 0: time.sleep(30); os._exit(0)\n"
        "except OSError: pass\n"
        "print(made)"
    )
    run = bench.run(_python(code), limits=Limits(pids=10, timeout=60))
    holds = run.output.strip().isdigit() and int(run.output) < 12
    held = f"{run.output.strip()} forks under a limit of 10"
    return _finding("process-limit", holds=holds, held=held, broken=bench.why("pids", held))


def _io(bench: trial.Bench, _: str) -> Finding:
    why = bench.ready.missing.get("io")
    if why is None and bench.ready.hybrid:
        return Finding("io-limit", MISSING, "cgroup v1 limits direct I/O only, not buffered writes", _FIXES["io-limit"])
    return _finding("io-limit", holds=why is None, held="io.max can be set", broken=why or "")


def _cleanup(bench: trial.Bench, _: str) -> Finding:
    code = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(60)\n    os._exit(0)"
    )
    run = bench.run(_python(code))
    holds = run.outcome["unkillable"] == 0 and not run.leaks
    return _finding("process-cleanup", holds=holds, held="a daemon of a job ended with it", broken=str(run.leaks))


def _terminal(bench: trial.Bench, _: str) -> Finding:
    code = (
        "import fcntl, os, sys, json\n"
        "found = {}\n"
        "for number in (0x5412, 0x541C):\n"
        "    try: fcntl.ioctl(0, number, b'x'); found[number] = 'done'\n"
        "    except OSError as error: found[number] = error.errno\n"
        "print(json.dumps(found))"
    )
    run = bench.run(_python(code))
    found = json.loads(run.output) if run.output else {}
    holds = set(found.values()) == {1}
    held = "TIOCSTI and TIOCLINUX were refused"
    return _finding("terminal-injection-refused", holds=holds, held=held, broken=f"{found} {run.error}")


# What a job is answered with when it tries: told apart by errors that the calls would not end with by themselves.
_FORBIDDEN = {"unshare": errno.EPERM, "setns": errno.EPERM, "personality": errno.EPERM, "clone3": errno.ENOSYS}


def _seccomp(bench: trial.Bench, _: str) -> Finding:
    code = (
        "import ctypes, json\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "found = {}\n"
        "def attempt(name, call, *arguments):\n"
        "    found[name] = ctypes.get_errno() if call(*arguments) < 0 else 0\n"
        "attempt('unshare', libc.unshare, 0x10000000)\n"
        "attempt('setns', libc.setns, -1, 0)\n"
        "attempt('personality', libc.personality, 0x40000)\n"
        f"attempt('clone3', libc.syscall, {namespaces.SYS_CLONE3}, None, 0)\n"
        "print(json.dumps(found))"
    )
    run = bench.run(_python(code))
    found = json.loads(run.output) if run.output else {}
    held = f"{', '.join(found)} were refused"
    return _finding("seccomp", holds=found == _FORBIDDEN, held=held, broken=f"{found} {run.error}")


def _keyring(bench: trial.Bench, _: str) -> Finding:
    ask = f"{keyring.KEYCTL[os.uname().machine]}, {keyring.GET_KEYRING_ID}, {keyring.SESSION}, 0"
    # The filter hides all keys: it is told to log and let pass.
    run = bench.run(_python(f"import ctypes; print(ctypes.CDLL(None).syscall({ask}))"), seccomp_log=True)
    ours, theirs = keyring.session(), int(run.output or "-1")
    held = f"a job's is {theirs}, ours {ours}"
    return _finding("own-keyring", holds=theirs > 0 and theirs != ours, held=held, broken=f"{held} {run.error}")


def _scopes(bench: trial.Bench, _: str) -> Finding:
    if (old := _too_old("landlock-scopes", landlock.ABI_SCOPES)) is not None:
        return old
    name = f"cbx-doctor-{os.getpid()}"
    code = f"import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")
        listening.listen()
        run = bench.run(_python(code), Tier.CONDITIONAL_PARALLEL, network=NetworkMode.HOST)
    holds = run.outcome["exit_code"] == 1 and "PermissionError" in run.error
    held = "an abstract socket of ours could not be connected to"
    return _finding("landlock-scopes", holds=holds, held=held, broken=f"an abstract socket was reached {run.error}")


def _no_tcp(bench: trial.Bench, _: str) -> Finding:
    if (old := _too_old("landlock-no-tcp", landlock.ABI_TCP)) is not None:
        return old
    run = bench.run(_python("import socket; socket.socket().bind(('127.0.0.1', 0))"))
    holds = run.outcome["exit_code"] == 1 and "PermissionError" in run.error
    return _finding("landlock-no-tcp", holds=holds, held="a SAFE job could bind no port", broken=f"it did {run.error}")


def _too_old(name: str, needed: int) -> Finding | None:
    abi = landlock.abi()
    return None if abi >= needed else Finding(name, MISSING, f"ABI {abi}, it needs {needed}", _FIXES[name])


def _deputies(bench: trial.Bench, directory: str) -> Finding:
    path = os.path.join(directory, "deputy")
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        run = bench.run(_python(code))
    os.unlink(path)
    holds = run.outcome["exit_code"] == 1 and "OSError" in run.error
    return _finding("no-deputies", holds=holds, held="a SAFE job got no local socket", broken="it reached a daemon")


_PROBES: tuple[tuple[str, Probe], ...] = (
    ("read-only-host", _read_only),
    ("landlock-writes", _landlock),
    ("overlay", _overlay),
    ("shifted-ids", _shifted),
    ("no-network", _no_network),
    ("memory-limit", _memory),
    ("swap-limit", _swap),
    ("cpu-limit", _cpu),
    ("process-limit", _pids),
    ("io-limit", _io),
    ("process-cleanup", _cleanup),
    ("terminal-injection-refused", _terminal),
    ("seccomp", _seccomp),
    ("own-keyring", _keyring),
    ("landlock-scopes", _scopes),
    ("landlock-no-tcp", _no_tcp),
    ("no-deputies", _deputies),
)

_CONTROLLERS = "boot with systemd.unified_cgroup_hierarchy=1, or pass the controller on with Delegate=yes"
_FIXES = {
    "landlock-writes": "add landlock to the lsm= list on the kernel command line (CONFIG_LSM)",
    "overlay": "put CBX_STATE_DIR on ext4, xfs or btrfs, not on overlayfs or NFS",
    "shifted-ids": "Linux 5.19 or later with / on ext4, xfs or btrfs; containers whose root is an overlay cannot",
    "memory-limit": _CONTROLLERS,
    "swap-limit": "swapaccount=1 on the kernel command line, or cgroup v2",
    "cpu-limit": _CONTROLLERS,
    "process-limit": _CONTROLLERS,
    "io-limit": _CONTROLLERS,
    "seccomp": "a kernel with CONFIG_SECCOMP_FILTER",
    "landlock-scopes": "Linux 6.12 or later",
    "landlock-no-tcp": "Linux 6.7 or later",
    "read-only-host": "Linux 5.12 or later (mount_setattr)",
}
