"""Probes of what confines a job beyond its mounts and limits: Landlock, the system call filter, its keyring."""

from __future__ import annotations

import errno
import json
import os
import socket

from cbx_sandbox.box import trial
from cbx_sandbox.box.finding import FIXES, MISSING, Finding, judged, python
from cbx_sandbox.linux import keyring, landlock, namespaces
from cbx_sandbox.policy import NetworkMode
from cbx_sandbox.shell.tiers import Tier


def writes(bench: trial.Bench, directory: str) -> Finding:
    """Writing where only Landlock is in the way."""
    abi = landlock.abi()
    if not abi:
        return Finding(
            "landlock-writes", MISSING, "the kernel has it not, or not switched on", FIXES["landlock-writes"]
        )
    # Read-only mounts do not keep anybody from writing into a FIFO: nothing else would stop this.
    path = os.path.join(directory, "fifo")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        run = bench.run(python(f"import os; os.open({path!r}, os.O_WRONLY | os.O_NONBLOCK)"))
    finally:
        os.close(reader)
        os.unlink(path)
    holds = run.outcome["exit_code"] == 1 and "PermissionError" in run.error
    held = f"ABI {abi}; a FIFO of ours could not be opened for writing"
    return judged("landlock-writes", holds=holds, held=held, broken="a FIFO of ours was opened for writing")


def terminal(bench: trial.Bench, _: str) -> Finding:
    """Typing into the caller's terminal."""
    code = (
        "import fcntl, os, sys, json\n"
        "found = {}\n"
        "for number in (0x5412, 0x541C):\n"
        "    try: fcntl.ioctl(0, number, b'x'); found[number] = 'done'\n"
        "    except OSError as error: found[number] = error.errno\n"
        "print(json.dumps(found))"
    )
    run = bench.run(python(code))
    found = json.loads(run.output) if run.output else {}
    holds = set(found.values()) == {1}
    held = "TIOCSTI and TIOCLINUX were refused"
    return judged("terminal-injection-refused", holds=holds, held=held, broken=f"{found} {run.error}")


# What a job is answered with when it tries: told apart by errors that the calls would not end with by themselves.
_FORBIDDEN = {"unshare": errno.EPERM, "setns": errno.EPERM, "personality": errno.EPERM, "clone3": errno.ENOSYS}


def seccomp(bench: trial.Bench, _: str) -> Finding:
    """Calls that end with errors of the filter's own."""
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
    run = bench.run(python(code))
    found = json.loads(run.output) if run.output else {}
    held = f"{', '.join(found)} were refused"
    return judged("seccomp", holds=found == _FORBIDDEN, held=held, broken=f"{found} {run.error}")


def session_keyring(bench: trial.Bench, _: str) -> Finding:
    """A session keyring that is not ours."""
    ask = f"{keyring.KEYCTL[os.uname().machine]}, {keyring.GET_KEYRING_ID}, {keyring.SESSION}, 0"
    # The filter hides all keys: it is told to log and let pass.
    run = bench.run(python(f"import ctypes; print(ctypes.CDLL(None).syscall({ask}))"), seccomp_log=True)
    ours, theirs = keyring.session(), int(run.output or "-1")
    held = f"a job's is {theirs}, ours {ours}"
    return judged("own-keyring", holds=theirs > 0 and theirs != ours, held=held, broken=f"{held} {run.error}")


def scopes(bench: trial.Bench, _: str) -> Finding:
    """An abstract socket of ours, from a job with the host's network."""
    if (old := _too_old("landlock-scopes", landlock.ABI_SCOPES)) is not None:
        return old
    name = f"cbx-doctor-{os.getpid()}"
    code = f"import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")
        listening.listen()
        run = bench.run(python(code), Tier.CONDITIONAL_PARALLEL, network=NetworkMode.HOST)
    holds = run.outcome["exit_code"] == 1 and "PermissionError" in run.error
    held = "an abstract socket of ours could not be connected to"
    return judged("landlock-scopes", holds=holds, held=held, broken=f"an abstract socket was reached {run.error}")


def no_tcp(bench: trial.Bench, _: str) -> Finding:
    """A port, from a job that only reads and has no network."""
    if (old := _too_old("landlock-no-tcp", landlock.ABI_TCP)) is not None:
        return old
    run = bench.run(python("import socket; socket.socket().bind(('127.0.0.1', 0))"))
    holds = run.outcome["exit_code"] == 1 and "PermissionError" in run.error
    return judged("landlock-no-tcp", holds=holds, held="a SAFE job could bind no port", broken=f"it did {run.error}")


def _too_old(name: str, needed: int) -> Finding | None:
    abi = landlock.abi()
    return None if abi >= needed else Finding(name, MISSING, f"ABI {abi}, it needs {needed}", FIXES[name])


def deputies(bench: trial.Bench, directory: str) -> Finding:
    """A socket of ours outside /run, from a job that only reads."""
    path = os.path.join(directory, "deputy")
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        run = bench.run(python(code))
    os.unlink(path)
    holds = run.outcome["exit_code"] == 1 and "OSError" in run.error
    return judged("no-deputies", holds=holds, held="a SAFE job got no local socket", broken="it reached a daemon")
