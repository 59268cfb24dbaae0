"""What a launcher leaves that ends in order, because its supervisor is gone and its last job over: what it started.

The supervisor may have been killed between the record of a start and the word to the launcher. Only the launcher knows
whether that word came, and without a job it does not wait for the next supervisor. So it writes down what it started,
beside its socket, where only root writes. One that is killed leaves nothing, and nobody can tell.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable

SUFFIX = ".known"


def leave(socket_path: str, started: Iterable[str]) -> None:
    """Write down the jobs that were started. Where that cannot be done nothing is left: then they count as unknown."""
    path = f"{socket_path}{SUFFIX}"
    text = json.dumps({"boot": _boot(), "started": list(started)}).encode()
    with contextlib.suppress(OSError):
        fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(text)
        # Of this boot only, so whatever ends this process leaves the page cache: nothing has to be synced.
        os.rename(f"{path}.new", path)


def take(socket_path: str) -> list[str] | None:
    """The jobs that the launcher before this one started; None if it left no word, or did so before a reboot.

    The word is good for one launcher: it is gone before that one starts anything of its own, which it does not name.
    """
    path = f"{socket_path}{SUFFIX}"
    try:
        with open(path, "rb") as file:
            left = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        left = {}
    os.unlink(path)
    return left["started"] if left.get("boot") == _boot() else None


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
