"""System V IPC objects of this process's IPC namespace: whose there are, and removing them (sysvipc(7))."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cbx_sandbox.linux import libc

KINDS = ("msg", "sem", "shm")
_IPC_RMID = 0


def objects(uid: int) -> Iterator[tuple[str, int]]:
    """Kind and number of each object that ``uid`` owns or has made."""
    for kind in KINDS:
        with contextlib.suppress(OSError), open(f"/proc/sysvipc/{kind}", encoding="ascii") as file:
            names = file.readline().split()
            for row in (dict(zip(names, line.split(), strict=False)) for line in file):
                if str(uid) in {row["uid"], row["cuid"]}:
                    yield kind, int(row[f"{kind}id"])


def remove(kind: str, number: int) -> None:
    """Remove one object. Raises OSError."""
    arguments = (number, 0, _IPC_RMID, None) if kind == "sem" else (number, _IPC_RMID, None)
    libc.call(f"{kind}ctl", *arguments)
