"""What threads of this process do, as the kernel sees it."""

from __future__ import annotations

import platform

FUTEX = (
    202 if platform.machine() == "x86_64" else 98
)  # futex(2); 98 is that of the generic table (asm-generic/unistd.h)
UNKNOWN = -1  # it sleeps in no system call, as when it has touched memory that has to be fetched; or nobody can tell


def sleeps_in(tid: int) -> int | None:
    """The number of the system call that a thread of this process sleeps in, or UNKNOWN; None: it can run (proc(5))."""
    try:
        with open(f"/proc/self/task/{tid}/syscall", "rb") as file:
            word = file.read().split(b" ", 1)[0].strip()
    except OSError:
        return UNKNOWN
    return None if word == b"running" else int(word)
