"""Where a process may run and how much it gets before others, for itself and what it starts."""

from __future__ import annotations

import ctypes
import os

from cbx_sandbox.linux import libc

# set_mempolicy, ioprio_set; all newer architectures have the same numbers (asm-generic/unistd.h).
_SET_MEMPOLICY, _IOPRIO_SET = (238, 251) if os.uname().machine == "x86_64" else (237, 30)
_MPOL_BIND = 2
_BITS = 8 * ctypes.sizeof(ctypes.c_ulong)
_WHO_PROCESS, _CLASS_SHIFT = 1, 13
BEST_EFFORT, IDLE = 2, 3  # classes of I/O priorities (ioprio_set(2))


def bind_memory(nodes: tuple[int, ...]) -> None:
    """Take memory from these nodes only (set_mempolicy(2), MPOL_BIND). Raises OSError."""
    words = max(nodes) // _BITS + 1
    mask = (ctypes.c_ulong * words)()
    for node in nodes:
        mask[node // _BITS] |= 1 << (node % _BITS)
    # The kernel takes the number of bits with one more than it reads.
    libc.syscall(_SET_MEMPOLICY, _MPOL_BIND, mask, words * _BITS + 1, name="set_mempolicy")


def io_priority(class_: int, level: int) -> None:
    """Read and write with this priority: a class, and in ``BEST_EFFORT`` a level from 0, the first, to 7."""
    libc.syscall(_IOPRIO_SET, _WHO_PROCESS, 0, class_ << _CLASS_SHIFT | level, name="ioprio_set")
