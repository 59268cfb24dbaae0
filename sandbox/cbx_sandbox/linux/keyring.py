"""Keys that the kernel keeps for processes (keyrings(7))."""

from __future__ import annotations

import errno
import os

from cbx_sandbox.linux import libc

_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219}
_JOIN_SESSION_KEYRING = 1


def join_new_session() -> None:
    """Leave the session keyring that was inherited for a new, empty one (keyctl(2)); a kernel without keys has none."""
    try:
        libc.syscall(_KEYCTL[os.uname().machine], _JOIN_SESSION_KEYRING, None, 0, 0, 0, name="keyctl")
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
