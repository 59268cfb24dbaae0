"""Processes and the namespaces they are born into: clone3, unshare, setns, id maps."""

from __future__ import annotations

import ctypes
import os

from cbx_sandbox.linux import libc

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_INTO_CGROUP = 0x200000000

SIGCHLD = 17
SYS_CLONE3 = 435  # the same number on every architecture (linux/unistd.h, asm-generic)

NAMESPACE_KINDS = ("user", "mnt", "net", "pid", "ipc", "uts", "cgroup", "time")


class _CloneArgs(ctypes.Structure):
    """struct clone_args (clone3(2))."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls",
            "set_tid", "set_tid_size", "cgroup",
        )
    ]  # fmt: skip


def clone3(flags: int = 0, cgroup_fd: int | None = None) -> tuple[int, int]:
    """Fork with ``flags``, born in the cgroup of ``cgroup_fd``; return (pid, pidfd), (0, -1) in the child.

    Only for single-threaded processes: the child goes on with the caller's interpreter (clone3(2)).
    """
    pidfd = ctypes.c_int(-1)
    # With CLONE_PARENT the child ends with its parent's own signal and clone3 wants none.
    exit_signal = 0 if flags & CLONE_PARENT else SIGCHLD
    arguments = _CloneArgs(flags=flags | CLONE_PIDFD, exit_signal=exit_signal)
    arguments.pidfd = ctypes.addressof(pidfd)
    if cgroup_fd is not None:
        arguments.flags |= CLONE_INTO_CGROUP
        arguments.cgroup = cgroup_fd
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = -1
    try:
        size = ctypes.sizeof(arguments)
        pid = libc.syscall_holding_gil(SYS_CLONE3, ctypes.byref(arguments), size, name="clone3")
    finally:
        if pid == 0:
            ctypes.pythonapi.PyOS_AfterFork_Child()
        else:
            ctypes.pythonapi.PyOS_AfterFork_Parent()
    return (0, -1) if pid == 0 else (pid, pidfd.value)


def unshare(flags: int) -> None:
    """Move the caller into new namespaces (unshare(2))."""
    libc.call("unshare", flags)


def setns(fd: int, kind: int) -> None:
    """Join the namespace of ``fd`` (setns(2))."""
    libc.call("setns", fd, kind)


def sethostname(name: str) -> None:
    """Set the host name of the caller's UTS namespace."""
    raw = os.fsencode(name)
    libc.call("sethostname", raw, len(raw))
