"""What jobs that are over may have left on the host, found by what names them: nothing of it should ever be there.

Groups that still have a process are the launcher's to find. Here are the rest: a process in one of a job's namespaces,
and IPC objects and temporary files of ids that only shifted jobs have. A job's mounts, network interfaces and IPC
objects are in its namespaces, and a namespace that no process is in goes with all that it holds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence

from cbx_sandbox.box import userns

KINDS = ("mnt", "pid", "net", "ipc", "uts")
SYSV = ("msg", "sem", "shm")
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue")  # noqa: S108  # looked into, not written to
MOST = 20  # that are told of one job
_TICKS = os.sysconf("SC_CLK_TCK")
_SHIFTED = range(userns.FIRST_ID, userns.LAST_ID)


@dataclasses.dataclass(frozen=True, slots=True)
class Marks:
    """What is known of a job that is over: its namespaces as /proc names them, when it ended in seconds since boot.

    The kernel gives the names of namespaces again: a process that was started later is in another one.
    ``shifted_since``: if its ids were shifted, when it was started, in seconds of the Unix clock.
    """

    job: str
    namespaces: frozenset[str]
    ended: float
    shifted_since: float | None = None


def namespaces(pid: int) -> frozenset[str]:
    """The namespaces of a process, without those that it shares with the host or with this process."""
    return _of(str(pid)) - _shared()


def sweep(over: Sequence[Marks], temporary: Sequence[str] = TEMPORARY) -> dict[str, list[str]]:
    """What is left of each of these jobs; nothing of those that are not in the answer.

    Takes as long as looking at each process of the host once, however many jobs there are.
    """
    whose: dict[str, list[Marks]] = {}
    for marks in over:
        for name in marks.namespaces:
            whose.setdefault(name, []).append(marks)
    found: dict[str, list[str]] = {}
    for pid, started, names in _processes(frozenset(whose)):
        for name, marks in ((each, marks) for each in sorted(names) for marks in whose[each]):
            if started <= marks.ended:
                found.setdefault(marks.job, []).append(f"process {pid} ({_command(pid)}) in {name}")
    shifted = {marks.job: marks.shifted_since for marks in over if marks.shifted_since is not None}
    left = [*_ipc_objects(), *_temporary_files(temporary)] if shifted else []
    for job, since in shifted.items():
        found.setdefault(job, []).extend(text for at, text in left if at >= int(since))
    return {job: texts[:MOST] for job, texts in found.items() if texts}


@functools.cache
def _shared() -> frozenset[str]:
    """Those of the host and of this process, which stay what they are."""
    return _of("self") | _of("1")


def _of(pid: str) -> frozenset[str]:
    found = set()
    for kind in KINDS:
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
    return frozenset(found)


def _processes(wanted: frozenset[str]) -> Iterator[tuple[str, float, frozenset[str]]]:
    """Processes in these namespaces: their number, when they were started, in seconds since boot, and in which."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if names := wanted & _of(pid):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
                yield pid, int(file.read().rpartition(b")")[2].split()[19]) / _TICKS, names


def _command(pid: str) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return "?"


def _ipc_objects() -> Iterator[tuple[float, str]]:
    """System V objects of shifted ids, in the host's own namespace, and when they were made."""
    for kind in SYSV:
        with contextlib.suppress(OSError), open(f"/proc/sysvipc/{kind}", encoding="ascii") as file:
            names = file.readline().split()
            for row in (dict(zip(names, line.split(), strict=False)) for line in file):
                if int(row["uid"]) in _SHIFTED or int(row["cuid"]) in _SHIFTED:
                    yield float(row["ctime"]), f"IPC object {kind} {row[kind + 'id']}"


def _temporary_files(directories: Sequence[str]) -> Iterator[tuple[float, str]]:
    """What has a shifted id in these directories, and when it was changed last."""
    for directory in directories:
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if found.st_uid in _SHIFTED:
                        yield found.st_ctime, f"file {entry.path}"
