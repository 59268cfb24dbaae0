"""Capabilities, securebits and the other marks that a process keeps across execve."""

from __future__ import annotations

import ctypes
import os

import prctl

from cbx_sandbox.linux import libc

_CAPSET = {"x86_64": 126, "aarch64": 91, "riscv64": 91}
_RT_SIGACTION = {"x86_64": 13, "aarch64": 134, "riscv64": 134}
_SETFSID = {"x86_64": (122, 123), "aarch64": (151, 152), "riscv64": (151, 152)}
_CAPABILITY_VERSION_3 = 0x20080522
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

# What root inside a shifted user namespace keeps: the common container set without NET_RAW and MKNOD.
SHIFTED_ROOT = frozenset(
    {
        prctl.CAP_CHOWN,
        prctl.CAP_DAC_OVERRIDE,
        prctl.CAP_FOWNER,
        prctl.CAP_FSETID,
        prctl.CAP_KILL,
        prctl.CAP_SETGID,
        prctl.CAP_SETUID,
        prctl.CAP_SETPCAP,
        prctl.CAP_NET_BIND_SERVICE,
        prctl.CAP_SYS_CHROOT,
        prctl.CAP_SETFCAP,
        prctl.CAP_AUDIT_WRITE,
    }
)


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapData(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def last_capability() -> int:
    """The highest capability that the running kernel knows (capabilities(7))."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())


def limit_bounding_set(keep: frozenset[int], last: int, *, among: frozenset[int] | None = None) -> None:
    """Drop every capability up to ``last`` that is not in ``keep`` from the bounding set, for good.

    ``among``: those that an earlier call has left.
    """
    for capability in range(last + 1) if among is None else among:
        if capability not in keep:
            prctl.capbset_drop(capability)


def set_capabilities(keep: frozenset[int]) -> None:
    """Make permitted and effective exactly ``keep``; inheritable and ambient empty (capset(2))."""
    ambient = ctypes.c_ulong(0)
    libc.call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, ambient, ambient, ambient)
    data = (_CapData * 2)()
    for capability in keep:
        word, bit = divmod(capability, 32)
        data[word].effective |= 1 << bit
        data[word].permitted |= 1 << bit
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    libc.syscall(_CAPSET[os.uname().machine], ctypes.byref(header), ctypes.byref(data), name="capset")


def keep_capabilities_across_ids(*, on: bool) -> None:
    """Whether changing user ids leaves the capability sets alone (SECBIT_NO_SETUID_FIXUP)."""
    bits = prctl.get_securebits()
    bit = prctl.SECBIT_NO_SETUID_FIXUP
    prctl.set_securebits(bits | bit if on else bits & ~bit)


def set_file_system_ids(uid: int, gid: int) -> None:
    """The ids that files are made and looked up as; of the calling thread only (setfsuid(2), setfsgid(2)).

    Both calls never fail by result, so the new value is read back by asking for an impossible one.
    """
    setfsuid, setfsgid = _SETFSID[os.uname().machine]
    for number, value in ((setfsgid, gid), (setfsuid, uid)):
        libc.syscall(number, value, name="setfsid")
        if libc.syscall(number, -1, name="setfsid") != value:
            raise PermissionError(f"cannot act as {uid}:{gid} on files")


def no_new_privs() -> None:
    """Execve gives no privileges from now on (PR_SET_NO_NEW_PRIVS)."""
    prctl.set_no_new_privs(1)


def default_action(signal_number: int) -> None:
    """Give a signal its default action by the system call itself: the C library hides some (rt_sigaction(2))."""
    action = (ctypes.c_ulong * 4)()  # struct kernel_sigaction: SIG_DFL, no flags, no restorer, empty mask
    libc.syscall(_RT_SIGACTION[os.uname().machine], signal_number, ctypes.byref(action), None, 8, name="rt_sigaction")


def adopt_orphans() -> None:
    """Become the parent of descendants whose parents end, as PID 1 would (PR_SET_CHILD_SUBREAPER)."""
    prctl.set_child_subreaper(1)


def undumpable() -> None:
    """Keep ptrace, /proc/PID/{mem,fd,root,…} and core dumps away from this process (PR_SET_DUMPABLE)."""
    prctl.set_dumpable(0)
