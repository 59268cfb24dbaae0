"""What the kernel refuses the payload beyond its mounts: writing elsewhere, and system calls it has no use for."""

from __future__ import annotations

import contextlib
import os
import stat

from cbx_sandbox.box import profiles
from cbx_sandbox.box.spec import BoxSpec
from cbx_sandbox.linux import files, landlock, seccomp

# The job's own memory file systems: /run with its TMPDIR, and /dev with its terminals and shared memory.
ALWAYS_WRITABLE = ("/run", "/dev")


def open_writable(paths: list[str]) -> list[int]:
    """Descriptors of everything that may be written beneath, as the job sees it; and terminals and devices on 0-2.

    A descriptor of the caller's that is a character device may be opened anew by name (/dev/stderr): it is part of
    what the caller handed over. Regular files are not: they were reopened or are relayed.
    """
    # No symlinks: whoever owns a parent could swap one in after the mounts were made.
    beneath = [
        files.openat2(-1, path, os.O_PATH | os.O_CLOEXEC, resolve=files.RESOLVE_NO_SYMLINKS)
        for path in (*ALWAYS_WRITABLE, *paths)
    ]
    devices = [standard for standard in (0, 1, 2) if stat.S_ISCHR(os.fstat(standard).st_mode)]
    return beneath + [os.dup(standard) for standard in devices]


def apply(spec: BoxSpec, beneath: list[int]) -> None:
    """Confine the caller. Landlock before seccomp, both after no_new_privs."""
    if spec["landlock"]:
        landlock.restrict(spec["landlock"], beneath, tcp=spec["tcp"], signals=spec.get("signals", False))
    if (wanted := spec.get("placement")) is not None:
        for name in wanted["fixed"]:
            seccomp.install(profiles.keepers()[name])
    if spec["seccomp"]:
        seccomp.install(profiles.programs()[spec["seccomp"]])


def rehearse() -> None:
    """What the first use touches in memory, touched: an empty filter is refused."""
    with contextlib.suppress(OSError):
        seccomp.install(b"")
