"""Work in a process of its own, which may be stopped anywhere, and what is heard of it."""

import os
import traceback

from cbx_sandbox.errors import CbxError


def word_of(work) -> str:
    """What ``work`` returned or raised, in a word."""
    try:
        return str(work())
    except (CbxError, OSError) as error:
        return f"{type(error).__name__}: {error}"


def forked(body) -> tuple[int, int]:
    """A process that does ``body`` with a descriptor to write to: its number, and where that is read."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.close(reading)
            body(writing)
            status = 0
        except BaseException:  # noqa: BLE001  # nothing may come back into the tests from here
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    return pid, reading


def ended(pid: int, reading: int) -> tuple[int, str]:
    """Its exit status, and what it has written."""
    with os.fdopen(reading, "rb") as file:
        text = file.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text
