"""Keys that the kernel keeps for processes (keyrings(7))."""

from __future__ import annotations

import errno
import os

from cbx_sandbox.linux import libc

KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219}  # number of the system call
SESSION = -3  # stands for the caller's session keyring
GET_KEYRING_ID, _JOIN_SESSION_KEYRING = 0, 1


def session() -> int:
    """The serial number of the caller's session keyring. Raises OSError where the kernel has no keys."""
    return libc.syscall(KEYCTL[os.uname().machine], GET_KEYRING_ID, SESSION, 0, 0, 0, name="keyctl")


def join_new_session() -> None:
    """Leave the session keyring that was inherited for a new, empty one (keyctl(2)); a kernel without keys has none."""
    try:
        libc.syscall(KEYCTL[os.uname().machine], _JOIN_SESSION_KEYRING, None, 0, 0, 0, name="keyctl")
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
